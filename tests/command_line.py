"""`timewarden` and `timewarden-verify` in this process: for commands of which a process of their own would show nothing
more."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from service.__main__ import main
from service.standalone.verify.command import main as verify_main


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def run_command(*words: str) -> Ended:
    """Run `timewarden` with these words."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["timewarden", *words])
        with pytest.raises(SystemExit) as ended:
            main()
    return Ended(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def verify(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """Run `timewarden-verify` with these words: its exit code and its report."""
    with pytest.raises(SystemExit) as ended:
        verify_main([*words, "--json"])
    return int(str(ended.value.code)), json.loads(capsys.readouterr().out)
