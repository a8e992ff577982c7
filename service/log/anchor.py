"""The anchor: a file outside the database that names every checkpoint before it is signed, one line each.

It is what the keeper believes when the database was put back to an earlier day. Durable when `append` returns. The file
is only ever appended to, so it may lie where files can but grow. A line without its end was cut off by a crash before
anything was signed: it counts for nothing, and the next one is written behind a `!` that says so. Where files may be
renamed, at 16 MiB a new one begins with the last line; those before stay beside it, named by the size they end with.
"""

from __future__ import annotations

import base64
import fcntl
import os
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING

from service.errors import LogDamaged, Misconfigured
from service.log.checkpoint import BadNote, Checkpoint
from service.log.keeper_status import this_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGEST = 16 * 1024 * 1024
PARTS = 4
APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
# Ends a line that a crash cut off; no root ends with it.
VOID = b"!\n"
# A line is a time, an origin, a size and a root: far shorter than this, so mostly one look is enough.
TAIL = 64 * 1024


class Anchor:
    """The file at `path`. All keepers of a log share one. Its volume may hang, so a server calls all of this aside."""

    def __init__(self, path: Path, *, largest: int = LARGEST) -> None:
        self._path = path
        self._largest = largest
        self._lock = path.with_name(path.name + ".lock")

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Whether it is this keeper's turn to sign: one at a time may. Raises Misconfigured for a file out of reach."""
        try:
            lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Misconfigured(_out_of_reach(self._path, error)) from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                _sign_in(lock)
                yield True
        finally:
            os.close(lock)

    def holder(self) -> str:
        """Who took the turn last, in words for an operator; it says nothing of whether they still hold it."""
        with suppress(OSError, UnicodeDecodeError):
            return self._lock.read_text(encoding="utf-8").strip()[:200] or "another keeper"
        return "another keeper"

    def last(self) -> Checkpoint | None:
        """The checkpoint that was anchored last; None when there is no file or no line. Raises LogDamaged for a line
        that is none, Misconfigured."""
        try:
            with self._path.open("rb") as file:
                return _last(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Misconfigured(_out_of_reach(self._path, error)) from error

    def append(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint down, flushed to disk; once when it is the last one there. Raises Misconfigured when
        that is not possible."""
        try:
            if self._path.exists() and self._path.stat().st_size > self._largest:
                # Where a file may only grow, this one does.
                with suppress(PermissionError):
                    self._start_anew()
            self._write(checkpoint)
        except OSError as error:
            raise Misconfigured(_out_of_reach(self._path, error)) from error

    def _write(self, checkpoint: Checkpoint) -> None:
        new = not self._path.exists()
        with os.fdopen(os.open(self._path, APPEND, 0o600), "r+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            cut = end > 0 and file.read(1) != b"\n"
            repeated = not cut and _last(file) == checkpoint
            if not repeated:
                line = (VOID if cut else b"") + _line(checkpoint)
                while line:
                    line = line[file.write(line) or 0 :]
            os.fsync(file.fileno())
        if new or repeated:
            _flush_directory(self._path.parent)

    def _start_anew(self) -> None:
        """At any moment a whole file is in place: the old one keeps its name until the new one takes it, and then has
        one that says how far it goes."""
        last = self.last()
        if last is None:
            return
        name = self._path.name
        new = self._path.with_name(f"{name}.new")
        with suppress(FileExistsError):
            os.link(self._path, self._path.with_name(f"{name}.{last.size}"))
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, _line(last))
            os.fsync(file)
        finally:
            os.close(file)
        new.replace(self._path)
        _flush_directory(self._path.parent)


def _sign_in(lock: int) -> None:
    """Write into the lock's file whose turn it is: a keeper that waits for a frozen one says which that is."""
    with suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(this_process()).encode(), 0)


def _last(file: IO[bytes]) -> Checkpoint | None:
    """The last line that is whole and not void, read from the end on."""
    size, length = file.seek(0, os.SEEK_END), TAIL
    while True:
        file.seek(max(0, size - length))
        tail = file.read(length)
        whole = tail[: tail.rfind(b"\n") + 1].splitlines()
        if length < size:
            # The first one may have begun before this.
            whole = whole[1:]
        for line in reversed(whole):
            if not line.endswith(VOID.rstrip()):
                return _read(line)
        if length >= size:
            return None
        length *= 4


def _line(checkpoint: Checkpoint) -> bytes:
    root = base64.b64encode(checkpoint.root).decode()
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {checkpoint.origin} {checkpoint.size} {root}\n".encode()


def _read(line: bytes) -> Checkpoint:
    try:
        parts = line.decode().split(" ")
        if len(parts) != PARTS:
            raise BadNote("it has not four parts")
        return Checkpoint.parse("\n".join(parts[1:]) + "\n")
    except ValueError as error:
        raise LogDamaged(f"The last line of the anchor file cannot be read: {error}") from error


def _flush_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _out_of_reach(path: Path, error: OSError) -> str:
    return f"The anchor file {path} cannot be used: {error.strerror}"
