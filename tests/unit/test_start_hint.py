"""The hint at a start of policy files that differ from the version that decides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from service.commands.policy_files import describe_difference, files_differ
from service.development.panel import print_panel
from tests import policy_forge

if TYPE_CHECKING:
    import pytest

POLICIES = Path(__file__).resolve().parents[2] / "policies"


def test_a_difference_of_the_files_is_reported_with_the_command_that_shows_it() -> None:
    assert files_differ(POLICIES, "another digest")
    told = describe_difference(POLICIES, 7)
    assert "differs from the active policy version 7" in told
    assert "`timewarden policy diff`" in told


def test_files_that_are_the_active_version_or_are_not_there_do_not_differ(tmp_path: Path) -> None:
    assert not files_differ(POLICIES, policy_forge.read_shipped().digest())
    assert not files_differ(tmp_path / "nowhere", "another digest")


def test_files_that_cannot_be_read_differ(tmp_path: Path) -> None:
    assert files_differ(tmp_path, "another digest")


def test_the_panel_says_which_version_decides_and_whether_the_files_differ(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_panel("http://api", "http://console", "http://sign-in", tmp_path, 7, differs=True)
    told = capsys.readouterr().out
    assert "http://console" in told
    assert "version 7 decides" in told
    assert "policies/ differs: timewarden policy diff --as paula" in told
    print_panel("http://api", "", "http://sign-in", tmp_path, 1, differs=False)
    told = capsys.readouterr().out
    assert "the same as policies/" in told
    assert "console" not in told
