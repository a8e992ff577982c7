"""The feed of changes in the sealed log, from which the relay makes events. Reads only; owns no durable state.

Most records are decisions, so a ChangeFeed remembers up to which position it found no further change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, cast

from events.envelope import PublishedChange
from service.errors import DatabaseUnavailable, LogDamaged
from service.log.record import read_body
from service.log.sql_times import EPOCH, time_or_null

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    import asyncpg

    from service.database import Connection, Database

PUBLISHED = "r.kind IN ('change', 'policy', 'directory')"
MAX_POSITIONS_PER_WINDOW = 20_000

# The members of the state before and after a change that an event repeats: ids, words and numbers, no free text.
STATE = (
    "what",
    "state",
    "version",
    "approvals",
    "approvals_needed",
    "approvers",
    "number",
    "digest",
    "parent",
    "active",
    "revision",
)

# The epoch and size of the sealed log, and the stored hash at a position, which shows whether it is still the same log.
HEAD = """
    SELECT h.epoch, h.size, (SELECT r.stored_hash FROM audit_position p JOIN audit_record r ON r.id = p.record_id
                             WHERE p.position = $1) AS stored_hash
    FROM log_head h
"""

# The changes between two positions, in order. They are never packed, so their stored hash is their leaf. Records are
# looked up one by one (OFFSET 0 keeps that): without new statistics of both tables, Postgres would read all changes of
# the log instead. A whole window takes 30 to 100 ms.
CHANGES = f"""
    SELECT p.position, r.uid, r.stored_hash AS leaf, r.body
    FROM audit_position p
    CROSS JOIN LATERAL (SELECT * FROM audit_record WHERE id = p.record_id OFFSET 0) r
    WHERE p.position > $1 AND p.position <= $2 AND {PUBLISHED}
    ORDER BY p.position LIMIT $3
"""

# The change at a position.
AT = f"""
    SELECT p.position, r.uid, r.stored_hash AS leaf, r.body
    FROM audit_position p JOIN audit_record r ON r.id = p.record_id
    WHERE p.position = $1 AND {PUBLISHED}
"""

# The position of the change before the position $2, which is not after $1: usually $1 is a change, and nothing is
# searched for. If no change is left, the position of the last pruned record, which may have been a change, so that
# consumers notice a gap.
PREVIOUS = f"""
    SELECT coalesce((SELECT p.position FROM audit_position p JOIN audit_record r ON r.id = p.record_id
                     WHERE p.position = $1 AND p.position > coalesce(pruned.last, -1) AND {PUBLISHED}),
                    (SELECT p.position FROM audit_position p JOIN audit_record r ON r.id = p.record_id
                     WHERE p.position < $1 AND p.position > coalesce(pruned.last, -1) AND {PUBLISHED}
                     ORDER BY p.position DESC LIMIT 1), pruned.last)
    FROM (SELECT max(position) AS last FROM audit_pruned WHERE position < $2) AS pruned
"""

# The remaining columns of a pruned record.
PRUNED = f"SELECT position, uid, leaf, {time_or_null('at')} AS at FROM audit_pruned WHERE position = $1"


@dataclass(frozen=True, slots=True)
class Head:
    """The epoch and size of the sealed log; its newest position is `size - 1`."""

    epoch: UUID
    size: int


@dataclass(frozen=True, slots=True)
class _Gap:
    """No change was found after `after` up to `until`, whose record had the hash `stored_hash`."""

    after: int
    until: int
    stored_hash: bytes | None


class ChangeFeed:
    """Reads the changes of the sealed log. Any process may have one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._gap: _Gap | None = None

    async def read_changes(self, after: int, limit: int) -> Sequence[PublishedChange]:
        """Up to `limit` changes after the position `after` (-1 for all), in order; each names the position of the one
        before it. If no change before it is left, it names the last pruned record. Raises DatabaseUnavailable, and
        LogDamaged for a change that cannot be read."""
        try:
            async with self._database.connection() as connection:
                return await self._read_changes(connection, after, limit)
        except DatabaseUnavailable:
            self._gap = None
            raise

    async def read_change(self, position: int) -> PublishedChange | None:
        """The change at a position; None if there is none. The position of the change before it is not filled; for a
        pruned record only position, uid, leaf and time are."""
        async with self._database.connection() as connection:
            if row := await connection.fetchrow(AT, position):
                return _parse_change(row, None)
            pruned = await connection.fetchrow(PRUNED, position)
        return _pruned_change(pruned) if pruned else None

    async def head(self) -> Head:
        """The end of the sealed log. Raises DatabaseUnavailable, also before the log is opened."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(HEAD, -1)
        if row is None:
            raise DatabaseUnavailable(cause="the log is not open: run migrate")
        return Head(row["epoch"], row["size"])

    async def _read_changes(self, connection: Connection, after: int, limit: int) -> Sequence[PublishedChange]:
        gap = self._gap if self._gap and self._gap.after == after else None
        head = await connection.fetchrow(HEAD, gap.until if gap else -1)
        if head is None:
            return []
        start = gap.until if gap and gap.stored_hash == head["stored_hash"] else after
        end = cast("int", head["size"]) - 1
        if gap and start == end:
            return []
        rows: list[asyncpg.Record] = []
        while start < end and not rows:
            stop = min(start + MAX_POSITIONS_PER_WINDOW, end)
            rows = await connection.fetch(CHANGES, start, stop, limit)
            start = stop
        if not rows:
            newest = await connection.fetchrow(HEAD, start)
            self._gap = _Gap(after, start, newest["stored_hash"]) if newest else None
            return []
        previous = await connection.fetchval(PREVIOUS, after, rows[0]["position"])
        changes = []
        for row in rows:
            changes.append(_parse_change(row, previous))
            previous = row["position"]
        return changes


def _parse_change(row: asyncpg.Record, previous: int | None) -> PublishedChange:
    try:
        return _build_change(row, read_body(row["body"]), previous)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise LogDamaged(f"The log is damaged: the record at position {row['position']} cannot be read") from error


def _build_change(row: asyncpg.Record, body: Mapping[str, object], previous: int | None) -> PublishedChange:
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
        trace=_trace_of(body),
    )


def _trace_of(body: Mapping[str, object]) -> str | None:
    trace = _members(body, "request").get("trace")
    return trace if isinstance(trace, str) else None


def _pruned_change(row: asyncpg.Record) -> PublishedChange:
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
    """The members of the state before or after a change that an event repeats; consumers ask the API for the rest."""
    found = change.get(name)
    if not isinstance(found, Mapping):
        return {}
    return {member: found[member] for member in STATE if member in found}
