"""The log as a stream of recorded decisions, oldest first, for whoever decides them again. Reads only.

It goes by the record's id (keyset) in windows, so that no statement takes long, however few records are wanted. An id
is drawn before its record is there for others to see: whoever wants all of them waits for the writers of that moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import QueryTooBroad
from service.log.questions import DECISIONS, planned_by_value

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from service.database import Connection

WINDOW = 20_000
# Ids are drawn before their records can be seen: those who write now may have smaller or greater ones than those found.
MARGIN = 10_000

# Where the log ends now.
LAST = "SELECT coalesce(max(id), 0) FROM audit_record"

# The smallest and the largest id of the records decided in a period. The sums keep Postgres from walking through the
# whole table by id; the index on time alone answers.
IDS = """
    SELECT min(id + 0), max(id + 0) FROM audit_record
    WHERE ($1::timestamptz IS NULL OR decided_at >= $1) AND ($2::timestamptz IS NULL OR decided_at < $2)
"""

# Transactions that write to the log now. The lock is taken before an id is drawn, and held until the transaction ends.
WRITERS = """
    SELECT DISTINCT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND relation = 'audit_record'::regclass AND mode = 'RowExclusiveLock' AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

# The decisions of one window, in order.
WANTED = """
    SELECT id, policy_version, body FROM audit_record
    WHERE id > $1 AND id <= $2 AND kind = ANY($3)
      AND ($4::timestamptz IS NULL OR decided_at >= $4) AND ($5::timestamptz IS NULL OR decided_at < $5)
      AND ($6::text IS NULL OR action = $6) AND ($7::text IS NULL OR resource_kind = $7)
    ORDER BY id LIMIT $8
"""


@dataclass(frozen=True, slots=True)
class RecordSelection:
    """Which decisions; None asks nothing. `since` and `until` bound decided_at, half-open."""

    since: datetime | None = None
    until: datetime | None = None
    action: str | None = None
    resource_kind: str | None = None


@dataclass(frozen=True, slots=True)
class RecordWindow:
    """Pairs (policy version that decided, bytes), which are all that are wanted up to and with the id `until`."""

    found: Sequence[tuple[int, bytes]]
    until: int


async def span(connection: Connection, wanted: RecordSelection) -> tuple[int, int]:
    """All wanted records that there are now have an id behind the first number and not behind the second. Others may
    yet appear between the two, until those who write now (`writers`, asked afterwards) are done."""
    last: int = await connection.fetchval(LAST)
    if wanted.since is None and wanted.until is None:
        return 0, last
    try:
        async with planned_by_value(connection):
            found = await connection.fetchrow(IDS, wanted.since, wanted.until)
    except QueryTooBroad:
        # Most of the log, then: each window leaves out what is not wanted.
        return 0, last
    if found is None or found[0] is None:
        return max(0, last - MARGIN), last
    return max(0, found[0] - 1 - MARGIN), min(last, found[1] + MARGIN)


async def writers(connection: Connection) -> frozenset[str]:
    """Names of the transactions that write to the log now; a name is never given twice."""
    return frozenset(row["virtualtransaction"] for row in await connection.fetch(WRITERS))


async def window(connection: Connection, wanted: RecordSelection, *, after: int, last: int, limit: int) -> RecordWindow:
    """At most `limit` wanted decisions behind the id `after`, and not behind `last`."""
    end = min(after + WINDOW, last)
    rows = await connection.fetch(
        WANTED,
        after,
        end,
        [decision.value for decision in DECISIONS],
        wanted.since,
        wanted.until,
        wanted.action,
        wanted.resource_kind,
        limit,
    )
    found = [(row["policy_version"] or 0, row["body"]) for row in rows]
    return RecordWindow(found, rows[-1]["id"] if len(rows) == limit else end)
