"""Standard error of a server process: a line is written at once and whole, or it is dropped and counted.

Owns this process's own way to descriptor 2, and the count of lines that were lost. Nothing here raises or waits: the
reader of the lines may be gone, or read nothing, and the disk may be full, while requests are answered. How each kind
of descriptor is written without waiting: docs/decisions/0030-log-lines-never-block.md.
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
# An unfinished line that is longer than this is dropped, and so is what a thread could not write so far.
MAX_LINE_BYTES = 64 * 1024
MAX_QUEUE_BYTES = 1024 * 1024
# How long the end of the process waits for a thread that writes.
MAX_LAST_WORDS_SECONDS = 0.5


class StandardError(io.TextIOBase):
    """A text stream that writes whole lines to `descriptor`. It may be used from any thread."""

    def __init__(self, descriptor: int = DESCRIPTOR) -> None:
        # Reentrant: the garbage collector may log of a task while a line is being written.
        self._lock = threading.RLock()
        self._descriptor = descriptor
        self._begun = ""
        # The rest of a line of which the descriptor took only a part: it goes before every other line.
        self._rest = b""
        self._untold = 0
        self._dropped = 0
        self._failing = False
        self._put, self._close = _way_to(descriptor, self._count)

    @property
    def dropped(self) -> int:
        """How many lines were lost since the process began."""
        return self._dropped

    @property
    def failing(self) -> bool:
        """Whether the newest line was lost."""
        return self._failing

    def write(self, text: str) -> int:
        """Write each whole line of `text`; the beginning of a line waits for its end."""
        with self._lock:
            whole, ended, begun = (self._begun + text).rpartition("\n")
            self._begun = begun if len(begun) <= MAX_LINE_BYTES else ""
            if ended:
                self._write(whole + ended)
        return len(text)

    def flush(self) -> None:
        """Offer the rest of a line again; whole lines never wait here."""
        with self._lock:
            self._offer_rest()

    def close(self) -> None:
        """Give our own way to the descriptor back; what is written later is dropped."""
        with self._lock:
            super().close()
            close, self._put, self._close = self._close, _nothing_taken, _nothing_to_close
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

    def _write(self, lines: str) -> None:
        told = self._untold
        if told and lines.startswith("{") and lines.endswith("}\n"):
            lines = f'{lines[:-2]}, "dropped": {told}}}\n'
        else:
            told = 0
        line = lines.encode(self.encoding, self.errors)
        self._offer_rest()
        taken = 0 if self._rest else self._put(line)
        if taken == 0:
            self._count()
            return
        self._rest = line[taken:]
        self._untold -= told
        self._failing = False

    def _offer_rest(self) -> None:
        if self._rest:
            self._rest = self._rest[self._put(self._rest) :]

    def _count(self) -> None:
        with self._lock:
            self._dropped += 1
            self._untold += 1
            self._failing = True


@cache
def standard_error() -> StandardError:
    """The one of this process."""
    return StandardError()


def guard_standard_error() -> StandardError:
    """From now on whatever prints to standard error in this process neither waits nor fails."""
    stream = standard_error()
    sys.stderr = stream
    return stream


def _way_to(descriptor: int, lost: Callable[[], None]) -> tuple[Callable[[bytes], int], Callable[[], None]]:
    """A function that writes without waiting and returns how many bytes were taken, 0 when none could be; and one that
    closes what it uses. `lost` is called for a line that was taken and could not be written."""
    try:
        kind = os.fstat(descriptor).st_mode
    except OSError:
        return _nothing_taken, _nothing_to_close
    if stat.S_ISREG(kind):
        # The kernel takes a line for a file into memory; a disk without room answers at once.
        return lambda data: _taken(lambda: os.write(descriptor, data)), _nothing_to_close
    if stat.S_ISSOCK(kind):
        connected = socket.socket(fileno=os.dup(descriptor))
        return lambda data: _taken(lambda: connected.send(data, socket.MSG_DONTWAIT)), connected.close
    try:
        # Opened once more, a pipe or terminal can refuse to wait for us alone: the flag of a descriptor that was
        # inherited is shared with every process that writes there, such as the shell.
        flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        own = os.open(f"/proc/self/fd/{descriptor}", flags)
    except OSError:
        return _Thread(descriptor, lost).put, _nothing_to_close
    if stat.S_ISFIFO(kind):
        # Room for a burst of lines while the reader is a moment late.
        with suppress(OSError):
            fcntl.fcntl(own, fcntl.F_SETPIPE_SZ, MAX_QUEUE_BYTES)
    return lambda data: _taken(lambda: os.write(own, data)), lambda: os.close(own)


def _nothing_taken(_: bytes) -> int:
    return 0


def _nothing_to_close() -> None:
    """Where the descriptor itself is used."""


def _taken(write: Callable[[], int]) -> int:
    try:
        return write()
    except OSError:
        return 0


class _Thread:
    """Writes for those who must not wait, where a descriptor cannot be opened once more. It may wait for ever; the
    process ends without it."""

    def __init__(self, descriptor: int, lost: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._lost = lost
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._write_lines, name="standard error", daemon=True).start()
        atexit.register(self._finish)

    def put(self, line: bytes) -> int:
        """Leave a line to the thread, all of it or, when too much waits, nothing."""
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
                left = line
                while left:
                    left = left[os.write(self._descriptor, left) :]
            except OSError:
                self._lost()
            with self._changed:
                self._lines.popleft()
                self._bytes -= len(line)
                self._changed.notify_all()

    def _finish(self) -> None:
        with suppress(RuntimeError), self._changed:
            self._changed.wait_for(lambda: not self._lines, MAX_LAST_WORDS_SECONDS)
