"""Starts the service and its rivals for the benchmarks over HTTP, and sends them requests.

All servers stand beside one embedded Postgres that really flushes. Owns the processes that it starts. See rivals.py,
cerbos.py and load.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import astuple, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx2
from cryptography.hazmat.primitives import serialization

from service.log.key_files import make_key
from tests.benchmarks.cost import processor_seconds
from tests.held_sockets import HeldSockets
from tests.integration.api import AUDIENCE
from tests.token_forge import header, rsa_key, sign

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from service.development.stores import Stores
    from tests.benchmarks.ground import Ground

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 1.5
START_SECONDS = 120.0
STOP_SECONDS = 10.0
ORIGIN = "bench.example/log"


@dataclass(frozen=True, slots=True)
class Server:
    """A server under test: its port, the process that stands for it and its children, and others whose work counts."""

    port: int
    pid: int
    others: tuple[int, ...] = ()

    def processor_seconds(self) -> float:
        """The processor time that they took until now."""
        return sum(map(processor_seconds, (self.pid, *self.others)))


@dataclass(frozen=True, slots=True)
class Measured:
    """Requests a second, milliseconds at the median, and processor time of a request in microseconds."""

    rate: float
    p50: float
    server: float
    postgres: float

    @property
    def total(self) -> float:
        """The processor time of the server and of Postgres."""
        return self.server + self.postgres


def token_of(issuer: str, subject: str = "auth0|ana", scope: str = "read:timesheets create:timesheets") -> str:
    now = int(time.time())
    claims = {
        "iss": issuer,
        "aud": AUDIENCE,
        "sub": subject,
        "client_id": "hours-app",
        "jti": f"token-{subject}",
        "iat": now - 1,
        "exp": now + 3600,
        "scope": scope,
    }
    return sign(header(), claims).decode()


@contextlib.contextmanager
def servers(
    stores: Stores, issuer: str, workers: int, names: Sequence[str], key: str | None = None
) -> Iterator[dict[str, Server]]:
    """The service (`ours`, with rate limits `ours, limited`) and the rivals that are named; they end with the block.

    `key`: the PEM with which rivals verify tokens; by default that of `token_of`.
    """
    pem = rsa_key().public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    rival = {"BENCH_DATABASE": stores.app_url, "BENCH_KEY": key or pem.decode(), "BENCH_WORKERS": str(workers)}
    # The benchmark measures work, so a request that waits is not refused.
    patient = {"TIMEWARDEN_ADMISSION_TIMEOUT": "60"}
    settings = {
        "ours": {**unlimited_service(stores, issuer, workers), **patient},
        "ours, limited": {**limited_service(stores, issuer, workers), **patient},
    }
    started: dict[str, Server] = {}
    try:
        # Held together, so that no two are the same: Granian shares a port that is taken.
        with contextlib.ExitStack() as stack:
            held = {name: stack.enter_context(HeldSockets()) for name in names}
            for name in settings.keys() & held:
                port, command = serve_command(held[name], settings[name])
                started[name] = Server(port, spawn(*command))
        for name in held.keys() - settings:
            port, module = held[name].port, ["tests.benchmarks.rivals", name]
            started[name] = Server(port, spawn(module, {**rival, "BENCH_PORT": str(port)}))
        yield {name: started[name] for name in names}
    finally:
        stop(*(server.pid for server in started.values()))


def stop(*pids: int) -> None:
    """End processes that `spawn` started, by force after some seconds: Granian may ignore a signal while it starts."""
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + STOP_SECONDS
    for pid in pids:
        while not os.waitpid(pid, os.WNOHANG)[0]:
            if time.monotonic() > until:
                os.killpg(pid, signal.SIGKILL)
            time.sleep(0.05)


def serve_command(held: HeldSockets, variables: Mapping[str, str]) -> tuple[int, tuple[list[str], Mapping[str, str]]]:
    """The port of the service, and the command that serves on it."""
    for number in held.numbers:
        os.set_inheritable(number, True)
    return held.port, (["service", "serve", *held.options], variables)


def unlimited_service(stores: Stores, issuer: str, workers: int) -> dict[str, str]:
    """The settings of the service without rate limits."""
    return {
        "TIMEWARDEN_ENVIRONMENT": "development",
        "TIMEWARDEN_ISSUER": issuer,
        "TIMEWARDEN_JWKS_URL": f"{issuer}/jwks",
        "TIMEWARDEN_AUDIENCE": AUDIENCE,
        "TIMEWARDEN_DATABASE_URL": stores.app_url,
        "TIMEWARDEN_CURSOR_KEY": "0" * 32,
        "TIMEWARDEN_WORKERS": str(workers),
        "TIMEWARDEN_POLICIES_DIRECTORY": str(ROOT / "policies"),
        "TIMEWARDEN_WEEKS_AHEAD": "5000",
        "TIMEWARDEN_CLIENT_RATE": "0",
        "TIMEWARDEN_ADDRESS_RATE": "0",
    }


def limited_service(stores: Stores, issuer: str, workers: int) -> dict[str, str]:
    """The settings of the service with rate limits that nobody reaches, counted in Redis."""
    return {
        **unlimited_service(stores, issuer, workers),
        "TIMEWARDEN_REDIS_URL": stores.redis_url,
        "TIMEWARDEN_CLIENT_RATE": "1000000",
        "TIMEWARDEN_ADDRESS_RATE": "1000000",
    }


def spawn(module: list[str], variables: Mapping[str, str]) -> int:
    """Start a Python module as a server."""
    return spawn_program([sys.executable, "-m", *module], variables)


def spawn_program(command: list[str], variables: Mapping[str, str]) -> int:
    """Start a program as a server; what it says goes where nobody reads it, as in production."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIMEWARDEN_")}
    quiet = [(os.POSIX_SPAWN_OPEN, item, os.devnull, os.O_WRONLY, 0) for item in (1, 2)]
    # In a process group of its own, so that `stop` reaches its children, too.
    return os.posix_spawn(command[0], command, {**kept, **variables}, file_actions=quiet, setpgroup=0)


