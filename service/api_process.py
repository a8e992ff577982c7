"""What one API process opens, asks for its readiness, and closes. Part of the composition root.

It owns the process's pools, key cache and policy snapshots; nothing is durable here.
"""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.audit.keeper_status import read_status
from service.audit.opening import check_role
from service.errors import TryLater
from service.standard_error import standard_error
from service.web.health import Part, Ready

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from service.audit.log import Log
    from service.authorization.policy_hint import PolicyHint
    from service.authorization.policy_versions import PolicyVersions
    from service.authorization.policy_watch import PolicyWatch
    from service.database import Database
    from service.identity.keys import KeyState
    from service.identity.replay import Replay
    from service.identity.tokens import Tokens
    from service.web.rate_limits import Counters

# For so many seconds a failed flush of the log makes a replica unready.
FAILED_WITHIN = 5.0
# Seconds after which a thread that computes lets the requests go on: a policy version that is built beside them would
# otherwise hold up each of their steps for Python's five milliseconds.
SWITCH_INTERVAL = 0.001


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
    replay: Replay | None

    @asynccontextmanager
    async def running(self, _app: object) -> AsyncIterator[None]:
        """Open pools, refuse a role that could rewrite the log, load the policy and fetch keys; close it all after."""
        databases = (self.requests, self.loader, self.health)
        sys.setswitchinterval(SWITCH_INTERVAL)
        try:
            for database in databases:
                await database.open()
            async with self.requests.connection() as connection:
                await check_role(connection, "serve")
            async with self.watch.running():
                await self.tokens.start()
                yield
        finally:
            if self.hint is not None:
                await self.hint.close()
            await self.tokens.close()
            await self.counters.close()
            if self.replay is not None:
                await self.replay.close()
            await self.log.close()
            for database in databases:
                await database.close()

    async def look(self) -> Ready:
        """Readiness: database, log, policy and the keys of one issuer are needed; the keeper's parts are told of."""
        parts: list[Part] = []
        version: int | None = None
        try:
            version = self.policies.current().number
            parts.append(policy_part(self.policies))
            async with self.health.connection() as connection:
                statuses = await read_status(connection)
            parts.append(Part("database", ready=True, needed=True, detail="answers"))
            parts += [Part(one.part, ready=one.ready, needed=False, detail=one.detail) for one in statuses]
        except TryLater as error:
            parts.append(Part("database", ready=False, needed=True, detail=error.public))
        parts.append(self._log())
        parts += parts_of_issuers(self.tokens.states())
        parts.append(_log_lines())
        ready = all(one.ready for one in parts if one.needed)
        return Ready("ready" if ready else "not ready", version, parts)

    def _log(self) -> Part:
        """The log is ready unless a flush failed moments ago: were it longer, no request would come to try it again."""
        state = self.log.state()
        if state.failing is not None and state.age < FAILED_WITHIN:
            return Part("log", ready=False, needed=True, detail=f"could not be written {state.age:.0f} s ago")
        return Part("log", ready=True, needed=True, detail=f"{state.waiting} records wait to be written")


def parts_of_issuers(states: Sequence[KeyState]) -> list[Part]:
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
        parts.append(Part(f"keys of {state.issuer}", ready=state.ready, needed=needed, detail=detail))
    return parts


def _log_lines() -> Part:
    """Lines for standard error are no condition of a decision, but an operator wants to know that some were lost."""
    stream = standard_error()
    detail = f"{stream.dropped} were dropped because standard error did not take them"
    return Part("log lines", ready=not stream.failing, needed=False, detail=detail)


def policy_part(policies: PolicyVersions) -> Part:
    """What decides here. When the active version cannot be loaded the last good one is told of, and decides nothing."""
    current = policies.current()
    if policies.trouble is not None:
        detail = f"{policies.trouble}; version {current.number} was the last that decided"
    else:
        detail = f"version {current.number} decides; {current.errors} questions could not be decided by it"
    return Part("policy", ready=policies.trouble is None, needed=True, detail=detail)
