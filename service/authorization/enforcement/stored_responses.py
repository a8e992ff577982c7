"""Answers that are kept under idempotency keys, in the very transaction of the change that they tell of.

Postgres owns them: an answer is there exactly when its change is. They are kept for 24 hours and then forgotten, some
with each new one, the rest by the keeper; those about a person go when the person is erased. A key is stored as a hash
that binds it to whoever sent it, to the method and to the path.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from uuid import UUID

import asyncpg

from service.errors import DatabaseUnavailable, KeyInUse, TryLater

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from service.authorization.enforcement.decision_point import Decision
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection, Database, Turns
    from service.log.record import Record

KEPT_FOR = "interval '24 hours'"
PIECE = 500
PAUSE = 300.0
_COLUMNS = "fingerprint, kind, action, resources, states, owner_id, decision_uid, status, headers, body"

# Keep an answer; one of the same name can only be one that is too old to be given.
INSERT = f"""
    INSERT INTO kept_answer (name, {_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (name) DO UPDATE SET
        ({_COLUMNS}, at) = ({", ".join(f"excluded.{part}" for part in _COLUMNS.split(", "))}, clock_timestamp())
"""

# Some that are too old, the oldest first; those that another request forgets are left to it.
FORGET = f"""
    DELETE FROM kept_answer WHERE name IN (
        SELECT name FROM kept_answer WHERE at < clock_timestamp() - {KEPT_FOR}
        ORDER BY at LIMIT 10 FOR UPDATE SKIP LOCKED)
"""

# The same for the keeper, whom no request waits for: a piece at a time.
FORGET_ALL = f"""
    DELETE FROM kept_answer WHERE name IN (
        SELECT name FROM kept_answer WHERE at < clock_timestamp() - {KEPT_FOR} ORDER BY at LIMIT {PIECE})
"""

# Those given to somebody, or about their things or themselves, under every id of theirs. A day of answers is looked
# through once.
FORGET_PERSON = """
    DELETE FROM kept_answer AS k USING (SELECT ids_of_person($1) AS ids) AS theirs
    WHERE k.owner_id = ANY (theirs.ids)
        OR k.resources && (ARRAY(SELECT id FROM timesheet WHERE owner_id = ANY (theirs.ids)) || theirs.ids)
        OR EXISTS (SELECT FROM audit_record r WHERE r.uid = k.decision_uid AND r.person_id = ANY (theirs.ids))
"""


@dataclass(frozen=True, slots=True)
class AnsweredChange:
    """What a kept answer tells of: the kind and action of its decision, the `resources` that were changed, the `states`
    in which they were before, their `owner` if they have one in common, and the decision's id."""

    kind: str
    action: str
    resources: tuple[UUID, ...]
    states: tuple[str, ...]
    owner: UUID | None
    decision: UUID


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A kept answer. `fingerprint` is the SHA-256 of the request that it answered."""

    fingerprint: bytes
    about: AnsweredChange
    status: int
    headers: Mapping[str, str]
    body: bytes


class Once:
    """One request with a key: its change commits together with its answer, or neither does."""

    def __init__(self, name: bytes, fingerprint: bytes) -> None:
        self._name, self._fingerprint = name, fingerprint
        self._open: tuple[AsyncExitStack, Connection] | None = None
        self._about: AnsweredChange | None = None

    @asynccontextmanager
    async def held(self, turns: Turns, database: Database) -> AsyncIterator[Connection]:
        """A transaction that stays open behind this block until `keep` commits it; an exception rolls it back. Raises
        KeyInUse when the same key is being worked on, or was answered meanwhile."""
        if self._open is not None:
            raise RuntimeError("a request with a key makes one transaction")
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(turns.one())
            connection = await stack.enter_async_context(database.transaction())
            await self._claim(connection)
            yield connection
            self._open = stack.pop_all(), connection

    def tells_of(self, decisions: Sequence[Decision], told: Sequence[Record], changes: Sequence[Record]) -> None:
        """Remember what the decisions of the transaction, which `told` records, were about: the changes that followed,
        and what was allowed and found as it should be, such as rows of an upload that were there. Where each target was
        refused for itself there is nothing to remember."""
        if not any(record.columns["applied"] for record in told):
            return
        asked = decisions[0].request
        was = {one.uid: one.request.resource.state for one in decisions}
        found: dict[UUID, str] = {}
        for change in changes:
            if (resource := _uuid(str(change.columns["resource_id"]))) is not None:
                found.setdefault(resource, was[cast("UUID", change.columns["decision_uid"])])
        for decision, record in zip(decisions, told, strict=True):
            resource = _uuid(str(decision.request.resource.id))
            if record.columns["applied"] and resource is not None:
                found.setdefault(resource, decision.request.resource.state)
        owners = {change.columns["owner_id"] for change in changes}
        owner = owners.pop() if len(owners) == 1 else None
        self._about = AnsweredChange(
            asked.resource.kind,
            asked.action,
            tuple(found),
            tuple(found.values()),
            owner if isinstance(owner, UUID) else None,
            decisions[0].uid,
        )

    async def keep(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Store the answer and commit it with its change. Without a change only the decisions are committed, if there
        are any. Raises DatabaseUnavailable: then neither is there, or nobody can tell."""
        if self._open is None:
            return
        stack, connection = self._open
        self._open, about = None, self._about
        try:
            async with stack:
                if about is None:
                    return
                await connection.execute(
                    INSERT,
                    self._name,
                    self._fingerprint,
                    about.kind,
                    about.action,
                    list(about.resources),
                    list(about.states),
                    about.owner,
                    about.decision,
                    status,
                    [f"{name}: {value}" for name, value in headers.items()],
                    body,
                )
                await connection.execute(FORGET)
        except asyncpg.PostgresError as error:
            raise DatabaseUnavailable(cause=f"kept answer: {type(error).__name__}") from error

    async def abandon(self) -> None:
        """Roll back what is still open: nothing was changed, so nothing is kept."""
        if self._open is None:
            return
        stack, _ = self._open
        self._open = None
        # A connection that is lost rolls back too.
        with suppress(_Abandoned, DatabaseUnavailable):
            async with stack:
                raise _Abandoned

    async def _claim(self, connection: Connection) -> None:
        # Whoever works on this name holds it until its transaction ends; nobody waits for it.
        lock = int.from_bytes(self._name[:8], "big", signed=True)
        if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", lock):
            raise KeyInUse
        if await _find(connection, self._name) is not None:
            raise KeyInUse


class _Abandoned(Exception):
    """Makes a transaction roll back."""


class StoredResponses:
    """Finds answers by name: the hash of who asks, with which key, for which path."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def once(self, name: bytes, fingerprint: bytes) -> Once:
        """For a request whose answer is to be kept under this name."""
        return Once(name, fingerprint)

    async def find(self, name: bytes) -> StoredResponse | None:
        """The answer that is kept under this name, if it is younger than 24 hours."""
        async with self._database.connection() as connection:
            return await _find(connection, name)


class ResponseSweeper:
    """The keeper's part: answers that are too old go, whether or not anybody sends keys, and what `more` statements
    delete. Any number may run."""

    def __init__(self, database: Database, more: Sequence[str] = ()) -> None:
        self._database = database
        self._more = more

    async def forget(self) -> None:
        """All that are too old now. Raises TryLater."""
        gone = PIECE
        while gone == PIECE:
            async with self._database.connection() as connection:
                gone = int((await connection.execute(FORGET_ALL)).removeprefix("DELETE "))
        async with self._database.connection() as connection:
            for statement in self._more:
                await connection.execute(statement)

    async def run(self, stop: asyncio.Event) -> None:
        """Every few minutes until `stop`."""
        while not stop.is_set():
            with suppress(TryLater):
                await self.forget()
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE):
                    await stop.wait()


async def forget_person(connection: Connection, person: UUID) -> int:
    """Forget, with the caller's transaction, what was answered to a person and about them: it may hold their texts.
    Whoever sends such a request once more makes it anew."""
    return int((await connection.execute(FORGET_PERSON, person)).removeprefix("DELETE "))


async def _find(connection: Connection, name: bytes) -> StoredResponse | None:
    # What is older may still be there, and counts as forgotten.
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM kept_answer WHERE name = $1 AND at >= clock_timestamp() - {KEPT_FOR}", name
    )
    if row is None:
        return None
    changed = tuple(row["resources"]), tuple(row["states"])
    about = AnsweredChange(row["kind"], row["action"], *changed, row["owner_id"], row["decision_uid"])
    headers = dict(header.split(": ", 1) for header in row["headers"])
    return StoredResponse(row["fingerprint"], about, row["status"], headers, row["body"])


async def all_visible(
    visibility: Visibility, connection: Connection, rows: Sequence[UUID], states: Sequence[str] = ()
) -> bool:
    """Whether every one of these rows is there and would be listed; with `states`, as if it were in its one of them."""
    table = visibility.facts.table
    given: list[list[UUID] | list[str]] = [list(rows)]
    if states:
        # The row as it is but for its state.
        table = f"""(
            SELECT (jsonb_populate_record(r, jsonb_build_object('state', was.state))).*
            FROM unnest($3::uuid[], $4::text[]) AS was (id, state) JOIN {table} AS r ON r.id = was.id)
        """
        given.append(list(states))
    # Those of them that may be seen.
    found: int = await connection.fetchval(
        f"SELECT count(*) FROM {table} AS r WHERE r.id = ANY($3::uuid[]) AND {visibility.condition}",
        *visibility.parameters,
        *given,
    )
    return found == len(set(rows))


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
