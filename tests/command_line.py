"""`timewarden` in this process: for commands of which a process of their own would show nothing more."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass

import pytest

from service.__main__ import main


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
