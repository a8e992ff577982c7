"""The service as processes to be killed: API workers, competing keepers, Postgres.

An Estate owns the processes that it starts and restarts those that end, as an init system would. Durable data lie in
its state directory. It recovers from every fault without help.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx2

from service.commands.database import migrate_database
from service.commands.policy_bootstrap import bootstrap_policy
from service.development.local_servers import start_postgres, start_redis
from service.development.processes import LocalServerFailed
from service.development.server_directory import remember_port
from service.development.stores import prepare
from service.development.up import start_child
from service.log.key_files import make_key
from tests.acceptance.running_service import ROOT, WORKER, processes
from tests.benchmarks.servers import token_of, with_a_project
from tests.held_sockets import HeldSockets
from tests.integration.api import AUDIENCE, key_server
from tests.ports import unused_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from service.development.local_servers import LocalPostgres
    from tests.acceptance.running_service import Process

ORIGIN = "soak.example/audit/1"
# The service gives up on a silent database after so many seconds.
DATABASE_TIMEOUT_SECONDS = 2.0
# A file may not grow beyond one segment of Postgres's own journal, which is written anew and never grows.
MAX_FILE_BYTES = 16 * 2**20


@dataclass
class Estate:
    """Started by `estate`. `tree` is the checkout whose code the children run. `damage` counts the faults. `servers`:
    the Postgres that was started here, each time. `settings` are given to every child beside what it needs."""

    state: Path
    servers: list[LocalPostgres]
    urls: Mapping[str, str]
    redis_url: str
    token: str
    issuer: str
    held: HeldSockets
    workers: int = 2
    keepers: int = 2
    tree: Path = ROOT
    ended: bool = False
    damage: dict[str, int] = field(default_factory=dict)
    children: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def postgres(self) -> LocalPostgres:
        """The server that was started last."""
        return self.servers[-1]

    @property
    def api(self) -> str:
        return self.held.api

    @property
    def anchor(self) -> Path:
        return self.state / "anchor"

    @property
    def key(self) -> Path:
        return self.state / "log-key"

    async def kill_worker(self) -> None:
        """SIGKILL for one API worker; its leader replaces it."""
        leader = self.children["serve"].pid
        if workers := [process for process in processes() if process.parent == leader and WORKER in process.line]:
            self._count("API worker killed")
            workers[self.damage["API worker killed"] % len(workers)].send(signal.SIGKILL)

    async def kill_api(self) -> None:
        """SIGKILL for the API's leader; its workers follow it."""
        await self._kill("serve", "API killed")

    async def kill_keeper(self) -> None:
        """SIGKILL for one of the competing keepers."""
        await self._kill(f"keep {self.damage.get('keeper killed', 0) % self.keepers}", "keeper killed")

    async def kill_postgres(self, *, immediate: bool) -> None:
        """End Postgres by its immediate shutdown or by SIGKILL, and start it again."""
        self._count("Postgres stopped (immediate)" if immediate else "Postgres killed")
        if immediate:
            os.kill(self.postgres.pid, signal.SIGQUIT)
            for _ in range(500):
                if not self.postgres.running:
                    break
                await asyncio.sleep(0.01)
        await asyncio.to_thread(self.postgres.kill)
        await self._start_postgres()

    @contextlib.asynccontextmanager
    async def hanging_postgres(self) -> AsyncIterator[None]:
        """Inside this block every process of Postgres is stopped, without closing a connection."""
        self._count("Postgres hung")
        stopped = self.database_processes()
        for process in stopped:
            process.send(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in stopped:
                process.send(signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def full_disk(self) -> AsyncIterator[None]:
        """Inside this block no file of Postgres can grow beyond MAX_FILE_BYTES: its writes fail in the kernel, as on a
        full disk, for root too. Postgres's processes inherit the limit."""
        self._count("disk full")
        self._limit(MAX_FILE_BYTES)
        try:
            yield
        finally:
            self._limit(resource.RLIM_INFINITY)

    def database_processes(self) -> list[Process]:
        """Postgres and all its backends."""
        every = list(processes())
        mine = {self.postgres.pid}
        while more := {process.pid for process in every if process.parent in mine} - mine:
            mine |= more
        # The postmaster first: backends that it forks later inherit its signal or limit.
        return sorted(
            (process for process in every if process.pid in mine), key=lambda process: process.pid != self.postgres.pid
        )

    async def ready(self, seconds: float = 40.0) -> None:
        """Wait until the API can decide and record."""
        async with httpx2.AsyncClient(base_url=self.api, timeout=5, trust_env=False) as http:
            for _ in range(int(seconds / 0.1)):
                with contextlib.suppress(httpx2.HTTPError):
                    if (await http.get("/health/ready")).status_code == httpx2.codes.OK:
                        return
                await asyncio.sleep(0.1)
        raise AssertionError(f"the API did not become ready: {(self.state / 'service.log').read_text()[-3000:]}")

    async def supervise(self) -> None:
        """Start every child, and restart those that end, until cancelled or `end`."""
        names = ["serve", *(f"keep {number}" for number in range(self.keepers))]
        while not self.ended:
            for name in names:
                child = self.children.get(name)
                if child is None or child.returncode is not None:
                    self.children[name] = await self._spawn(name.split()[0])
            await asyncio.sleep(0.1)

    async def end(self) -> None:
        """Terminate the children; those that do not end by themselves are killed. No other is started."""
        self.ended = True
        for child in self.children.values():
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
        for child in self.children.values():
            try:
                await asyncio.wait_for(child.wait(), 15)
            except TimeoutError:
                child.kill()
                await child.wait()

    async def _start_postgres(self) -> None:
        """Start it, repeatedly if needed: a killed backend may hold the shared memory a moment longer."""
        for attempt in range(20):
            try:
                self.servers.append(
                    await asyncio.to_thread(start_postgres, self.state, preferred_port=self.postgres.port)
                )
            except LocalServerFailed:
                if attempt == 19:
                    raise
                await asyncio.sleep(0.2)
            else:
                return

    async def _kill(self, name: str, what: str) -> None:
        child = self.children.get(name)
        if child is not None and child.returncode is None:
            self._count(what)
            child.kill()
            await child.wait()

    def variables(self, command: str) -> dict[str, str]:
        """The environment of `serve` or `keep`."""
        variables = {
            "TIMEWARDEN_ENVIRONMENT": "development",
            "TIMEWARDEN_ISSUER": self.issuer,
            "TIMEWARDEN_JWKS_URL": f"{self.issuer}/jwks",
            "TIMEWARDEN_AUDIENCE": AUDIENCE,
            "TIMEWARDEN_CURSOR_KEY": "0" * 32,
            "TIMEWARDEN_POLICIES_DIRECTORY": str(self.tree / "policies"),
            "TIMEWARDEN_CLIENT_RATE": "0",
            "TIMEWARDEN_ADDRESS_RATE": "0",
            "TIMEWARDEN_WORKERS": str(self.workers),
            "TIMEWARDEN_DATABASE_TIMEOUT": str(DATABASE_TIMEOUT_SECONDS),
            "TIMEWARDEN_LOCK_TIMEOUT": "1",
            "TIMEWARDEN_DATABASE_URL": self.urls["app" if command == "serve" else "keeper"],
            "TIMEWARDEN_LOG_LEVEL": "error",
            **{f"TIMEWARDEN_{name}": value for name, value in self.settings.items()},
        }
        if command == "keep":
            variables |= {
                "TIMEWARDEN_REDIS_URL": self.redis_url,
                "TIMEWARDEN_LOG_ORIGIN": ORIGIN,
                "TIMEWARDEN_LOG_KEY_FILE": str(self.key),
                "TIMEWARDEN_LOG_ANCHOR_FILE": str(self.anchor),
                "TIMEWARDEN_CHECKPOINT_INTERVAL": "0.2",
                "TIMEWARDEN_SEAL_INTERVAL": "0.05",
            }
        return variables

    async def _spawn(self, command: str) -> asyncio.subprocess.Process:
        variables = self.variables(command)
        with (self.state / "service.log").open("ab") as log:
            # The ports stay open between two starts: callers wait, and no other process takes them.
            sockets = self.held.sockets if command == "serve" else ()
            return await start_child(command, variables, log.fileno(), sockets, self.tree)

    def _limit(self, size: int) -> None:
        for database_process in self.database_processes():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(database_process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def _count(self, what: str) -> None:
        self.damage[what] = self.damage.get(what, 0) + 1


@contextlib.asynccontextmanager
async def estate(
    state: Path,
    *,
    workers: int = 2,
    keepers: int = 2,
    further_hosts: Sequence[str] = (),
    tree: Path = ROOT,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Estate]:
    """Durable servers and the service over them; all end with the block. The service knows `further_hosts`, such as
    `127.0.0.1:5433`, as hosts of the database beside its first one. With a `tree` the release of that checkout makes
    the schema and runs."""
    remember_port(state, "postgres", unused_port())
    servers = [start_postgres(state, preferred_port=0)]
    try:
        hosts = (f"127.0.0.1:{servers[0].port}", *further_hosts)
        async with estate_on(
            state,
            servers[0].superuser_url,
            hosts,
            workers=workers,
            keepers=keepers,
            tree=tree,
            servers=servers,
            settings=settings,
        ) as made:
            yield made
    finally:
        servers[-1].stop()


@contextlib.asynccontextmanager
async def estate_on(
    state: Path,
    admin_url: str,
    hosts: Sequence[str],
    *,
    workers: int = 2,
    keepers: int = 2,
    tree: Path = ROOT,
    servers: list[LocalPostgres] | None = None,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Estate]:
    """As `estate`, on the database of a superuser's URL. The service knows it by `hosts`. `servers`: the server of that
    database, if the estate shall start it again."""
    with contextlib.ExitStack() as stack:
        issuer = stack.enter_context(contextlib.contextmanager(key_server)())
        redis = stack.enter_context(start_redis(state, preferred_port=0))
        names = ("owner", "app", "keeper", "auditor")
        host = admin_url.rpartition("@")[2].partition("/")[0]
        urls = {
            name: url.replace(host, ",".join(hosts)) for name, url in zip(names, prepare(state, admin_url), strict=True)
        }
        # The verdict is about the host that takes writes. The service finds it without being told.
        urls["auditor"] += "?target_session_attrs=read-write"
        held = stack.enter_context(HeldSockets())
        made = Estate(state, servers or [], urls, redis.url, token_of(issuer), issuer, held, workers, keepers, tree)
        made.settings = settings or {}
        if tree == ROOT:
            await migrate_database(urls["owner"])
            await bootstrap_policy(urls["owner"], ROOT / "policies")
        else:
            for words in (["migrate"], ["policy", "bootstrap"]):
                await run_command(words, urls["owner"], tree)
        await with_a_project(urls["owner"])
        make_key(made.key, ORIGIN)
        async with supervised(made):
            yield made


@contextlib.asynccontextmanager
async def supervised(estate: Estate) -> AsyncIterator[None]:
    """The children of an estate run inside the block."""
    supervisor = asyncio.create_task(estate.supervise())
    try:
        await estate.ready()
        yield
    finally:
        supervisor.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await supervisor
        await estate.end()


async def run_command(words: Sequence[str], url: str, tree: Path) -> None:
    """Run a command of the release in a checkout, on the database at `url`."""
    variables = {"TIMEWARDEN_DATABASE_URL": url, "TIMEWARDEN_ENVIRONMENT": "development"}
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service", *words, cwd=tree, env={**os.environ, **variables}, stdout=subprocess.PIPE
    )
    told, _ = await command.communicate()
    assert command.returncode == 0, told.decode()
