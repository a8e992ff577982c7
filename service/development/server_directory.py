"""The small files of local servers in their state directory (`.local`, or one of a test).

`ports/` has the last port of each server, `secrets/` its password (mode 0600), `locks/` its current owner.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from typing import IO, TYPE_CHECKING

from service.development.processes import LocalServerFailed, wait_until
from service.errors import Misconfigured

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path


def free_port(preferred: int) -> int:
    """The preferred port of 127.0.0.1, or the next free one. 0 lets the system choose.

    Only for foreign servers that open the port themselves and report when it was taken meanwhile. Our own servers use
    the socket of `held_port`.
    """
    with held_port(preferred) as held:
        return int(held.getsockname()[1])


def held_port(preferred: int) -> socket.socket:
    """A socket that listens on the preferred port of 127.0.0.1, or on the next free one. 0 lets the system choose. The
    port stays taken until every process has closed the socket."""
    # Here, since `make clean` stops servers with a Python that may have no packages.
    from service.listeners import listen  # noqa: PLC0415

    for port in range(preferred, min(preferred + 500, 65536)):
        with contextlib.suppress(Misconfigured):
            return listen("127.0.0.1", port)
    raise LocalServerFailed(f"No port of 127.0.0.1 is free from {preferred} on.")


def remembered_port(state: Path, name: str, preferred: int) -> int:
    """The port of the last start, or the next free one."""
    return free_port(last_port(state, name, preferred))


def last_port(state: Path, name: str, preferred: int) -> int:
    """The port of the last start, free or not; the preferred port before the first start."""
    with contextlib.suppress(OSError, ValueError):
        return int((state / "ports" / name).read_text())
    return preferred


def remember_port(state: Path, name: str, port: int) -> None:
    """Store the port for the next start."""
    (state / "ports").mkdir(parents=True, exist_ok=True)
    (state / "ports" / name).write_text(f"{port}\n")


def secret(state: Path, name: str) -> str:
    """The password in `secrets/`, created at first use with mode 0600. A kill never leaves a partial file."""
    folder = state / "secrets"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / name
    if not path.exists():
        fresh = folder / f"{name}.{os.getpid()}"
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(secrets.token_urlsafe(32))
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(path)
    return path.read_text()


@contextlib.contextmanager
def readable_failures(state: Path) -> Iterator[None]:
    """Turn a PermissionError in a state directory into a LocalServerFailed that says what to do."""
    try:
        yield
    except PermissionError as error:
        raise LocalServerFailed(
            f"{error.filename or state} belongs to another user. Start as that user, or remove {state} and start again."
        ) from error


class DirectoryLock:
    """The lock of a server directory, which has one owner. The system releases it when the owner dies."""

    def __init__(self, state: Path, name: str) -> None:
        self.path = state / "locks" / name
        self._file: IO[str] | None = None

    def acquire(self, patience_seconds: float = 3.0) -> None:
        """Take the lock, waiting briefly for an owner that is ending. Raises LocalServerFailed that names the owner."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("a+")
        if not wait_until(lambda: _try_lock(file), patience_seconds):
            file.close()
            place = self.path.parent.parent
            raise LocalServerFailed(f"{place} is in use by process {owner_of(self.path)}; stop that one first.")
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def is_held_by_another(self) -> bool:
        """Whether another process owns the directory."""
        if not self.path.exists():
            return False
        with self.path.open("a+") as file:
            return not _try_lock(file)


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def owner_of(lock: Path) -> int:
    """The process that last took a lock, 0 if unknown."""
    with contextlib.suppress(OSError, ValueError):
        return int(lock.read_text())
    return 0
