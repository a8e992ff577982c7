"""What one API process opens, asks for its readiness, and closes. Part of the composition root.

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

import msgspec
import structlog

from service.errors import DatabaseUnavailable, TimewardenError, TryLater
from service.log.keeper_status import read_status
from service.log.roles import check_role
from service.pauses import growing_pauses
from service.standard_error import standard_error
from service.web.http.health import HealthPart, Ready

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from service.authorization.active.hint import PolicyHint
    from service.authorization.active.versions import PolicyVersions
    from service.authorization.active.watch import PolicyWatch
    from service.database import Database
    from service.identity.keys import KeyState
    from service.identity.tokens import Tokens
    from service.identity.used_proofs import UsedProofs
    from service.log.log import Log
    from service.web.http.rate_limits import Counters

# For so many seconds a failed flush of the log makes a replica unready.
FAILED_WITHIN = 5.0
# Seconds after which a thread that computes lets the requests go on: a policy version that is built beside them would
# otherwise hold up each of their steps for Python's five milliseconds.
SWITCH_INTERVAL = 0.001
# Seconds between two reports to the supervisor, and until readiness that is not known by then is told as missing.
REPORT_SECONDS: Final = 1.0
MAX_LOOK_SECONDS: Final = 3.0
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Progress:
    """Why the databases are not open yet, None once they are; and the look at readiness that is under way."""

    problem: str | None = "starts"
    look: asyncio.Task[Ready] | None = None


@dataclass(frozen=True, slots=True)
class Api:
    """What one API process opens and closes. `health` is apart: readiness must not wait behind requests."""

    requests: Database
    log: Log
    loader: Database
    health: Database
    policies: PolicyVersions
    watch: PolicyWatch
    hint: PolicyHint | None
    tokens: Tokens
    counters: Counters
    replay: UsedProofs | None

    channel: int | None = None
    progress: Progress = field(default_factory=Progress)

    @asynccontextmanager
    async def running(self, _app: object) -> AsyncIterator[None]:
        """Open the databases and fetch keys; close it all after.

        While Postgres is away the process runs all the same: requests are answered 503, readiness says why, and it is
        tried again with growing pauses. Raises what else is wrong at the first attempt, such as Misconfigured for a
        role that could rewrite the log.
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
                self.progress.problem = error.public
                tasks.append(asyncio.create_task(self._open_later(watching, databases), name="database"))
            await self.tokens.start()
            yield
        finally:
            under_way = [*tasks, self.progress.look] if self.progress.look else tasks
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
        """Refuse a role that could rewrite the log, open the pools and load the policy, without which nothing is
        decided. A failed attempt leaves nothing open."""
        async with AsyncExitStack() as attempt:
            await _open_database(self.health, attempt)
            async with self.health.connection() as connection:
                await check_role(connection, "serve")
            for database in (self.loader, self.requests):
                await _open_database(database, attempt)
            await watching.enter_async_context(self.watch.running())
            databases.push_async_exit(attempt.pop_all())
        self.progress.problem = None

    async def _open_later(self, watching: AsyncExitStack, databases: AsyncExitStack) -> None:
        for pause in growing_pauses():
            _log.warning("database_away", problem=self.progress.problem, next_attempt_seconds=round(pause, 1))
            await asyncio.sleep(pause)
            try:
                await self._open(watching, databases)
            except TimewardenError as error:
                self.progress.problem = error.public
            else:
                _log.warning("database_found")
                return

    async def _report(self, channel: int) -> None:
        """Tell the supervisor once a second how we are. It sees by this too that this event loop turns, so a look that
        takes long, as at a database that fell silent, holds up no report."""
        _, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=channel))
        looking: asyncio.Task[Ready] | None = None
        known, since = _unknown("start", "starts"), 0.0
        while True:
            if looking is None:
                looking, since = asyncio.create_task(self.look()), time.monotonic()
            await asyncio.wait({looking}, timeout=REPORT_SECONDS)
            waited = time.monotonic() - since
            if looking.done():
                # A look that fails in a way that nobody expected is no readiness, and no reason to fall silent.
                failed = looking.exception()
                known, looking = (_unknown("look", type(failed).__name__) if failed else looking.result()), None
            elif waited > MAX_LOOK_SECONDS:
                known = _unknown("database", f"has not answered for {waited:.0f} s")
            writer.write(msgspec.json.encode(known) + b"\n")
            await writer.drain()
            if looking is None:
                await asyncio.sleep(REPORT_SECONDS)

    async def look(self) -> Ready:
        """Readiness: database, log, policy and the keys of one issuer are needed; the keeper's parts are told of.

        Whoever asks while a look is under way gets its result. Anybody may ask the API for its health, any number of
        times, and the supervisor must not wait for the one connection of these looks behind them all.
        """
        if self.progress.look is None or self.progress.look.done():
            self.progress.look = asyncio.create_task(self._look())
        return await asyncio.shield(self.progress.look)

    async def _look(self) -> Ready:
        parts: list[HealthPart] = []
        version: int | None = None
        try:
            version = self.policies.current().number
            parts.append(policy_part(self.policies))
        except TryLater as error:
            parts.append(HealthPart("policy", ready=False, needed=True, detail=error.public))
        try:
            async with self.health.connection() as connection:
                statuses = await read_status(connection)
            parts.append(HealthPart("database", ready=True, needed=True, detail="answers"))
            parts += [
                HealthPart(status.part, ready=status.ready, needed=False, detail=status.detail) for status in statuses
            ]
        except TryLater:
            # The public sentence is for callers: it speaks of changes, and a look at health changes nothing.
            detail = self.progress.problem or "does not answer"
            parts.append(HealthPart("database", ready=False, needed=True, detail=detail))
        parts.append(self._log())
        parts += parts_of_issuers(self.tokens.states())
        parts.append(_log_lines())
        ready = all(part.ready for part in parts if part.needed)
        return Ready("ready" if ready else "not ready", version, parts)

    def _log(self) -> HealthPart:
        """The log is ready unless a flush failed moments ago: were it longer, no request would come to try it again."""
        state = self.log.state()
        if state.failing is not None and state.age < FAILED_WITHIN:
            return HealthPart("log", ready=False, needed=True, detail=f"could not be written {state.age:.0f} s ago")
        return HealthPart("log", ready=True, needed=True, detail=f"{state.waiting} records wait to be written")


