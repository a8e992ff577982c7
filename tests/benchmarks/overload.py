"""Measures what callers get at 1, 3 and 10 times capacity: `python -m tests.benchmarks.overload [WORKERS]`.

Capacity is what 64 connections get in a closed loop. Then requests arrive at a fixed rate, whatever is answered, and at
last 1,000 connections ask again and again, first with and then without the pause that `Retry-After` asks for. Meanwhile
readiness is asked for. The row "sent elsewhere" is the limit: what 64 connections get while the load of the row above
goes to a server that does nothing (sink.py), so that it costs its generator and the kernel alone. The load generators
are processes beside the service, on the same cores; they need nothing but Python. Figures only, no verdicts. See
open_load.py and load.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx2

from service.commands.policy_bootstrap import bootstrap_policy
from tests.benchmarks.ground import ground
from tests.benchmarks.servers import (
    ROOT,
    limited_service,
    run_load,
    serve_command,
    sheet,
    spawn,
    token_of,
    with_a_project,
)
from tests.held_sockets import HeldSockets
from tests.integration.api import key_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECONDS = 10.0
PATIENCE_SECONDS = 40.0
TIMES = (1, 3, 10)
COLUMNS = "{:<18}{:>9}{:>9}{:>7}{:>8}{:>8}{:>8}{:>8}{:>9}{:>9}{:>9}{:>9}{:>8}"


async def main(workers: int = 1) -> None:
    async with ground() as stores, contextlib.AsyncExitStack() as stack:
        issuer = stack.enter_context(contextlib.contextmanager(key_server)())
        await bootstrap_policy(stores.owner_url, ROOT / "policies")
        await with_a_project(stores.owner_url)
        token = token_of(issuer)
        with HeldSockets() as held:
            port, command = serve_command(held, limited_service(stores, issuer, workers))
            process = spawn(*command)
        try:
            path = await sheet(port, token)
            await measure(port, held.management, path, token)
        finally:
            os.kill(process, signal.SIGTERM)
            await asyncio.to_thread(os.waitpid, process, 0)


async def measure(port: int, management: str, path: str, token: str) -> None:
    """Load the service in each way, and print a line for each."""
    await run_load(port, 8, 2.0, path, token)
    capacity = (await _generate_load("load", port, 64, SECONDS / 2, path, token))["goodput"]
    print(f"capacity: {capacity:.0f} requests a second\n")
    heads = ("load", "sent/s", "good/s", "share", "200", "503", "other", "none", "200 p50", "200 p99", "503 p50")
    print(COLUMNS.format(*heads, "503 p99", "ready"))
    for times in TIMES:
        async with probe(management) as slowest:
            told = await _generate_load("open_load", port, capacity * times, SECONDS, PATIENCE_SECONDS, path, token)
        _print(f"{times} x capacity", capacity, told, slowest)
    async with sink() as elsewhere:
        _, told = await asyncio.gather(
            _generate_load("open_load", elsewhere, capacity * TIMES[-1], SECONDS, PATIENCE_SECONDS, path, token),
            _generate_load("load", port, 64, SECONDS, path, token),
        )
    _print("  sent elsewhere", capacity, told, [0.0])
    for name, patient in (("1000 that wait", ("patient",)), ("1000 that do not", ())):
        async with probe(management) as slowest:
            told = await _generate_load("load", port, 1000, SECONDS, path, token, *patient)
        _print(name, capacity, told, slowest)
    after = (await _generate_load("load", port, 64, SECONDS / 2, path, token))["goodput"]
    print(f"\ncapacity afterwards: {after:.0f} requests a second")


@contextlib.asynccontextmanager
async def probe(management: str) -> AsyncIterator[list[float]]:
    """Ask the management address for readiness five times a second meanwhile. The slowest answer in milliseconds; inf
    for one that failed."""
    slowest = [0.0]

    async def ask() -> None:
        async with httpx2.AsyncClient(base_url=management, timeout=5, trust_env=False) as http:
            while True:
                started = time.perf_counter()
                try:
                    ready = (await http.get("/health/ready")).status_code == httpx2.codes.OK
                except httpx2.HTTPError:
                    ready = False
                slowest[0] = max(slowest[0], (time.perf_counter() - started) * 1e3 if ready else float("inf"))
                await asyncio.sleep(0.2)

    asking = asyncio.create_task(ask())
    try:
        yield slowest
    finally:
        asking.cancel()
        await asyncio.wait({asking})


@contextlib.asynccontextmanager
async def sink() -> AsyncIterator[int]:
    """The port of a server that does nothing, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.sink"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


async def _generate_load(module: str, *arguments: object) -> dict[str, Any]:
    """The counts of a load generator in its own process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"tests.benchmarks.{module}",
        *(str(argument) for argument in arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    told: dict[str, Any] = json.loads(output)
    return told


def _print(name: str, capacity: float, told: dict[str, Any], slowest: list[float]) -> None:
    statuses = {int(status): count for status, count in told["statuses"].items()}
    arrived = sum(statuses.values()) + told["unanswered"]
    good, refused = statuses.get(200, 0), statuses.get(503, 0)
    shares = [good, refused, sum(statuses.values()) - good - refused, told["unanswered"]]
    times = [told["milliseconds"].get(status, {}).get(name) for status in ("200", "503") for name in ("p50", "p99")]
    print(
        COLUMNS.format(
            name,
            f"{told['rate']:.0f}",
            f"{told['goodput']:.0f}",
            f"{told['goodput'] / capacity:.2f}",
            *(f"{count / arrived:.1%}" for count in shares),
            *("" if found is None else f"{found:.0f} ms" for found in times),
            f"{slowest[0]:.0f} ms",
        ),
        flush=True,
    )


if __name__ == "__main__":
    asyncio.run(main(*(int(argument) for argument in sys.argv[1:])))
