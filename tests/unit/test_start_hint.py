"""What `timewarden serve` says at its start of policy files that differ from the version that decides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from service.commands.serve import tell_of_other_files
from tests import policy_forge

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_files_that_differ_are_told_with_the_command_that_shows_how(capsys: pytest.CaptureFixture[str]) -> None:
    tell_of_other_files(ROOT / "policies", 7, "another digest")
    told = capsys.readouterr().err
    assert "differs from the active policy version 7" in told
    assert "`timewarden policy diff`" in told


def test_files_that_are_the_active_version_are_not_spoken_of(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tell_of_other_files(ROOT / "policies", 7, policy_forge.shipped().digest())
    tell_of_other_files(tmp_path / "nowhere", 7, "another digest")
    assert capsys.readouterr().err == ""


def test_files_that_cannot_be_read_differ(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tell_of_other_files(tmp_path, 7, "another digest")
    assert "timewarden policy diff" in capsys.readouterr().err
