"""The feed: the sealed log seen as the list of changes that events are made from. Reads only; owns no durable state.

Most of a log is decisions, so a Feed remembers how far behind a change it has already looked in vain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, cast

from events.envelope import PublishedChange
from service.errors import DatabaseUnavailable, LogDamaged
from service.log.record import read_body
from service.log.stored_times import EPOCH, readable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    import asyncpg

    from service.database import Connection, Database

PUBLISHED = "r.kind IN ('change', 'policy', 'directory')"
WINDOW = 20_000

# What an event says of the state before and after; all of these are ids, words and numbers of ours.
STATE = ("state", "version", "number", "digest", "parent", "active", "revision")

# How long the sealed log is and which epoch it has; and the leaf of a place, to see that it is still the same log.
HEAD = """
    SELECT h.epoch, h.size, (SELECT r.leaf FROM audit_position p JOIN audit_record r ON r.id = p.record_id
                             WHERE p.position = $1) AS leaf
    FROM log_head h
"""

# The changes between two places, in order.
CHANGES = f"""
    SELECT p.position, r.uid, r.leaf, r.body FROM audit_position p JOIN audit_record r ON r.id = p.record_id
    WHERE p.position > $1 AND p.position <= $2 AND {PUBLISHED}
    ORDER BY p.position LIMIT $3
"""

# The change at one place.
AT = f"""
    SELECT p.position, r.uid, r.leaf, r.body FROM audit_position p JOIN audit_record r ON r.id = p.record_id
    WHERE p.position = $1 AND {PUBLISHED}
"""

# The last change at or before a place.
LAST = f"""
    SELECT p.position FROM audit_position p JOIN audit_record r ON r.id = p.record_id
    WHERE p.position <= $1 AND {PUBLISHED}
    ORDER BY p.position DESC LIMIT 1
"""

# What is left of a record whose body retention has dropped.
PRUNED = f"SELECT position, uid, leaf, {readable('at')} AS at FROM audit_pruned WHERE position = $1"


@dataclass(frozen=True, slots=True)
class Head:
    """The sealed log's epoch and length; the newest position is `size - 1`."""

    epoch: UUID
    size: int


@dataclass(frozen=True, slots=True)
class _Silence:
    """After the change at `after` there is none up to `until`, whose leaf was `leaf`."""

    after: int
    until: int
    leaf: bytes | None


class Feed:
    """Reads the changes of the sealed log. Any process may have one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._silence: _Silence | None = None

    async def feed(self, after: int, limit: int) -> Sequence[PublishedChange]:
        """Up to `limit` changes behind position `after` (-1: from the beginning), in order, each knowing the one
        before.

        Raises DatabaseUnavailable, and LogDamaged for a change that cannot be read.
        """
        try:
            async with self._database.connection() as connection:
                return await self._feed(connection, after, limit)
        except DatabaseUnavailable:
            self._silence = None
            raise

    async def at(self, position: int) -> PublishedChange | None:
        """The change at a position, or None when there is none, or nothing is sealed so far. Of a record that retention
        dropped only its place, id, leaf and time are told."""
        async with self._database.connection() as connection:
            if row := await connection.fetchrow(AT, position):
                return _change(row, await connection.fetchval(LAST, position - 1))
            dropped = await connection.fetchrow(PRUNED, position)
        return _dropped(dropped) if dropped else None

    async def head(self) -> Head:
        """Where the sealed log ends. Raises DatabaseUnavailable, also while nobody has opened the log."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(HEAD, -1)
        if row is None:
            raise DatabaseUnavailable(cause="the log is not open: run migrate")
        return Head(row["epoch"], row["size"])

    async def _feed(self, connection: Connection, after: int, limit: int) -> Sequence[PublishedChange]:
        silence = self._silence if self._silence and self._silence.after == after else None
        head = await connection.fetchrow(HEAD, silence.until if silence else -1)
        if head is None:
            return []
        start = silence.until if silence and silence.leaf == head["leaf"] else after
        end = cast("int", head["size"]) - 1
        if silence and start == end:
            return []
        rows: list[asyncpg.Record] = []
        while start < end and not rows:
            stop = min(start + WINDOW, end)
            rows = await connection.fetch(CHANGES, start, stop, limit)
            start = stop
        if not rows:
            newest = await connection.fetchrow(HEAD, start)
            self._silence = _Silence(after, start, newest["leaf"]) if newest else None
            return []
        dropped = await connection.fetchrow(PRUNED, after)
        previous = after if dropped else await connection.fetchval(LAST, after)
        changes = []
        for row in rows:
            changes.append(_change(row, previous))
            previous = row["position"]
        return changes


def _change(row: asyncpg.Record, previous: int | None) -> PublishedChange:
    try:
        return _read(row, read_body(row["body"]), previous)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise LogDamaged(f"The log is damaged: the record at position {row['position']} cannot be read") from error


def _read(row: asyncpg.Record, body: Mapping[str, object], previous: int | None) -> PublishedChange:
    resource, change = _members(body, "resource"), _members(body, "change")
    principal = _members(body, "principal")
    return PublishedChange(
        position=row["position"],
        previous=previous,
        uid=row["uid"],
        leaf=row["leaf"].hex(),
        type=str(change.get("type")),
        subject=str(resource.get("id")),
        time=datetime.fromisoformat(str(body["decided_at"])),
        data={
            "resource": {name: resource.get(name) for name in ("kind", "id", "owner", "state", "version")},
            "from": _state(change, "from"),
            "to": _state(change, "to"),
            "by": {name: principal.get(name) for name in ("kind", "person", "client")},
            "decision": body.get("decision"),
        },
    )


def _dropped(row: asyncpg.Record) -> PublishedChange:
    return PublishedChange(
        position=row["position"],
        previous=None,
        uid=row["uid"],
        leaf=row["leaf"].hex(),
        type="",
        subject="",
        time=row["at"] or EPOCH,
        data={},
    )


def _members(body: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = body.get(name)
    return found if isinstance(found, Mapping) else {}


def _state(change: Mapping[str, object], name: str) -> dict[str, object]:
    """Of what a change was before or after, only what says which state it is; the rest is asked of the API."""
    found = change.get(name)
    if not isinstance(found, Mapping):
        return {}
    return {member: found[member] for member in STATE if member in found}
