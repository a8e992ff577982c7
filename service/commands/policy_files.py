"""Compares the policy files with the active version, which is in the database. Reads only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from service.errors import PolicyRejected
from service.policy.policy_file import PolicyText

if TYPE_CHECKING:
    from pathlib import Path


Comparison: TypeAlias = Literal["same", "different", "unreadable", "absent"]


def compare_files(directory: Path, digest: str) -> Comparison:
    """Compare the files with the version that has this digest."""
    if not directory.is_dir():
        return "absent"
    try:
        return "same" if PolicyText.read(directory).digest() == digest else "different"
    except PolicyRejected:
        return "unreadable"


def files_differ(directory: Path, digest: str) -> bool:
    """Whether policy files exist and differ from the version with this digest."""
    return compare_files(directory, digest) in {"different", "unreadable"}


def describe_difference(directory: Path, active: int) -> str:
    """The warning about files that differ from the active version."""
    return (
        f"{directory}/ differs from the active policy version {active}, which still "
        "decides; `timewarden policy diff` shows the differences, `timewarden policy propose` proposes the files."
    )
