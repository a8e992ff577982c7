"""Standard error that never blocks: a line is written at once and whole, or dropped and counted.

Owns this process's access to descriptor 2, and the number of dropped lines. Nothing here raises or waits, even if the
reader of the lines has ended or is stuck, or the disk is full. docs/decisions/0030-log-lines-never-block.md says how
each kind of descriptor is written.
"""

from __future__ import annotations

import atexit
import fcntl
import io
import os
import socket
import stat
import sys
import threading
from collections import deque
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DESCRIPTOR = 2
# An unfinished line beyond the first bound is dropped, and so are lines beyond the second that a thread has not
# written.
MAX_LINE_BYTES = 64 * 1024
MAX_QUEUE_BYTES = 1024 * 1024
# How long the end of the process waits for a writing thread.
MAX_EXIT_WAIT_SECONDS = 0.5


class StandardError(io.TextIOBase):
    """A text stream that writes whole lines to `descriptor`, from any thread."""

    def __init__(self, descriptor: int = DESCRIPTOR) -> None:
        # Reentrant: the garbage collector may log while a line is being written.
        self._lock = threading.RLock()
        self._descriptor = descriptor
        self._unfinished = ""
        # The rest of a line that was written in part; it comes before every other line.
        self._rest = b""
        self._unreported = 0
        self._dropped = 0
        self._failing = False
        self._put, self._close = _open_writer(descriptor, self._count_dropped)

    @property
    def dropped(self) -> int:
        """The number of lines lost since the process began."""
        return self._dropped

    @property
    def failing(self) -> bool:
        """Whether the newest line was lost."""
        return self._failing

    def write(self, text: str) -> int:
        """Write each whole line of `text`; an unfinished line waits for its end."""
        with self._lock:
            whole, end, unfinished = (self._unfinished + text).rpartition("\n")
            self._unfinished = unfinished if len(unfinished) <= MAX_LINE_BYTES else ""
            if end:
                self._write((whole + end).encode(self.encoding, self.errors))
        return len(text)

    def write_line(self, line: bytes) -> None:
        """Write a line of JSON, without its end. It costs half of what `write` takes."""
        with self._lock:
            self._write(line + b"\n")

    def flush(self) -> None:
        """Try again to write the rest of a line."""
        with self._lock:
            self._write_rest()

    def close(self) -> None:
        """Close our own access to the descriptor; later lines are dropped."""
        with self._lock:
            super().close()
            close, self._put, self._close = self._close, _write_nothing, _close_nothing
            close()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    @property
    def encoding(self) -> str:  # type: ignore[override]  # the base class has an attribute
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]  # the base class has an attribute
        return "backslashreplace"

    def _write(self, lines: bytes) -> None:
        reported = self._unreported
        if reported and lines.startswith(b"{") and lines.endswith(b"}\n"):
            lines = b'%b, "dropped": %d}\n' % (lines[:-2], reported)
        else:
            reported = 0
        self._write_rest()
        written = 0 if self._rest else self._put(lines)
        if written == 0:
            self._count_dropped()
            return
        self._rest = lines[written:]
        self._unreported -= reported
        self._failing = False

    def _write_rest(self) -> None:
        if self._rest:
            self._rest = self._rest[self._put(self._rest) :]

    def _count_dropped(self) -> None:
        with self._lock:
            self._dropped += 1
            self._unreported += 1
            self._failing = True


@cache
def standard_error() -> StandardError:
    """The stream of this process."""
    return StandardError()


def guard_standard_error() -> StandardError:
    """Make everything that prints to standard error in this process neither wait nor fail."""
    stream = standard_error()
    sys.stderr = stream
    return stream


def _open_writer(descriptor: int, on_loss: Callable[[], None]) -> tuple[Callable[[bytes], int], Callable[[], None]]:
    """A function that writes without waiting and returns how many bytes it wrote, and a function that closes its
    descriptor. `on_loss` is called for a line that was accepted and could not be written."""
    try:
        kind = os.fstat(descriptor).st_mode
    except OSError:
        return _write_nothing, _close_nothing
    if stat.S_ISREG(kind):
        # The kernel buffers a line for a file in memory; a full disk fails at once.
        return lambda data: _try_write(lambda: os.write(descriptor, data)), _close_nothing
    if stat.S_ISSOCK(kind):
        connected = socket.socket(fileno=os.dup(descriptor))
        return lambda data: _try_write(lambda: connected.send(data, socket.MSG_DONTWAIT)), connected.close
    try:
        # Opened once more, a pipe or terminal is non-blocking for us only. The flags of an inherited descriptor are
        # shared with every process that writes there, such as the shell.
        flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        own = os.open(f"/proc/self/fd/{descriptor}", flags)
    except OSError:
        return _Thread(descriptor, on_loss).put, _close_nothing
    if stat.S_ISFIFO(kind):
        # Room for a burst of lines while the reader is late.
        with suppress(OSError):
            fcntl.fcntl(own, fcntl.F_SETPIPE_SZ, MAX_QUEUE_BYTES)
    return lambda data: _try_write(lambda: os.write(own, data)), lambda: os.close(own)


def _write_nothing(_: bytes) -> int:
    return 0


def _close_nothing() -> None:
    """For a descriptor that is not ours."""


def _try_write(write: Callable[[], int]) -> int:
    try:
        return write()
    except OSError:
        return 0


class _Thread:
    """Writes in a thread of its own, if a descriptor cannot be opened once more. The thread may block forever; the
    process ends without it."""

    def __init__(self, descriptor: int, on_loss: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._on_loss = on_loss
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._write_lines, name="standard error", daemon=True).start()
        atexit.register(self._finish)

    def put(self, line: bytes) -> int:
        """Queue a line for the thread; return 0 if the queue is full."""
        with self._changed:
            if self._bytes + len(line) > MAX_QUEUE_BYTES:
                return 0
            self._lines.append(line)
            self._bytes += len(line)
            self._changed.notify_all()
        return len(line)

    def _write_lines(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                line = self._lines[0]
            try:
                rest = line
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError:
                self._on_loss()
            with self._changed:
                self._lines.popleft()
                self._bytes -= len(line)
                self._changed.notify_all()

    def _finish(self) -> None:
        with suppress(RuntimeError), self._changed:
            self._changed.wait_for(lambda: not self._lines, MAX_EXIT_WAIT_SECONDS)
