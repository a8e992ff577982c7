"""A local Redis (or Valkey) server, run as our own child, with its own password.

Its append-only file is in `<state>/redis` and survives any way of ending. A Redis that lost its data is filled again
from the log in Postgres.
"""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

from service.development.local_server import LocalServer, stop_leftover
from service.development.processes import (
    LocalServerFailed,
    last_words,
    silent,
    spawn,
    wait_for_start,
)
from service.development.redis_binary import HOW_TO_INSTALL, find_redis_server
from service.development.server_directory import (
    DirectoryLock,
    readable_failures,
    secret,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PREFERRED_PORT = 16379
START_SECONDS = 60.0
SHUTDOWN = ((signal.SIGTERM, 15.0),)


def start_redis(
    state: Path, *, preferred_port: int = PREFERRED_PORT, databases: int = 16, say: Callable[[str], None] = silent
) -> LocalRedis:
    """Start the server of a state directory and return when it answers. Call it from the main thread.

    Raises LocalServerFailed; if no Redis server is found, it says how to install one.
    """
    state = state.resolve()
    server = find_redis_server()
    if server is None:
        raise LocalServerFailed(f"No Redis server was found. {HOW_TO_INSTALL}")
    with readable_failures(state):
        (state / "redis").mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = DirectoryLock(state, "redis")
        lock.acquire()
        try:
            redis = LocalRedis(state, lock, server)
            redis.start(preferred_port, databases, say)
        except BaseException:
            lock.release()
            raise
    return redis


class LocalRedis(LocalServer):
    """A running Redis."""

    name = "redis"
    title = "Redis"
    shutdown = SHUTDOWN

    def __init__(self, state: Path, lock: DirectoryLock, server: Path) -> None:
        super().__init__(state, lock)
        self._server = server
        self._password = secret(state, "redis")

    @property
    def url(self) -> str:
        return self.database_url(0)

    def database_url(self, database: int) -> str:
        """The URL of one of the numbered databases."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/{database}"

    def start(self, preferred_port: int, databases: int, say: Callable[[str], None]) -> None:
        """Use `start_redis`, which holds the directory's lock."""
        if stop_leftover_redis(self.home):
            say("stopped a Redis that an earlier start left behind")
        self._start_on_free_port(preferred_port, lambda port: self._start_on(port, databases), say)

    def ask(self, *commands: str) -> list[str]:
        """Authenticate and send one-line commands. Returns the first line of each answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as wire, wire.makefile("rwb") as lines:
            answers = []
            for command in (f"AUTH {self._password}", *commands):
                lines.write(f"{command}\r\n".encode())
                lines.flush()
                answers.append(lines.readline().decode().strip())
        return answers[1:]

    def _start_on(self, port: int, databases: int) -> bool:
        """Start on this port. Returns False if another process has just taken it."""
        log_size = self._log_size()
        self.port = port
        self._process = process = spawn(
            [str(self._server), "-"],
            log=self.log,
            directory=self.home,
            environment={"LC_ALL": "C"},
            standard_input=self._configuration(port, databases).encode(),
        )
        if wait_for_start(process, self._is_ready, START_SECONDS):
            return True
        words = last_words(self.log, log_size)
        if "Address already in use" in words:
            return False
        raise LocalServerFailed(
            f"Redis did not start: {words} / If its file is damaged, remove {self.home}; it is filled from the log."
        )

    def _configuration(self, port: int, databases: int) -> str:
        # A write reaches the system before its answer, so a killed server loses nothing. A power cut may lose the last
        # second, which the relay sends again, so flushing every write would only cost time.
        home = str(self.home).replace("\\", "\\\\").replace('"', '\\"')
        return "\n".join(
            [
                "bind 127.0.0.1",
                f"port {port}",
                "protected-mode yes",
                f"requirepass {self._password}",
                f'dir "{home}"',
                "appendonly yes",
                "appendfsync everysec",
                'save ""',
                f"databases {databases}",
                "maxmemory-policy noeviction",
                "daemonize no",
                f'proc-title-template "{{title}} {{listen-addr}} {self._mark}"',
                "",
            ]
        )

    def _is_ready(self) -> bool:
        try:
            return self.ask("PING") == ["+PONG"]
        except OSError:
            return False


def stop_leftover_redis(home: Path) -> bool:
    """End a server of this folder that outlived the process that started it. Returns whether there was one."""
    return stop_leftover(home, LocalRedis.name, "", SHUTDOWN)