@contextlib.contextmanager
def keeper(stores: Stores) -> Iterator[int]:
    """A keeper with its ordinary settings; its process id."""
    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder) / "key"
        make_key(key, ORIGIN)
        variables = {
            "TIMEWARDEN_ENVIRONMENT": "development",
            "TIMEWARDEN_DATABASE_URL": stores.keeper_url,
            "TIMEWARDEN_REDIS_URL": stores.redis_url,
            "TIMEWARDEN_LOG_ORIGIN": ORIGIN,
            "TIMEWARDEN_LOG_KEY_FILE": str(key),
            "TIMEWARDEN_LOG_ANCHOR_FILE": str(Path(folder) / "anchor"),
        }
        pid = spawn(["service", "keep"], variables)
        try:
            yield pid
        finally:
            stop(pid)


async def wait_sealed(owner_url: str) -> None:
    """Wait until a keeper has sealed all records, and a moment more for it to publish them."""
    connection = await asyncpg.connect(owner_url)
    # Whether a record has no place in the tree yet.
    query = "SELECT EXISTS (SELECT FROM audit_record r WHERE r.id > (SELECT max(record_id) FROM audit_position))"
    async with asyncio.timeout(START_SECONDS):
        while await connection.fetchval(query):  # noqa: ASYNC110 - another process seals
            await asyncio.sleep(0.1)
    await connection.close()
    await asyncio.sleep(2)


async def with_a_project(owner_url: str) -> None:
    """A project to spend hours on; the right to keep projects is not tried."""
    owner = await asyncpg.connect(owner_url)
    await owner.execute("INSERT INTO project (code, name) VALUES ('ATLAS', 'Atlas')")
    await owner.close()


async def sheet(port: int, token: str, monday: date = date(2026, 11, 23)) -> str:
    """The path of a sheet with five entries, made through the service once it takes requests."""
    await wait_ready(port)
    base = f"http://127.0.0.1:{port}"
    async with httpx2.AsyncClient(base_url=base, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as http:
        made = await http.post("/v1/timesheets", json={"period_start": str(monday)})
        assert made.status_code == 201, made.text
        path = f"/v1/timesheets/{made.json()['id']}"
        for day in range(5):
            entry = {"day": str(monday + timedelta(days=day)), "project": "ATLAS", "minutes": 480, "note": "as planned"}
            added = await http.post(f"{path}/entries", json=entry, headers={"If-Match": f'"{day + 1}"'})
            assert added.status_code == 201, added.text
    return path


async def wait_ready(port: int, path: str = "/health/ready", *, body: object = None, token: str = "") -> None:
    """Wait until the server answers 200."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False) as http:
        async with asyncio.timeout(START_SECONDS):
            while True:
                with contextlib.suppress(httpx2.HTTPError):
                    method = "GET" if body is None else "POST"
                    if (await http.request(method, path, json=body)).status_code == httpx2.codes.OK:
                        return
                await asyncio.sleep(0.1)


async def measure_load(
    ground: Ground, server: Server, connections: int, path: str, token: str, *headers: str, status: str = "200"
) -> Measured:
    """The rate and the cost of a request, in a round of its own."""
    before = server.processor_seconds(), processor_seconds(ground.postgres_pid)
    told = await run_load(server.port, connections, SECONDS, path, token, *headers, status=status)
    after = server.processor_seconds(), processor_seconds(ground.postgres_pid)
    requests = told["statuses"][status]
    mine, postgres = ((end - start) * 1e6 / requests for start, end in zip(before, after, strict=True))
    return Measured(told["rate"], told["p50"], mine, postgres)


def median_of(values: Sequence[Measured]) -> Measured:
    """The median of each figure."""
    columns = zip(*(astuple(value) for value in values), strict=True)
    return Measured(*(statistics.median(column) for column in columns))


async def run_load(
    port: int, connections: int, seconds: float, path: str, token: str, *headers: str, status: str = "200"
) -> dict[str, Any]:
    """The counts of a load generator in its own process; every answer must have the status."""
    arguments = [str(port), str(connections), str(seconds), path, token, "", *headers]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.load", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    told: dict[str, Any] = json.loads(output)
    assert set(told["statuses"]) == {status}, (port, path, told["statuses"])
    return told
