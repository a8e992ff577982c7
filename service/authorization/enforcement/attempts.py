"""What every use of enforcement shares: attempts under the active version, transactions, and the way into the log.

Owns no state. A refusal is recorded in a commit of its own before the caller hears of it, after every lock and
connection was given back.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from service.authorization.enforcement.changes import refused_under
from service.authorization.enforcement.decision_record import Ask, of_decision
from service.authorization.enforcement.judgement import Behind, decided, resource_of
from service.authorization.enforcement.sighting import Sighting
from service.errors import PolicyUnavailable
from service.log.record import Kind
from service.pacing import paced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from typing import NoReturn

    from service.authorization.active.policy_versions import PolicyVersions
    from service.authorization.enforcement.decision_point import Decision
    from service.authorization.enforcement.relationships import Relationships
    from service.authorization.engine.engine import Snapshot
    from service.database import Connection, Database, Turns
    from service.errors import TimewardenError
    from service.log.log import Log, Receipt
    from service.log.record import Record

T = TypeVar("T")
ATTEMPTS = 5
MAX_DECISIONS_PER_COMMIT = 200


class Attempts:
    """Enforcement's ground. `turns` bounds how many changes have a connection: those that wait for a lock must leave
    some for reads."""

    def __init__(
        self, database: Database, log: Log, policies: PolicyVersions, relationships: Relationships, *, turns: Turns
    ) -> None:
        self._database = database
        self._turns = turns
        self._log = log
        self._policies = policies
        self._relationships = relationships
        self._sighting = Sighting(relationships)

    def has_rows(self, kind: str) -> bool:
        """Whether decisions are about single rows of this kind, or about the kind itself."""
        return bool(self._relationships.of(kind).table)

    async def prospect(self, ask: Ask, kind: str, action: str, *, row_id: int | None = None) -> bool:
        """Whether this would be allowed now, without any row or on this one. Nothing is recorded and nothing follows
        from it but that costly preparation is worth doing: the decision comes with `change`."""

        async def attempt(snapshot: Snapshot) -> bool:
            async with self._database.connection() as connection:
                seen = await self._sighting.see(connection, snapshot, ask, (kind, action), row_id)
                return decided(snapshot, ask, action, resource_of(kind, seen, None), seen).allowed

        return await self._under_active(attempt)

    async def _under_active(self, attempt: Callable[[Snapshot], Awaitable[T]]) -> T:
        """Run `attempt` under the version that its facts name: a process that is behind loads it and starts over."""
        snapshot = self._policies.current()
        for _ in range(ATTEMPTS):
            try:
                return await attempt(snapshot)
            except Behind as behind:
                snapshot = await self._policies.at(behind.version)
        raise PolicyUnavailable(cause="the active version changed with every attempt")

    @asynccontextmanager
    async def _transaction(self, ask: Ask) -> AsyncIterator[Connection]:
        """A change's transaction. One with an idempotency key stays open until its answer is kept in it."""
        if ask.once is not None:
            async with ask.once.held(self._turns, self._database) as connection:
                yield connection
            return
        async with self._turns.one(), self._database.transaction() as connection:
            yield connection

    async def _append(
        self,
        ask: Ask,
        decisions: Sequence[Decision],
        told: Sequence[Record],
        changes: Sequence[Record],
        connection: Connection,
    ) -> Sequence[Receipt]:
        """The decisions as they are `told`, and then what was changed."""
        if ask.once is not None:
            ask.once.tells_of(decisions, told, changes)
        return await self._log.append([*told, *changes], connection)

    async def _tell(
        self,
        ask: Ask,
        decisions: Sequence[Decision],
        error: TimewardenError,
        *,
        applied: bool | None,
        kind: Kind = Kind.DECISION,
    ) -> NoReturn:
        """Record decisions that led to nothing, in commits of their own, then raise, naming the first that denied."""
        if decisions:
            receipts: list[Receipt] = []
            # Others wait for the log while it commits, so very many decisions are no single commit.
            for start in range(0, len(decisions), MAX_DECISIONS_PER_COMMIT):
                some = decisions[start : start + MAX_DECISIONS_PER_COMMIT]
                told_of = [
                    of_decision(ask, one, applied=applied, because=error.slug, kind=kind) async for one in paced(some)
                ]
                receipts += await self._log.append(told_of)
            told = receipts[next((place for place, one in enumerate(decisions) if not one.allowed), 0)]
            error.decisions = [(str(one.uid), one.leaf) for one in receipts]
            with refused_under(told):
                raise error
        raise error
