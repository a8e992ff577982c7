"""Do the files of a policy differ from the version that decides? The database is the truth: that is said, and nothing
else done. Owns no state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from service.errors import PolicyRejected
from service.policy.policy_file import PolicyText

if TYPE_CHECKING:
    from pathlib import Path


Comparison: TypeAlias = Literal["same", "different", "unreadable", "absent"]


def compare_files(directory: Path, digest: str) -> Comparison:
    """How the files stand to the version with this digest."""
    if not directory.is_dir():
        return "absent"
    try:
        return "same" if PolicyText.read(directory).digest() == digest else "different"
    except PolicyRejected:
        return "unreadable"


def files_differ(directory: Path, digest: str) -> bool:
    """Whether there are files, and they are not those of the version with this digest."""
    return compare_files(directory, digest) in {"different", "unreadable"}


def describe_difference(directory: Path, active: int) -> str:
    """What to say of files that differ."""
    return (
        f"{directory}/ differs from the active policy version {active}, which still "
        "decides; `timewarden policy diff` shows the differences, `timewarden policy propose` proposes the files."
    )
