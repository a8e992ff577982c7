"""Recorded decisions as a stream, oldest first, for replays. Reads only.

Reads by record id (keyset) in windows, so that no statement takes long, however few records match. An id is drawn
before its record is visible to others: a reader that needs all records first waits for the current writers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.errors import QueryTooBroad
from service.log.packing import unpack
from service.log.record_query import DECISIONS, custom_plans

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from service.database import Connection

MAX_IDS_PER_WINDOW = 20_000
# Ids are drawn before their records are visible: current writers may hold ids a little beyond those found.
MARGIN_IDS = 10_000

# The greatest id of the log.
LAST = "SELECT coalesce(max(id), 0) FROM audit_record"

# The smallest and the greatest id of the records decided in a period. `+ 0` keeps Postgres from scanning the whole
# table by id: it uses the index on time.
IDS = """
    SELECT min(id + 0), max(id + 0) FROM audit_record
    WHERE ($1::timestamptz IS NULL OR decided_at >= $1) AND ($2::timestamptz IS NULL OR decided_at < $2)
"""

# Transactions that are writing to the log. Each takes the lock before it draws an id and holds it until it ends.
WRITERS = """
    SELECT DISTINCT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND relation = 'audit_record'::regclass AND mode = 'RowExclusiveLock' AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

# The selected decisions of one window, in id order.
SELECTED = """
    SELECT id, uid, policy_version, body FROM audit_record
    WHERE id > $1 AND id <= $2 AND kind = ANY($3)
      AND ($4::timestamptz IS NULL OR decided_at >= $4) AND ($5::timestamptz IS NULL OR decided_at < $5)
      AND ($6::text IS NULL OR action = $6) AND ($7::text IS NULL OR resource_kind = $7)
    ORDER BY id LIMIT $8
"""

# The values of personal attributes that are not erased.
PERSONAL_TEXTS = """
    SELECT record_uid, field, value FROM audit_text WHERE record_uid = ANY($1) AND starts_with(field, 'attributes.')
"""
# In the bytes of a record that commits to such values.
PERSONAL = b'"attributes.'


@dataclass(frozen=True, slots=True)
class DecisionSelection:
    """Which decisions to read; None does not filter. `since` and `until` bound decided_at, half-open."""

    since: datetime | None = None
    until: datetime | None = None
    action: str | None = None
    resource_kind: str | None = None


@dataclass(frozen=True, slots=True)
class DecisionWindow:
    """All selected decisions up to and including the id `until`, as pairs (policy version, record bytes). `texts`: the
    personal attributes beside a decision, by its place."""

    decisions: Sequence[tuple[int, bytes]]
    until: int
    texts: Mapping[int, Mapping[str, str]] = field(default_factory=dict)


async def find_span(connection: Connection, selection: DecisionSelection) -> tuple[int, int]:
    """The id range (after, last] that holds all selected records that exist now. More may appear in it until the
    current writers, listed afterwards by `list_writers`, have ended."""
    last: int = await connection.fetchval(LAST)
    if selection.since is None and selection.until is None:
        return 0, last
    try:
        async with custom_plans(connection):
            found = await connection.fetchrow(IDS, selection.since, selection.until)
    except QueryTooBroad:
        # The period covers most of the log: read all of it and filter in each window.
        return 0, last
    if found is None or found[0] is None:
        return max(0, last - MARGIN_IDS), last
    return max(0, found[0] - 1 - MARGIN_IDS), min(last, found[1] + MARGIN_IDS)


async def list_writers(connection: Connection) -> frozenset[str]:
    """The ids of the transactions that are writing to the log; an id is never reused."""
    return frozenset(row["virtualtransaction"] for row in await connection.fetch(WRITERS))


async def read_window(
    connection: Connection, selection: DecisionSelection, *, after: int, last: int, limit: int
) -> DecisionWindow:
    """At most `limit` selected decisions with ids in (after, last], from one window."""
    end = min(after + MAX_IDS_PER_WINDOW, last)
    rows = await connection.fetch(
        SELECTED,
        after,
        end,
        [kind.value for kind in DECISIONS],
        selection.since,
        selection.until,
        selection.action,
        selection.resource_kind,
        limit,
    )
    decisions = [(row["policy_version"] or 0, unpack(row["body"])) for row in rows]
    places = {row["uid"]: place for place, row in enumerate(rows) if PERSONAL in decisions[place][1]}
    until = rows[-1]["id"] if len(rows) == limit else end
    return DecisionWindow(decisions, until, await _read_texts(connection, places))


async def _read_texts(connection: Connection, places: Mapping[UUID, int]) -> dict[int, dict[str, str]]:
    """The texts of personal attributes, by the places of their records."""
    texts: dict[int, dict[str, str]] = {}
    if places:
        for row in await connection.fetch(PERSONAL_TEXTS, list(places)):
            texts.setdefault(places[row["record_uid"]], {})[row["field"]] = row["value"]
    return texts
