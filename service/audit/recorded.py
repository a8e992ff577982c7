"""The log as a stream of recorded decisions, oldest first, for whoever decides them again. Reads only.

It goes by the record's id (keyset) in windows, so that no statement takes long, however few records are wanted. An id
is drawn before its record is there for others to see: whoever wants all of them waits for the writers of that moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.audit.questions import DECISIONS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from service.database import Connection

WINDOW = 20_000
# Ids are given a moment before the time is; two that write at once may have them in the other order.
MARGIN = 10_000

# Where the log ends now.
LAST = "SELECT coalesce(max(id), 0) FROM audit_record"

# Transactions that write to the log now. The lock is taken before an id is drawn, and held until the transaction ends.
WRITERS = """
    SELECT DISTINCT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND relation = 'audit_record'::regclass AND mode = 'RowExclusiveLock' AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

# When the first record from an id on was taken.
TAKEN = "SELECT at FROM audit_record WHERE id >= $1 ORDER BY id LIMIT 1"

# The decisions of one window, in order.
WANTED = """
    SELECT id, policy_version, body FROM audit_record
    WHERE id > $1 AND id <= $2 AND kind = ANY($3)
      AND ($4::timestamptz IS NULL OR decided_at >= $4) AND ($5::timestamptz IS NULL OR decided_at < $5)
      AND ($6::text IS NULL OR action = $6) AND ($7::text IS NULL OR resource_kind = $7)
    ORDER BY id LIMIT $8
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which decisions; None asks nothing. `since` and `until` bound decided_at, half-open."""

    since: datetime | None = None
    until: datetime | None = None
    action: str | None = None
    resource_kind: str | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Pairs (policy version that decided, bytes), which are all that are wanted up to and with the id `until`."""

    found: Sequence[tuple[int, bytes]]
    until: int


async def span(connection: Connection, wanted: Wanted) -> tuple[int, int]:
    """All wanted records that there are now have an id behind the first number and not behind the second. Others may
    yet appear between the two, until those who write now (`writers`, asked afterwards) are done."""
    last: int = await connection.fetchval(LAST)
    first = 0 if wanted.since is None else max(0, await _taken_from(connection, wanted.since, last) - MARGIN)
    end = last if wanted.until is None else min(last, await _taken_from(connection, wanted.until, last) + MARGIN)
    return first, max(first, end)


async def writers(connection: Connection) -> frozenset[str]:
    """Names of the transactions that write to the log now; a name is never given twice."""
    return frozenset(row["virtualtransaction"] for row in await connection.fetch(WRITERS))


async def window(connection: Connection, wanted: Wanted, *, after: int, last: int, limit: int) -> Window:
    """At most `limit` wanted decisions behind the id `after`, and not behind `last`."""
    end = min(after + WINDOW, last)
    rows = await connection.fetch(
        WANTED,
        after,
        end,
        [one.value for one in DECISIONS],
        wanted.since,
        wanted.until,
        wanted.action,
        wanted.resource_kind,
        limit,
    )
    found = [(row["policy_version"] or 0, row["body"]) for row in rows]
    return Window(found, rows[-1]["id"] if len(rows) == limit else end)


async def _taken_from(connection: Connection, moment: datetime, last: int) -> int:
    """About the first id that was taken at this moment or later, by halving: ids grow with time."""
    low, high = 0, last
    while low < high:
        middle = (low + high) // 2
        taken = await connection.fetchval(TAKEN, middle)
        if taken is not None and taken < moment:
            low = middle + 1
        else:
            high = middle
    return low
