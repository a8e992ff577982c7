"""Reads the policy files, and compares them with the active version, which is in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from service.errors import Misconfigured, PolicyRejected
from service.policy.policy_file import FIXED_FILES, PolicyText

if TYPE_CHECKING:
    from pathlib import Path

    from service.settings import Settings

Comparison: TypeAlias = Literal["same", "different", "unreadable", "absent"]


def read_files(directory: Path) -> PolicyText:
    """The texts of the files. Raises Misconfigured where there is none of them, PolicyRejected as `PolicyText.read`."""
    if not _are_there(directory):
        raise Misconfigured(
            f"{describe_absence(directory)}: name their directory by --directory or TIMEWARDEN_POLICIES_DIRECTORY"
        )
    return PolicyText.read(directory)


def describe_absence(directory: Path) -> str:
    """The sentence about a directory without policy files, or about something that is no directory."""
    return f"There are no policy files ({', '.join(FIXED_FILES)}) in {directory.absolute()}"


def is_named_in_vain(settings: Settings) -> bool:
    """Whether the settings name a directory without policy files. A service needs none."""
    return "policies_directory" in settings.model_fields_set and not _are_there(settings.policies_directory)


def _are_there(directory: Path) -> bool:
    return any((directory / name).exists() for name in FIXED_FILES)


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
