"""Standard output of a command whose reader may end, such as `head`: the command then ends too, without a word.

Replaces `sys.stdout` once, in the process of the command line. Owns no state.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import NoReturn

from service.commands.groups import UNREAD


class CommandOutput(io.TextIOWrapper):
    """Writes as `sys.stdout` does. If nobody reads any more, it raises SystemExit with UNREAD, and not an error that
    libraries for tables and help texts answer with exit codes of results."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            self._end()

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            self._end()

    def _end(self) -> NoReturn:
        discard_output()
        raise SystemExit(UNREAD) from None


def install_output() -> None:
    """Make `sys.stdout` a CommandOutput."""
    # It is None if its descriptor was closed when the process began.
    given = sys.stdout
    if isinstance(given, io.TextIOWrapper):
        sys.stdout = CommandOutput(
            given.buffer,
            encoding=given.encoding,
            errors=given.errors,
            line_buffering=given.line_buffering,
            write_through=given.write_through,
        )


def discard_output() -> None:
    """Send the rest of standard output nowhere. Python would flush it again at exit, print its own lines and change the
    exit code."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