def parts_of_issuers(states: Sequence[KeyState]) -> list[HealthPart]:
    """One issuer whose tokens can be judged is enough; the others are told of. Tokens of an issuer without keys are
    answered 503."""
    needed = not any(state.ready or state.opaque for state in states)
    parts = []
    for state in states:
        detail = f"{state.keys} keys, {state.age:.0f} s old" if state.age is not None else "has no keys yet"
        if state.last_failure:
            detail += f"; the last look for them failed: {state.last_failure}"
        if state.refused:
            detail += f"; refused: {', '.join(state.refused)}"
        parts.append(HealthPart(f"keys of {state.issuer}", ready=state.ready, needed=needed, detail=detail))
    return parts


def _log_lines() -> HealthPart:
    """Lines for standard error are no condition of a decision, but an operator wants to know that some were lost."""
    stream = standard_error()
    detail = f"{stream.dropped} were dropped because standard error did not take them"
    return HealthPart("log lines", ready=not stream.failing, needed=False, detail=detail)


def _unknown(part: str, detail: str) -> Ready:
    return Ready("not ready", None, [HealthPart(part, ready=False, needed=True, detail=detail)])


async def _open_database(database: Database, opened: AsyncExitStack) -> None:
    await database.open()
    opened.push_async_callback(database.close)


def policy_part(policies: PolicyVersions) -> HealthPart:
    """What decides here. When the active version cannot be loaded the last good one is told of, and decides nothing."""
    current = policies.current()
    if policies.trouble is not None:
        detail = f"{policies.trouble}; version {current.number} was the last that decided"
    else:
        detail = f"version {current.number} decides; {current.errors} questions could not be decided by it"
    return HealthPart("policy", ready=policies.trouble is None, needed=True, detail=detail)
