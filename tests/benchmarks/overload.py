"""Measures what callers get beyond capacity, of the hot read and of a working day: `make bench ARGS=overload`.

Capacity is what 64 connections get in a closed loop. Then requests arrive at a fixed rate, whatever is answered, at 1,
3 and 10 times of it; at last 1,000 connections ask again and again, first with and then without the pause that
`Retry-After` asks for. Meanwhile readiness is asked for. The row "sent elsewhere" is the limit: what 64 connections get
while ten times the load goes to a server that does nothing, so that it costs its generator and the kernel alone. Of a
mix, `work` weighs each success with what its kind costs: the reciprocal of its rate when it is asked for alone.

The generator (callers.c) and Postgres are beside the service on the same cores. Figures only, no verdicts.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2

from service.commands.policy_bootstrap import bootstrap_policy
from tests.benchmarks import figures
from tests.benchmarks.callers import REFUSED, Callers, Kind, compile_callers, milliseconds, sink
from tests.benchmarks.cost import processor_seconds
from tests.benchmarks.ground import ground
from tests.benchmarks.load import request_of
from tests.benchmarks.servers import (
    ROOT,
    limited_service,
    serve_command,
    sheet,
    spawn,
    stop,
    token_of,
    with_a_project,
)
from tests.benchmarks.workday import make_workday
from tests.held_sockets import HeldSockets
from tests.integration.api import key_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.benchmarks.callers import Counts

SECONDS = 8
TIMES = (1, 3, 10)
CONNECTIONS, CROWD = 64, 1_000
WARM_SECONDS = 3.0
KIND_SECONDS = 1.0
# Ten times the capacity at the time when this benchmark was first written.
FORMER_RATE = 5_600
COLUMNS = "{:<20}{:>8}{:>8}{:>7}{:>6}{:>8}{:>8}{:>7}{:>7}  {:>14}{:>14}{:>9}{:>9}{:>11}"


@dataclass(frozen=True, slots=True)
class Service:
    """The service under test: its port, its address for readiness, and the processes whose work counts."""

    port: int
    management: str
    pid: int
    postgres_pid: int


async def main(seconds: int = SECONDS, workers: int = 1) -> None:
    async with ground() as stores, contextlib.AsyncExitStack() as stack:
        issuer = stack.enter_context(contextlib.contextmanager(key_server)())
        await bootstrap_policy(stores.owner_url, ROOT / "policies")
        await with_a_project(stores.owner_url)
        token = token_of(issuer)
        with HeldSockets() as held:
            port, command = serve_command(held, limited_service(stores, issuer, workers))
            pid = spawn(*command)
        try:
            program = compile_callers(stores.folder)
            service = Service(port, held.management, pid, stores.postgres_pid)
            read = [Kind("read a week", 1, [request_of(port, await sheet(port, token), token)])]
            day = await make_workday(stores.owner_url, issuer, port)
            async with sink(program) as (elsewhere, _):
                found = {}
                for name, kinds in (("the hot read", read), ("a working day", day)):
                    print(f"\n-- {name}: " + ", ".join(f"{kind.share} {kind.name}" for kind in kinds))
                    callers, aside = (Callers(program, f"{name}{copy}", kinds) for copy in ("", " aside"))
                    found[name] = await measure(service, callers, aside, elsewhere, kinds, float(seconds))
            figures.keep("overload", found)
        finally:
            stop(pid)


async def measure(
    service: Service, callers: Callers, aside: Callers, elsewhere: int, kinds: Sequence[Kind], seconds: float
) -> dict[str, object]:
    """Load the service in each way, and print a line for each."""
    await callers.run("closed", service.port, CONNECTIONS, WARM_SECONDS)
    weights = await weigh(service, callers, kinds)
    table = Table(service, weights)
    alone = await table.measure("closed loop", callers, "closed", CONNECTIONS, seconds / 2)
    capacity = alone.goodput
    for times in TIMES:
        await table.measure(f"{times} x capacity", callers, "open", capacity * times, seconds)
    if capacity * TIMES[-1] > 2 * FORMER_RATE:
        await table.measure(f"{FORMER_RATE:,} a second", callers, "open", FORMER_RATE, seconds)
    spent, _ = await asyncio.gather(
        aside.run("open", elsewhere, capacity * TIMES[-1], seconds),
        table.measure("sent elsewhere", callers, "closed", CONNECTIONS, seconds),
    )
    print(
        f"  (the generator took {spent.processor_seconds / spent.sent * 1e6:.1f} us a request, its server not counted)"
    )
    for how, name in (("patient", "that wait"), ("closed", "that do not")):
        await table.measure(f"{CROWD:,} {name}", callers, how, CROWD, seconds)
    await table.measure("closed loop again", callers, "closed", CONNECTIONS, seconds / 2)
    return {"capacity": capacity, "loads": table.found}


async def weigh(service: Service, callers: Callers, kinds: Sequence[Kind]) -> dict[str, float]:
    """What a request of each kind costs: seconds of the whole machine, when they are asked for alone."""
    if len(kinds) == 1:
        return {kinds[0].name: 1.0}
    weights = {}
    for kind in kinds:
        told = await callers.run("closed", service.port, CONNECTIONS, KIND_SECONDS, kind.name)
        weights[kind.name] = 1 / told.goodput
        print(f"  {kind.name:<18}{told.goodput:>8.0f} a second alone", flush=True)
    return weights


class Table:
    """Prints a line for each way of loading the service, and keeps its figures. The first line is capacity."""

    def __init__(self, service: Service, weights: dict[str, float]) -> None:
        self._service, self._weights = service, weights
        # At capacity: successes and work a second, and processor seconds of a unit of work.
        self._capacity = self._work = self._cost = 0.0
        self.found: list[dict[str, object]] = []
        heads = ("load", "sent/s", "good/s", "share", "work", "good", "503", "other", "none", "good p50, p99")
        print(COLUMNS.format(*heads, "503 p50, p99", "ready", "cpu", "generator"))

    async def measure(self, name: str, callers: Callers, how: str, amount: float, seconds: float) -> Counts:
        """Send for some seconds, and print what the callers got and what it cost the service and Postgres."""
        before = self._spent()
        async with probe(self._service.management) as slowest:
            told = await callers.run(how, self._service.port, amount, seconds)
        spent = self._spent() - before
        work, work_at_any_time = (
            sum(amount * self._weights[kind] for kind, amount in amounts.items())
            for amounts in (told.good, told.good_of)
        )
        if not self._capacity:
            self._capacity, self._work, self._cost = told.goodput, work, spent / work_at_any_time
        refusal = None
        # Of fewer, the costs of a success, which vary, would say more than those of a refusal.
        if len(told.refused_seconds) > len(told.good_seconds):
            refusal = max(0.0, spent - self._cost * work_at_any_time) / len(told.refused_seconds) * 1e6
        figures: dict[str, object] = {
            "load": name,
            "sent": told.sent / seconds,
            "share": told.goodput / self._capacity,
            "work": work / self._work,
            # Percent of what was sent.
            "good": told.share_good * 100,
            "refused": told.share(REFUSED) * 100,
            "none": told.share_unanswered * 100,
            "good_ms": milliseconds(told.good_seconds),
            "refused_ms": milliseconds(told.refused_seconds),
            "ready_ms": slowest[0],
            "success": None if told.refused_seconds else spent / len(told.good_seconds) * 1e6,
            "refusal": refusal,
            "generator": told.processor_seconds / told.sent * 1e6,
        }
        self.found.append(figures)
        _print(name, told, figures, spent / seconds)
        return told

    def _spent(self) -> float:
        return processor_seconds(self._service.pid) + processor_seconds(self._service.postgres_pid)


def _print(name: str, told: Counts, figures: dict[str, Any], spent: float) -> None:
    other = 100 - figures["good"] - figures["refused"] - figures["none"]
    times = (figures["good_ms"], figures["refused_ms"])
    print(
        COLUMNS.format(
            name,
            f"{figures['sent']:.0f}",
            f"{told.goodput:.0f}",
            f"{figures['share']:.2f}",
            f"{figures['work']:.2f}",
            *(f"{part:.1f}%" for part in (figures["good"], figures["refused"], max(0.0, other), figures["none"])),
            *("" if found is None else f"{found[0]:.0f}, {found[1]:.0f} ms" for found in times),
            f"{figures['ready_ms']:.0f} ms",
            f"{spent:.2f}",
            f"{figures['generator']:.0f} us",
        )
    )
    if told.unanswered:
        print(f"    without an answer: {told.unanswered}")
    if set(told.answered) - {200, 201, REFUSED}:
        print(f"    answers: {told.answered}")
    if len(told.good_of) > 1:
        shares = ", ".join(f"{kind} {told.good_of[kind] / sent:.0%}" for kind, sent in told.sent_of.items() if sent)
        print(f"    served: {shares}")
    for kind in ("success", "refusal"):
        if figures[kind] is not None:
            print(f"    a {kind} took {figures[kind]:.0f} us of processor time in service and Postgres", flush=True)


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


if __name__ == "__main__":
    asyncio.run(main())
