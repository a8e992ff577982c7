"""Finds the positions of records decided in a period, by the time in their bytes. Reads only.

The index on the column `decided_at` says where to start. The column is only a copy, so from there the log is read
outwards until a record whose bytes have the sealed hash was decided outside the period. An altered copy costs some
reading and hides no record. docs/decisions/0024-period-by-record-contents.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from service.audit.sealed_rows import load_rows
from service.log import merkle
from service.log.columns import TIME_PATTERN, format_time
from service.log.record_query import custom_plans
from service.log.tiles import WIDTH

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from service.audit.sealed_rows import SealedRow
    from service.database import Connection

# The first position among the first records of a period, and the position after the last records before its end, by the
# column. Eight records each, since records close in time can be sealed in another order.
FIRST = """
    SELECT min(p.position) FROM (SELECT id FROM audit_record WHERE decided_at >= $1 ORDER BY decided_at, id LIMIT 8) r
    JOIN audit_position p ON p.record_id = r.id
"""
LAST = """
    SELECT max(p.position) + 1 FROM
        (SELECT id FROM audit_record WHERE decided_at < $1 ORDER BY decided_at DESC, id DESC LIMIT 8) r
    JOIN audit_position p ON p.record_id = r.id
"""


# The first position that was not pruned. Pruned records are not exported, and nothing says when they were decided.
FIRST_KEPT = "SELECT coalesce(max(position) + 1, 0) FROM audit_pruned"


async def find_positions(
    connection: Connection, since: datetime | None, until: datetime | None, size: int
) -> tuple[int, int]:
    """Positions [first, last) of a log of `size` that include every record decided in [since, until), and adjacent
    positions whose records are missing or altered. Raises QueryTooBroad."""
    first, last = 0, size
    async with custom_plans(connection):
        if since is not None:
            found, begin = await connection.fetchval(FIRST, since), format_time(since)
            first = min(size, size if found is None else found)
            first = await _search_down(connection, first, lambda time: time < begin)
        if until is not None:
            found, end = await connection.fetchval(LAST, until), format_time(until)
            start = max(first, found or 0, await connection.fetchval(FIRST_KEPT))
            last = await _search_up(connection, min(start, size), size, lambda time: time >= end)
    return first, last


def may_be_in(row: SealedRow, since: datetime | None, until: datetime | None) -> bool:
    """Whether a row may have been decided in [since, until), by its bytes or by its column. A missing record, or one
    without a valid time, may have been."""
    times = [time for time in (row.columns["decided_at"], _time_of(row.body)) if TIME_PATTERN.fullmatch(str(time))]
    first, last = (time and format_time(time) for time in (since, until))
    # All times have the same format, so they sort as text.
    return not times or any(not ((first and str(time) < first) or (last and str(time) >= last)) for time in times)


async def _search_down(connection: Connection, start: int, outside: Callable[[str], bool]) -> int:
    """The position after the nearest record below `start` that is provably outside, or pruned; 0 if there is none."""
    while start > 0:
        low = (start - 1) // WIDTH * WIDTH
        for row in reversed(await load_rows(connection, low, start)):
            if row.pruned or _is_provably(row, outside):
                return row.position + 1
        start = low
    return 0


async def _search_up(connection: Connection, start: int, size: int, outside: Callable[[str], bool]) -> int:
    """The position of the nearest record from `start` on that is provably outside; `size` if there is none."""
    while start < size:
        high = min(size, (start // WIDTH + 1) * WIDTH)
        for row in await load_rows(connection, start, high):
            if _is_provably(row, outside):
                return row.position
        start = high
    return size


def _is_provably(row: SealedRow, outside: Callable[[str], bool]) -> bool:
    time = _time_of(row.body)
    return row.body is not None and time is not None and outside(time) and merkle.leaf_hash(row.body) == row.sealed


class _Decided(msgspec.Struct):
    decided_at: str


def _time_of(body: bytes | None) -> str | None:
    try:
        return msgspec.json.decode(body or b"", type=_Decided).decided_at
    except (ValueError, RecursionError):
        return None
