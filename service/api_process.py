"""Opens and closes the parts of an API process, and reports its readiness. Part of the composition root.

It owns the process's pools, key cache and policy snapshots; nothing is durable here.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import asyncpg
import msgspec
import structlog

from service import metrics
from service.authorization.enforcement.fact_statements import AMBIENT_STATEMENT, NEEDED_STATEMENT, NOBODYS_PARAMETERS
from service.backoff import backoff_seconds
from service.errors import DatabaseUnavailable, TimewardenError, TryLater
from service.log.keeper_status import LIMIT_FRESH_PLANS, read_progress, read_status
from service.log.roles import check_role
from service.metric_families import FamilySnapshot, take_snapshot
from service.standard_error import standard_error
from service.web.http.health import KEYS, HealthPart, Ready

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from service.authorization.active.hint import PolicyHint
    from service.authorization.active.versions import PolicyVersions
    from service.authorization.active.watch import PolicyWatch
    from service.database import Connection, Database, ReadReplica
    from service.identity.keys import KeyState
    from service.identity.tokens import Tokens
    from service.identity.used_proofs import UsedProofs
    from service.log.keeper_status import LogProgress
    from service.log.log import Log
    from service.web.http.rate_limits import Counters

# How long a failed flush of the log makes a replica unready.
FAILURE_SECONDS = 5.0
# Seconds after which a computing thread lets other threads run. With Python's default of five milliseconds, building a
# policy version in a thread would delay every step of the requests.
SWITCH_INTERVAL = 0.001
# Seconds between reports to the supervisor, and until a readiness check that does not end is reported as a failure.
REPORT_SECONDS: Final = 1.0
MAX_CHECK_SECONDS: Final = 3.0
# For each of the three statements about the keeper, so that they end before the check counts as a failure.
MAX_KEEPER_MILLISECONDS: Final = 750
# One sentence for a check that ends because the database is away and for one that still waits: an operator who looks
# twice sees the same.
NO_ANSWER: Final = "does not answer"
_log = structlog.get_logger(__name__)


class WorkerReport(msgspec.Struct):
    """What a worker tells the supervisor once a second: its readiness, and all that it counted since its start."""

    ready: Ready
    metrics: list[FamilySnapshot]


@dataclass(slots=True)
class Progress:
    """Why the databases are not open yet, None once they are; and the readiness check that is running."""

    problem: str | None = "starts"
    check: asyncio.Task[Ready] | None = None


@dataclass(frozen=True, slots=True)
class Api:
    """The parts that an API process opens and closes. `health` is a pool of its own, so that readiness does not wait
    for requests."""

    requests: Database
    log: Log
    loader: Database
    health: Database
    replica: ReadReplica | None
    policies: PolicyVersions
    watch: PolicyWatch
    hint: PolicyHint | None
    tokens: Tokens
    counters: Counters
    replay: UsedProofs | None

    channel: int | None = None
    # Further parts that set their metrics.
    measured: list[Callable[[], None]] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)

    @asynccontextmanager
    async def running(self, _app: object) -> AsyncIterator[None]:
        """Open the databases and fetch keys; close everything after the block.

        While Postgres is unavailable, the process runs: requests are answered 503, readiness says why, and it retries
        with backoff. Raises other errors of the first attempt, such as Misconfigured for a role that could rewrite the
        log.
        """
        sys.setswitchinterval(SWITCH_INTERVAL)
        tasks: list[asyncio.Task[None]] = []
        watching, databases = AsyncExitStack(), AsyncExitStack()
        try:
            if self.channel is not None:
                tasks.append(asyncio.create_task(self._report(self.channel), name="reports"))
            try:
                await self._open(watching, databases)
            except DatabaseUnavailable as error:
                tasks.append(asyncio.create_task(self._open_later(watching, databases, error.public), name="database"))
            if self.replica is not None:
                databases.push_async_callback(self.replica.close)
                tasks.append(asyncio.create_task(self.replica.watch(), name="replica"))
            await self.tokens.start()
            yield
        finally:
            under_way = [*tasks, self.progress.check] if self.progress.check else tasks
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            await watching.aclose()
            if self.hint is not None:
                await self.hint.close()
            await self.tokens.close()
            await self.counters.close()
            if self.replay is not None:
                await self.replay.close()
            await self.log.close()
            await databases.aclose()

    async def _open(self, watching: AsyncExitStack, databases: AsyncExitStack) -> None:
        """Refuse a role that could rewrite the log, open the pools and load the policy. A failed attempt leaves nothing
        open."""
        async with AsyncExitStack() as attempt:
            await _open_database(self.health, attempt)
            async with self.health.connection() as connection:
                await check_role(connection, "serve")
            for database in (self.loader, self.requests):
                await _open_database(database, attempt)
            await watching.enter_async_context(self.watch.running())
            databases.push_async_exit(attempt.pop_all())
        self.progress.problem = None

    async def _open_later(self, watching: AsyncExitStack, databases: AsyncExitStack, problem: str) -> None:
        """Try again until the database is open. The log lines name its address, which strangers must not read in
        readiness."""
        self.progress.problem = NO_ANSWER
        for pause in backoff_seconds():
            _log.warning("database_away", problem=problem, next_attempt_seconds=round(pause, 1))
            await asyncio.sleep(pause)
            try:
                await self._open(watching, databases)
            except TimewardenError as error:
                problem = error.public
                self.progress.problem = NO_ANSWER if isinstance(error, DatabaseUnavailable) else problem
            except asyncpg.PostgresError as error:
                # A restore has not made all tables yet, or not given all rights.
                self.progress.problem = problem = f"Postgres refuses a statement: {type(error).__name__}"
            else:
                _log.warning("database_found")
                return

    async def _report(self, channel: int) -> None:
        """Report readiness and metrics to the supervisor once a second. Reports also show that the event loop runs, so
        a check that takes long, because the database does not answer, delays no report."""
        _, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=channel))
        checking: asyncio.Task[Ready] | None = None
        known, since = _unknown("start", "starts"), 0.0
        while True:
            if checking is None:
                checking, since = asyncio.create_task(self.check()), time.monotonic()
            await asyncio.wait({checking}, timeout=REPORT_SECONDS)
            if checking.done():
                # A check that fails unexpectedly means not ready; reports go on.
                failed = checking.exception()
                known, checking = (_unknown("check", type(failed).__name__) if failed else checking.result()), None
            elif time.monotonic() - since > MAX_CHECK_SECONDS:
                known = _unknown("database", NO_ANSWER)
            self._measure(known)
            report = WorkerReport(known, take_snapshot(metrics.FAMILIES))
            writer.write(msgspec.json.encode(report) + b"\n")
            await writer.drain()
            if checking is None:
                due = time.monotonic() + REPORT_SECONDS
                await asyncio.sleep(REPORT_SECONDS)
                metrics.LOOP_LAG.set(max(0.0, time.monotonic() - due))

    def _measure(self, known: Ready) -> None:
        """Set the metrics that are states, not events."""
        for measure in (
            *(pool.measure for pool in (self.requests, self.loader, self.health, self.replica) if pool is not None),
            self.log.measure,
            self.tokens.measure,
            self.counters.measure,
            *self.measured,
        ):
            measure()
        metrics.measure_process(dropped_lines=standard_error().dropped)
        metrics.PART_READY.series.clear()
        for part in known.parts:
            metrics.PART_READY.set(part.ready, (part.name,))
        metrics.POLICY_VERSION.series.clear()
        if known.policy_version is not None:
            metrics.POLICY_VERSION.set(known.policy_version)

    async def check(self) -> Ready:
        """Readiness: database, log, policy and the keys of one issuer are required; the keeper's parts are reported.

        Concurrent calls share one check: anybody may request the health of the API any number of times, and the
        supervisor must not wait behind them for the only connection of these checks.
        """
        if self.progress.check is None or self.progress.check.done():
            self.progress.check = asyncio.create_task(self._check())
        return await asyncio.shield(self.progress.check)

    async def _check(self) -> Ready:
        parts: list[HealthPart] = []
        version: int | None = None
        try:
            version = self.policies.current().number
            parts.append(check_policy(self.policies))
        except TryLater as error:
            parts.append(HealthPart("policy", ready=False, needed=True, detail=error.public))
        try:
            async with self.health.connection() as connection:
                # While one of their tables is locked, no request is answered.
                await connection.fetchrow(AMBIENT_STATEMENT, *NOBODYS_PARAMETERS)
                read_only = await connection.fetchval(NEEDED_STATEMENT)
                keeper = await check_keeper(connection)
            detail = "takes no writes" if read_only else "answers"
            parts += [HealthPart("database", ready=not read_only, needed=True, detail=detail), *keeper]
        except TryLater:
            # The public message is about changes, and a readiness check changes nothing.
            detail = self.progress.problem or NO_ANSWER
            parts.append(HealthPart("database", ready=False, needed=True, detail=detail))
        parts.append(self._check_log())
        if self.replica is not None:
            parts.append(check_replica(self.replica))
        parts += check_issuers(self.tokens.states())
        parts.append(_check_log_lines())
        ready = all(part.ready for part in parts if part.needed)
        return Ready("ready" if ready else "not ready", version, parts)

    def _check_log(self) -> HealthPart:
        """The log is not ready just after a failed flush. Later it is, or no request would come to try again."""
        state = self.log.state()
        if state.failing is not None and state.age < FAILURE_SECONDS:
            return HealthPart("log", ready=False, needed=True, detail=f"could not be written {state.age:.0f} s ago")
        return HealthPart("log", ready=True, needed=True, detail=f"{state.waiting} records wait to be written")


async def check_keeper(connection: Connection) -> list[HealthPart]:
    """The parts of the keeper. No request needs the tables that they are read from, so an error of Postgres, such as a
    table that is locked, is only reported."""
    try:
        async with connection.transaction():
            await connection.execute(LIMIT_FRESH_PLANS, str(MAX_KEEPER_MILLISECONDS))
            progress = await read_progress(connection)
            statuses = await read_status(connection, progress)
    except asyncpg.PostgresError as error:
        detail = f"could not be read: {type(error).__name__}"
        return [HealthPart("checkpoint", ready=False, needed=False, detail=detail)]
    parts = [HealthPart(status.part, ready=status.ready, needed=False, detail=status.detail) for status in statuses]
    return [describe_checkpoint(progress), *parts]


def check_replica(replica: ReadReplica) -> HealthPart:
    """The standby for long reads is not needed: the primary answers while it is away."""
    detail = f"{replica.lag:.1f} s behind"
    if replica.problem is not None:
        detail = f"the primary is read instead: {replica.problem}"
    return HealthPart("replica", ready=replica.problem is None, needed=False, detail=detail)


def describe_checkpoint(progress: LogProgress) -> HealthPart:
    """How far the keepers have sealed and signed the log. That they are late is told by their own parts."""
    age = "none yet" if progress.checkpoint_age is None else f"{progress.checkpoint_age:.0f} s old"
    detail = (
        f"{age}; {progress.signed:,} of {progress.size:,} sealed records are signed; the oldest record waits"
        f" {progress.unsealed:.0f} s for its position"
    )
    return HealthPart("checkpoint", ready=progress.checkpoint_age is not None, needed=False, detail=detail)


def check_issuers(states: Sequence[KeyState]) -> list[HealthPart]:
    """One issuer with keys is enough; the others are reported. Requests with tokens of an issuer without keys are
    answered 503."""
    needed = not any(state.ready or state.opaque for state in states)
    parts = []
    for state in states:
        detail = f"{state.keys} keys, {state.age:.0f} s old" if state.age is not None else "has no keys yet"
        if state.last_failure:
            detail += f"; the last fetch failed: {state.last_failure}"
        if state.refused:
            detail += f"; refused: {', '.join(state.refused)}"
        parts.append(HealthPart(f"{KEYS}{state.issuer}", ready=state.ready, needed=needed, detail=detail))
    return parts


def _check_log_lines() -> HealthPart:
    """Lost log lines do not affect readiness, but an operator wants to know of them."""
    stream = standard_error()
    detail = f"{stream.dropped} were dropped because standard error did not accept them"
    return HealthPart("log lines", ready=not stream.failing, needed=False, detail=detail)


def _unknown(part: str, detail: str) -> Ready:
    return Ready("not ready", None, [HealthPart(part, ready=False, needed=True, detail=detail)])


async def _open_database(database: Database, opened: AsyncExitStack) -> None:
    await database.open()
    opened.push_async_callback(database.close)


def check_policy(policies: PolicyVersions) -> HealthPart:
    """The active version. If it cannot be loaded, the detail names the last loaded one, and nothing is decided."""
    current = policies.current()
    if policies.trouble is not None:
        detail = f"{policies.trouble}; version {current.number} was the last loaded one"
    else:
        detail = f"version {current.number} decides; {current.errors} requests could not be decided by it"
    return HealthPart("policy", ready=policies.trouble is None, needed=True, detail=detail)
