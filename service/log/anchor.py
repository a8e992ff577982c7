"""The anchor: a file outside the database that records every checkpoint before it is signed, one line each.

The keeper compares the database with it, and so notices when the database was restored to an earlier day. Durable when
`append` returns. The file is only appended to, so it may be on append-only storage. A line without its line end was cut
off by a crash before anything was signed; it is void, and `!` is appended to mark it. Above 16 MiB a new file begins
with the last line, if files can be renamed there; older files stay beside it, named by the size they end with.
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

MAX_FILE_BYTES = 16 * 1024 * 1024
FIELDS_PER_LINE = 4
APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
# Ends a line that a crash cut off; base64 never ends with it.
VOID = b"!\n"
# A line is a time, an origin, a size and a root: far shorter than this, so one read is usually enough.
TAIL_BYTES = 64 * 1024


class Anchor:
    """The file at `path`, which all keepers of a log share. Its volume may hang, so the keeper calls these methods in
    an AnchorThread."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lock = path.with_name(path.name + ".lock")

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Try to take the signing lock and yield whether this keeper has it. Raises Misconfigured if the file cannot be
        used."""
        try:
            lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Misconfigured(_cannot_use(self._path, error)) from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                _write_holder(lock)
                yield True
        finally:
            os.close(lock)

    def holder(self) -> str:
        """The keeper that took the lock last, in words for an operator. It may have released it since."""
        with suppress(OSError, UnicodeDecodeError):
            return self._lock.read_text(encoding="utf-8").strip()[:200] or "another keeper"
        return "another keeper"

    def last(self) -> Checkpoint | None:
        """The last anchored checkpoint; None without a file or a line. Raises LogDamaged for a line that cannot be
        read, Misconfigured if the file cannot be used."""
        try:
            with self._path.open("rb") as file:
                return _read_last(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Misconfigured(_cannot_use(self._path, error)) from error

    def append(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint and flush it to disk; the last line is not repeated. Raises Misconfigured if the file
        cannot be used."""
        try:
            if self._path.exists() and self._path.stat().st_size > self._max_bytes:
                # On append-only storage the file goes on growing.
                with suppress(PermissionError):
                    self._rotate()
            self._write(checkpoint)
        except OSError as error:
            raise Misconfigured(_cannot_use(self._path, error)) from error

    def _write(self, checkpoint: Checkpoint) -> None:
        new = not self._path.exists()
        with os.fdopen(os.open(self._path, APPEND, 0o600), "r+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            cut = end > 0 and file.read(1) != b"\n"
            repeated = not cut and _read_last(file) == checkpoint
            if not repeated:
                line = (VOID if cut else b"") + _format_line(checkpoint)
                while line:
                    line = line[file.write(line) or 0 :]
            os.fsync(file.fileno())
        if new or repeated:
            flush_directory(self._path.parent)

    def _rotate(self) -> None:
        """Begin a new file with the last line. A complete file has the anchor's name at any time; the old one is kept
        under a name that ends with its last size."""
        last = self.last()
        if last is None:
            return
        name = self._path.name
        new = self._path.with_name(f"{name}.new")
        with suppress(FileExistsError):
            os.link(self._path, self._path.with_name(f"{name}.{last.size}"))
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, _format_line(last))
            os.fsync(file)
        finally:
            os.close(file)
        new.replace(self._path)
        flush_directory(self._path.parent)


def _write_holder(lock: int) -> None:
    """Write which process holds the lock, so that a waiting keeper can name one that is frozen."""
    with suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(this_process()).encode(), 0)


def _read_last(file: IO[bytes]) -> Checkpoint | None:
    """The last complete line that is not void, read from the end."""
    size, length = file.seek(0, os.SEEK_END), TAIL_BYTES
    while True:
        file.seek(max(0, size - length))
        tail = file.read(length)
        lines = tail[: tail.rfind(b"\n") + 1].splitlines()
        if length < size:
            # The first line may have begun before the tail.
            lines = lines[1:]
        for line in reversed(lines):
            if not line.endswith(VOID.rstrip()):
                return _parse_line(line)
        if length >= size:
            return None
        length *= 4


def _format_line(checkpoint: Checkpoint) -> bytes:
    root = base64.b64encode(checkpoint.root).decode()
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {checkpoint.origin} {checkpoint.size} {root}\n".encode()


def _parse_line(line: bytes) -> Checkpoint:
    try:
        fields = line.decode().split(" ")
        if len(fields) != FIELDS_PER_LINE:
            raise BadNote("it does not have four fields")
        return Checkpoint.parse("\n".join(fields[1:]) + "\n")
    except ValueError as error:
        raise LogDamaged(f"The last line of the anchor file cannot be read: {error}") from error


def flush_directory(path: Path) -> None:
    """Flush the names of the files in a directory to disk."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _cannot_use(path: Path, error: OSError) -> str:
    return f"The anchor file {path} cannot be used: {error.strerror}"
