"""Three nodes of Patroni with one etcd, over the embedded Postgres, by docs/examples/patroni.yml.

Owns the processes that it starts. A node that is lost is killed with its Postgres, as if its host had lost its power.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx2
import yaml

from service.development.local_postgres import clean_environment, postgres_binaries
from service.development.processes import end, spawn
from service.development.server_directory import secret
from service.development.server_user import account_for
from tests.acceptance.running_service import ROOT, processes
from tests.ports import unused_port
from tests.until import until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator

EXAMPLE: Final = ROOT / "docs" / "examples" / "patroni.yml"
NAMES: Final = ("db1", "db2", "db3")


@dataclass
class Node:
    """A host with Patroni and its Postgres; `start` and `lose` may follow each other."""

    name: str
    folder: Path
    etcd: str
    passwords: dict[str, str]
    port: int = field(default_factory=unused_port)
    rest: int = field(default_factory=unused_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start Patroni, which starts Postgres."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = self.folder / "patroni.yml"
        file.write_text(yaml.safe_dump(self._configuration()), encoding="utf-8")
        file.chmod(0o600)
        self.process = spawn(
            [str(Path(os.environ["PATRONI"]) / "patroni"), str(file)],
            log=self.folder / "patroni.log",
            directory=self.folder,
            environment={**clean_environment(), "PATH": f"{os.environ['PATRONI']}:{os.environ['PATH']}"},
            account=account_for(self.folder, postgres_binaries()),
        )

    def lose(self) -> None:
        """SIGKILL for Patroni, Postgres and all their children."""
        every = list(processes())
        mine = {process.pid for process in every if str(self.folder) in process.line}
        while more := {process.pid for process in every if process.parent in mine} - mine:
            mine |= more
        for process in every:
            if process.pid in mine:
                process.send(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def _configuration(self) -> dict[str, Any]:
        """That of the example, with names, addresses, passwords and folders of this node."""
        made: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
        made["name"] = self.name
        made["restapi"] = dict.fromkeys(made["restapi"], f"127.0.0.1:{self.rest}")
        made["etcd3"]["hosts"] = [self.etcd]
        postgres = made["postgresql"]
        postgres |= {
            "listen": f"127.0.0.1:{self.port}",
            "connect_address": f"127.0.0.1:{self.port}",
            "data_dir": str(self.folder / "data"),
            "bin_dir": str(postgres_binaries()),
            # A socket's path may have no more than 107 bytes.
            "parameters": {"unix_socket_directories": ""},
        }
        for account in postgres["authentication"].values():
            account["password"] = self.passwords[account["username"]]
        return made


@dataclass
class Cluster:
    """`nodes` by name."""

    nodes: dict[str, Node]
    folder: Path
    etcd_port: int
    etcd_peer_port: int
    etcd: subprocess.Popen[bytes] | None = None

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(f"127.0.0.1:{node.port}" for node in self.nodes.values())

    def start_etcd(self) -> None:
        urls = {
            "client": f"http://127.0.0.1:{self.etcd_port}",
            "peer": f"http://127.0.0.1:{self.etcd_peer_port}",
        }
        etcd = shutil.which("etcd")
        assert etcd, "etcd is not installed"
        self.etcd = spawn(
            [
                *(etcd, "--name=etcd1", f"--data-dir={self.folder / 'etcd'}", "--log-level=error"),
                *(f"--listen-client-urls={urls['client']}", f"--advertise-client-urls={urls['client']}"),
                *(f"--listen-peer-urls={urls['peer']}", f"--initial-advertise-peer-urls={urls['peer']}"),
                f"--initial-cluster=etcd1={urls['peer']}",
            ],
            log=self.folder / "etcd.log",
            directory=self.folder,
            environment=clean_environment(),
        )

    def lose_etcd(self) -> None:
        """SIGKILL for etcd."""
        assert self.etcd is not None
        self.etcd.kill()
        self.etcd.wait()

    async def members(self) -> dict[str, dict[str, Any]]:
        """The state of each node as Patroni knows it, by name; empty while no node answers."""
        async with httpx2.AsyncClient(timeout=3.0, trust_env=False) as http:
            for node in self.nodes.values():
                with contextlib.suppress(httpx2.HTTPError, ValueError):
                    found = (await http.get(f"http://127.0.0.1:{node.rest}/cluster")).json()
                    return {member["name"]: member for member in found["members"]}
        return {}

    async def find(self, role: str) -> str:
        """The name of the first node with this role; empty: there is none."""
        return next((name for name, member in (await self.members()).items() if member["role"] == role), "")

    async def wait_whole(self) -> None:
        """Wait until there are a leader, a standby that commits wait for, and another standby, all up to date."""

        async def whole() -> bool:
            states = sorted((member["role"], member["state"]) for member in (await self.members()).values())
            return states == [("leader", "running"), ("replica", "streaming"), ("sync_standby", "streaming")]

        await until(whole)

    async def switch_over(self) -> None:
        """Make the synchronous standby the leader, as an operator would before maintenance."""
        leader, candidate = await self.find("leader"), await self.find("sync_standby")
        async with httpx2.AsyncClient(timeout=120.0, trust_env=False) as http:
            answer = await http.post(
                f"http://127.0.0.1:{self.nodes[leader].rest}/switchover",
                json={"leader": leader, "candidate": candidate},
            )
        assert answer.status_code == httpx2.codes.OK, answer.text


@contextlib.asynccontextmanager
async def start_cluster(folder: Path) -> AsyncIterator[Cluster]:
    """A whole cluster in a folder; nothing of it runs after the block."""
    port, peer = unused_port(), unused_port()
    passwords = {name: secret(folder, name) for name in ("postgres", "replicator", "rewind")}
    nodes = {name: Node(name, folder / name, f"127.0.0.1:{port}", passwords) for name in NAMES}
    made = Cluster(nodes, folder, port, peer)
    try:
        made.start_etcd()
        first, *others = nodes.values()
        first.start()
        await until(lambda: made.find("leader"))
        for node in others:
            node.start()
        await made.wait_whole()
        yield made
    finally:
        for node in nodes.values():
            await asyncio.to_thread(node.lose)
        if made.etcd is not None:
            end(made.etcd, ((signal.SIGTERM, 10.0),))
