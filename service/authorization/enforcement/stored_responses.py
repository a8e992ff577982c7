"""Responses that are stored under idempotency keys, in the transaction of the change that they answer.

Postgres owns them (`kept_answer`): a response is there exactly when its change is. It is kept for 24 hours, then
deleted by later requests or by the keeper; responses about a person are deleted when the person is erased. A key is
stored as a hash that binds it to the caller, the method and the path.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast
from uuid import UUID

import asyncpg

from service.errors import DatabaseUnavailable, KeyInUse, TryLater

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from service.authorization.enforcement.decision_point import Decision
    from service.database import Connection, Database, Turns
    from service.log.record import Record

KEPT_FOR = "interval '24 hours'"
MAX_DELETED_AT_ONCE = 500
# Seconds between two sweeps.
PAUSE = 300.0
_COLUMNS = "fingerprint, kind, action, resources, states, owner_id, decision_uid, status, headers, body"

# Store a response. One of the same name can only be an expired one.
INSERT = f"""
    INSERT INTO kept_answer (name, {_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (name) DO UPDATE SET
        ({_COLUMNS}, at) = ({", ".join(f"excluded.{part}" for part in _COLUMNS.split(", "))}, clock_timestamp())
"""

# A few expired responses, the oldest first, without those that another request is deleting.
DELETE_SOME_EXPIRED = f"""
    DELETE FROM kept_answer WHERE name IN (
        SELECT name FROM kept_answer WHERE at < clock_timestamp() - {KEPT_FOR}
        ORDER BY at LIMIT 10 FOR UPDATE SKIP LOCKED)
"""

# An erasure and the keeper delete many of the same rows, in any order, so only one of them does at a time. An erasure
# takes this lock last of all and waits for the keeper's piece; the keeper leaves the rest to its next sweep.
_DELETION_LOCK: Final = 0x74770030
AWAIT_DELETION: Final = f"SELECT pg_advisory_xact_lock({_DELETION_LOCK})"
TRY_DELETION: Final = f"SELECT pg_try_advisory_xact_lock({_DELETION_LOCK})"

# The same for the keeper, in larger pieces.
DELETE_EXPIRED = f"""
    DELETE FROM kept_answer WHERE name IN (
        SELECT name FROM kept_answer WHERE at < clock_timestamp() - {KEPT_FOR} ORDER BY at LIMIT {MAX_DELETED_AT_ONCE})
"""

# Responses to a person, about them or their timesheets, or with their id, which may stand beside their name; under all
# their ids. Reads the responses of one day.
DELETE_PERSON = """
    DELETE FROM kept_answer AS k USING (SELECT ids_of_person($1) AS ids) AS theirs
    WHERE k.owner_id = ANY (theirs.ids)
        OR k.resources && (ARRAY(SELECT id FROM timesheet WHERE owner_id = ANY (theirs.ids)) || theirs.ids)
        OR EXISTS (SELECT FROM audit_record r WHERE r.uid = k.decision_uid AND r.person_id = ANY (theirs.ids))
        OR EXISTS (SELECT FROM unnest(theirs.ids) AS known (id)
                   WHERE position(convert_to(known.id::text, 'UTF8') IN k.body) > 0)
"""


@dataclass(frozen=True, slots=True)
class AnsweredChange:
    """The change that a stored response answers: the kind and action of its decision, the changed `resources`, the
    `states` that they had before, their `owner` if all have the same, and the decision's id."""

    kind: str
    action: str
    resources: tuple[UUID, ...]
    states: tuple[str, ...]
    owner: UUID | None
    decision: UUID


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response, and the change that it answers. `fingerprint` is the SHA-256 of the request."""

    fingerprint: bytes
    about: AnsweredChange
    status: int
    headers: Mapping[str, str]
    body: bytes


class IdempotentChange:
    """A request with an idempotency key: its change and its response commit together, or neither does."""

    def __init__(self, name: bytes, fingerprint: bytes) -> None:
        self._name, self._fingerprint = name, fingerprint
        self._open: tuple[AsyncExitStack, Connection] | None = None
        self._about: AnsweredChange | None = None

    @asynccontextmanager
    async def transaction(
        self, turns: Turns, transaction: AbstractAsyncContextManager[Connection]
    ) -> AsyncIterator[Connection]:
        """A transaction that stays open after this block until `store` commits it; an exception rolls it back. Raises
        KeyInUse if another request with the key is running, or was answered meanwhile."""
        if self._open is not None:
            raise RuntimeError("a request with a key makes one transaction")
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(turns.take())
            connection = await stack.enter_async_context(transaction)
            await self._claim(connection)
            yield connection
            self._open = stack.pop_all(), connection

    def describe(self, decisions: Sequence[Decision], decided: Sequence[Record], changes: Sequence[Record]) -> None:
        """Remember which change the response answers: the changed resources, and those that were allowed and needed no
        change, such as rows of an upload that were there already. `decided` are the records of `decisions`. If every
        target was refused, no response is stored."""
        if not any(record.columns["applied"] for record in decided):
            return
        request = decisions[0].request
        state_before = {decision.uid: decision.request.resource.state for decision in decisions}
        found: dict[UUID, str] = {}
        for change in changes:
            if (resource := _uuid(str(change.columns["resource_id"]))) is not None:
                found.setdefault(resource, state_before[cast("UUID", change.columns["decision_uid"])])
        for decision, record in zip(decisions, decided, strict=True):
            resource = _uuid(str(record.columns["resource_id"]))
            if record.columns["applied"] and resource is not None:
                found.setdefault(resource, decision.request.resource.state)
        owners = {change.columns["owner_id"] for change in changes}
        owner = owners.pop() if len(owners) == 1 else None
        self._about = AnsweredChange(
            request.resource.kind,
            request.action,
            tuple(found),
            tuple(found.values()),
            owner if isinstance(owner, UUID) else None,
            decisions[0].uid,
        )

    async def store(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Store the response and commit it with its change. Without a change only the decisions are committed, if any.
        Raises DatabaseUnavailable: then neither was committed, or the outcome is unknown."""
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
                await connection.execute(DELETE_SOME_EXPIRED)
        except asyncpg.PostgresError as error:
            raise DatabaseUnavailable(cause=f"stored response: {type(error).__name__}") from error

    async def roll_back(self) -> None:
        """Roll back a transaction that is still open."""
        if self._open is None:
            return
        stack, _ = self._open
        self._open = None
        # Losing the connection rolls back, too.
        with suppress(_RollBack, DatabaseUnavailable):
            async with stack:
                raise _RollBack

    async def _claim(self, connection: Connection) -> None:
        # A transaction holds its name until it ends; other requests with the name do not wait.
        lock = int.from_bytes(self._name[:8], "big", signed=True)
        if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", lock):
            raise KeyInUse
        if await _find(connection, self._name) is not None:
            raise KeyInUse


class _RollBack(Exception):
    """Makes a transaction roll back."""


class StoredResponses:
    """Finds responses by name: the hash of the caller, the key, the method and the path."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, name: bytes) -> StoredResponse | None:
        """The response under this name, if it is younger than 24 hours."""
        async with self._database.connection() as connection:
            return await _find(connection, name)


class ResponseSweeper:
    """Deletes expired responses in the keeper, and runs `more` statements that delete other expired rows. Any number of
    sweepers may run."""

    def __init__(self, database: Database, more: Sequence[str] = ()) -> None:
        self._database = database
        self._more = more

    async def sweep(self) -> None:
        """Delete everything that has expired; responses only while no erasure deletes some. Raises TryLater."""
        deleted = MAX_DELETED_AT_ONCE
        while deleted == MAX_DELETED_AT_ONCE:
            async with self._database.transaction() as connection:
                is_free = await connection.fetchval(TRY_DELETION)
                deleted = int((await connection.execute(DELETE_EXPIRED)).removeprefix("DELETE ")) if is_free else 0
        async with self._database.connection() as connection:
            for statement in self._more:
                await connection.execute(statement)

    async def run(self, stop: asyncio.Event) -> None:
        """Sweep every few minutes until `stop`."""
        while not stop.is_set():
            with suppress(TryLater):
                await self.sweep()
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE):
                    await stop.wait()


async def delete_person(connection: Connection, person: UUID) -> int:
    """Delete the responses to a person and about them, which may hold their texts, in the caller's transaction. Returns
    their number. A request that is sent again afterwards is made again."""
    await connection.execute(AWAIT_DELETION)
    return int((await connection.execute(DELETE_PERSON, person)).removeprefix("DELETE "))


async def _find(connection: Connection, name: bytes) -> StoredResponse | None:
    # One response by its name; an expired one may still be there.
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM kept_answer WHERE name = $1 AND at >= clock_timestamp() - {KEPT_FOR}", name
    )
    if row is None:
        return None
    resources, states = tuple(row["resources"]), tuple(row["states"])
    about = AnsweredChange(row["kind"], row["action"], resources, states, row["owner_id"], row["decision_uid"])
    headers = dict(header.split(": ", 1) for header in row["headers"])
    return StoredResponse(row["fingerprint"], about, row["status"], headers, row["body"])


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
