"""Several Redis servers on this machine: a master with a replica and a Sentinel, or a cluster. Tests kill them.

A RedisGroup owns the processes that it starts. Its servers have one password, and keep nothing on disk.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.exceptions import RedisError

from service.development.processes import end, spawn
from service.development.redis_binary import find_redis_server
from tests.ports import unused_port
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

PASSWORD = "group-secret"
SLOTS = 16384
COMMON = ("bind 127.0.0.1", f"requirepass {PASSWORD}", f"masterauth {PASSWORD}", 'save ""', "appendonly no")


@dataclass
class RedisGroup:
    """Servers by port; `url` is the one that our settings take."""

    folder: Path
    url: str = ""
    servers: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, *lines: str, sentinel: bool = False, common: tuple[str, ...] = COMMON) -> int:
        """Start a server with these lines in its configuration. Returns its port."""
        port = unused_port()
        home = self.folder / str(port)
        home.mkdir()
        text = [f"port {port}", f"dir {home}", *common, *lines]
        (home / "redis.conf").write_text("".join(f"{line}\n" for line in text))
        self._spawn(port, *(["--sentinel"] if sentinel else []))
        client = self.client(port, None if sentinel else PASSWORD)
        wait(client.ping)
        return port

    def restart(self, port: int) -> None:
        """Start a killed server again, with the configuration that it had."""
        self._spawn(port)
        wait(self.client(port).ping)

    def client(self, port: int, password: str | None = PASSWORD) -> Redis:
        return Redis(port=port, password=password, protocol=2)

    def ask(self, port: int, *command: object) -> Any:
        """Send a command, and return its answer."""
        client: Any = self.client(port)
        return client.execute_command(*command)

    def kill(self, port: int) -> None:
        """SIGKILL for one of the servers."""
        self.servers[port].kill()
        self.servers[port].wait()

    def stop(self) -> None:
        for server in self.servers.values():
            end(server, ())

    def _spawn(self, port: int, *options: str) -> None:
        binary, home = find_redis_server(), self.folder / str(port)
        assert binary is not None
        self.servers[port] = spawn(
            [str(binary), str(home / "redis.conf"), *options],
            log=home / "log",
            directory=home,
            environment={"LC_ALL": "C"},
        )


def wait(what: Callable[[], object]) -> None:
    """Ask a server until it gives a true answer."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if what():
                return
        except RedisError:
            pass
        assert time.monotonic() < deadline, "the Redis servers are not ready"
        time.sleep(0.02)


@contextmanager
def watched_redis(folder: Path) -> Iterator[tuple[RedisGroup, int]]:
    """A master, its replica, and a Sentinel that promotes the replica when the master is silent for 0.3 s. Yields the
    group and the master's port."""
    with ExitStack() as stack:
        group = RedisGroup(folder)
        stack.callback(group.stop)
        master = group.start()
        replica = group.start(f"replicaof 127.0.0.1 {master}")
        wait(lambda: group.client(replica).info("replication")["master_link_status"] == "up")
        sentinel = group.start(
            f"sentinel monitor timewarden 127.0.0.1 {master} 1",
            f"sentinel auth-pass timewarden {PASSWORD}",
            "sentinel down-after-milliseconds timewarden 300",
            "sentinel failover-timeout timewarden 3000",
            sentinel=True,
            common=("bind 127.0.0.1",),
        )
        known = group.client(sentinel, None)
        wait(lambda: known.sentinel_slaves("timewarden"))
        silent = unused_port()
        group.url = f"redis+sentinel://:{PASSWORD}@127.0.0.1:{silent},127.0.0.1:{sentinel}/timewarden"
        yield group, master


@contextmanager
def redis_cluster(folder: Path, nodes: int = 2) -> Iterator[RedisGroup]:
    """A Redis Cluster of masters that share the keys."""
    with ExitStack() as stack:
        group = RedisGroup(folder)
        stack.callback(group.stop)
        ports = [group.start("cluster-enabled yes", "cluster-config-file nodes.conf") for _ in range(nodes)]
        for number, port in enumerate(ports):
            slots = range(number * SLOTS // nodes, (number + 1) * SLOTS // nodes)
            group.ask(port, "CLUSTER", "ADDSLOTS", *slots)
            group.ask(port, "CLUSTER", "MEET", "127.0.0.1", ports[0])
        wait(lambda: all(b"cluster_state:ok" in group.ask(port, "CLUSTER", "INFO") for port in ports))
        group.url = f"redis+cluster://:{PASSWORD}@127.0.0.1:{ports[0]},127.0.0.1:{unused_port()}"
        yield group
