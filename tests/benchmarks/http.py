"""Measures an authorized, recorded read against its rivals: `python -m tests.benchmarks.http [WORKERS] [ROUNDS]`.

All servers stand beside one embedded Postgres that really flushes, and take turns in short rounds: the ratios are of
one run. Figures only, no verdicts; the targets are printed beside them. See rivals.py and load.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import statistics
import sys
import time
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx2
from cryptography.hazmat.primitives import serialization

from service.commands.policy import bootstrap_policy
from service.development.local_servers import free_port
from tests.benchmarks.ground import ground
from tests.held_sockets import HeldSockets
from tests.integration.api import AUDIENCE, key_server
from tests.token_forge import header, rsa_key, sign

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from service.development.stores import Stores

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 1.5
CONNECTIONS = (1, 32, 64)
NAMES = ("bare", "kept", "stock", "naive", "ours", "ours, limited")


async def main(workers: int = 1, rounds: int = 3) -> None:
    async with ground() as stores, contextlib.AsyncExitStack() as stack:
        issuer = stack.enter_context(contextlib.contextmanager(key_server)())
        await bootstrap_policy(stores.owner_url, ROOT / "policies")
        await with_a_project(stores.owner_url)
        token = token_of(issuer)
        with servers(stores, issuer, workers) as ports:
            path = await sheet(ports["ours"], token)
            rates = await measure(ports, path, token, rounds)
    print(f"\nrequests a second, medians of {rounds} rounds, {workers} worker(s)")
    print(f"{'':>14}" + "".join(f"{count:>12}" for count in CONNECTIONS))
    for name in NAMES:
        print(f"{name:>14}" + "".join(f"{rates[name, count]:>12.0f}" for count in CONNECTIONS))
    print("\nratios of one run" + f"{'':>33}" + "".join(f"{count:>8}" for count in CONNECTIONS) + "   targets")
    for name, rival, targets in (
        ("ours", "kept", "1 worker: 0.45 at 1, 0.65 at 32; 2 workers: 0.85 at 64"),
        ("ours", "stock", "1 worker: 0.55 at 1, 0.85 at 32; 2 workers: 1.0 at 64"),
        ("ours", "naive", "4"),
        ("ours", "bare", ""),
        ("kept", "bare", ""),
        ("ours, limited", "ours", ""),
    ):
        ratios = "".join(f"{rates[name, count] / rates[rival, count]:>8.2f}" for count in CONNECTIONS)
        print(f"  {f'{name} / {rival}':<48}{ratios}   {targets}")


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
def servers(stores: Stores, issuer: str, workers: int, names: Sequence[str] = NAMES) -> Iterator[dict[str, int]]:
    """The service and the rivals that are named, each on its port; they end with the block."""
    rivals = [name for name in names if not name.startswith("ours")]
    ports = {name: free_port(0) for name in rivals}
    pem = (
        rsa_key().public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    rival = {"BENCH_DATABASE": stores.app_url, "BENCH_KEY": pem.decode(), "BENCH_WORKERS": str(workers)}
    # The benchmark measures work, so a request that waits is not refused.
    patient = {"TIMEWARDEN_ADMISSION_TIMEOUT": "60"}
    settings = {
        "ours": {**unlimited_service(stores, issuer, workers), **patient},
        "ours, limited": {**limited_service(stores, issuer, workers), **patient},
    }
    commands: dict[str, tuple[list[str], Mapping[str, str]]] = {
        name: (["tests.benchmarks.rivals", name], {**rival, "BENCH_PORT": str(ports[name])}) for name in rivals
    }
    with contextlib.ExitStack() as stack:
        for name in set(names) & set(settings):
            ports[name], commands[name] = serve_command(stack.enter_context(HeldSockets()), settings[name])
        started = [spawn(*command) for command in commands.values()]
    try:
        yield ports
    finally:
        for pid in started:
            os.kill(pid, signal.SIGTERM)
        for pid in started:
            os.waitpid(pid, 0)


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


def spawn(command: list[str], variables: Mapping[str, str]) -> int:
    """Start a Python module as a server; what it says goes where nobody reads it, as in production."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIMEWARDEN_")}
    quiet = [(os.POSIX_SPAWN_OPEN, item, os.devnull, os.O_WRONLY, 0) for item in (1, 2)]
    return os.posix_spawn(sys.executable, [sys.executable, "-m", *command], {**kept, **variables}, file_actions=quiet)


async def with_a_project(owner_url: str) -> None:
    """A project to spend hours on; the right to keep projects is not tried."""
    owner = await asyncpg.connect(owner_url)
    await owner.execute("INSERT INTO project (code, name) VALUES ('ATLAS', 'Atlas')")
    await owner.close()


async def sheet(port: int, token: str, monday: date = date(2026, 11, 23)) -> str:
    """The path of a sheet with five entries, made through the service once it takes requests."""
    base = f"http://127.0.0.1:{port}"
    async with httpx2.AsyncClient(base_url=base, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as http:
        for _ in range(300):
            try:
                if (await http.get("/health/ready")).status_code == httpx2.codes.OK:
                    break
            except httpx2.HTTPError:
                await asyncio.sleep(0.1)
        made = await http.post("/v1/timesheets", json={"period_start": str(monday)})
        assert made.status_code == 201, made.text
        path = f"/v1/timesheets/{made.json()['id']}"
        for day in range(5):
            entry = {"day": str(monday + timedelta(days=day)), "project": "ATLAS", "minutes": 480, "note": "as planned"}
            added = await http.post(f"{path}/entries", json=entry, headers={"If-Match": f'"{day + 1}"'})
            assert added.status_code == 201, added.text
    return path


async def measure(ports: Mapping[str, int], path: str, token: str, rounds: int) -> dict[tuple[str, int], float]:
    """The median rate of each server at each number of connections; all take turns."""
    found: dict[tuple[str, int], list[float]] = {}
    for name in NAMES:
        await run_load(ports[name], 4, 0.5, path, token)
    for turn in range(rounds):
        for count in CONNECTIONS:
            for name in NAMES if turn % 2 == 0 else NAMES[::-1]:
                told = await run_load(ports[name], count, SECONDS, path, token)
                found.setdefault((name, count), []).append(told["rate"])
    return {key: statistics.median(rates) for key, rates in found.items()}


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


if __name__ == "__main__":
    asyncio.run(main(*(int(item) for item in sys.argv[1:])))
