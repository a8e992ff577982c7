"""The common part of the local servers: their process, its mark, and how they stop. Each object owns its process."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, ClassVar, Self

from service.development.processes import LocalServerFailed, end, end_leftovers, kill_all, processes_with_mark
from service.development.server_directory import free_port, remember_port, remembered_port

if TYPE_CHECKING:
    import signal
    import subprocess
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from service.development.server_directory import DirectoryLock


class LocalServer:
    """A server of a state directory. `stop()` and `kill()` may be repeated. A context manager that stops it."""

    name: ClassVar[str]
    title: ClassVar[str]
    shutdown: ClassVar[Sequence[tuple[signal.Signals, float]]]

    def __init__(self, state: Path, lock: DirectoryLock) -> None:
        self.state = state
        self.home = state / self.name
        self.log = state / "logs" / f"{self.name}.log"
        self.port = 0
        self._lock = lock
        self._process: subprocess.Popen[bytes] | None = None
        self._mark = mark_of(self.home, self.name)

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Clean shutdown: everything committed or written is on disk."""
        if self._process is not None:
            end(self._process, self.shutdown)
        self._lock.release()

    def kill(self) -> None:
        """SIGKILL for the server and all its processes at once: a crash, for tests."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            kill_all(self._mark)
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start_on_free_port(
        self, preferred_port: int, start_on: Callable[[int], bool], say: Callable[[str], None]
    ) -> None:
        """Try ports until `start_on` succeeds. Raises LocalServerFailed."""
        port = remembered_port(self.state, self.name, preferred_port)
        for _ in range(5):
            if start_on(port):
                remember_port(self.state, self.name, port)
                say(f"{self.title} listens on 127.0.0.1:{port}")
                return
            port = free_port(port + 1 if preferred_port else 0)
        raise LocalServerFailed(f"{self.title} found no free port near {port}; see {self.log}.")

    def _log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0


def mark_of(home: Path, name: str) -> str:
    """The mark in the command lines or titles of a server. Each folder has its own, and so does a copy of it."""
    place = home.stat()
    return f"timewarden-{name}-" + hashlib.sha256(f"{place.st_dev}:{place.st_ino}".encode()).hexdigest()[:16]


def stop_leftover(home: Path, name: str, leader: str, ladder: Sequence[tuple[signal.Signals, float]]) -> bool:
    """End a server of this folder that outlived the process that started it. Returns whether there was one. `leader`:
    the text before the mark in the command line of its main process."""
    mark = mark_of(home, name)
    return bool(processes_with_mark(mark)) and end_leftovers(mark, f"{leader}{mark}", ladder)
