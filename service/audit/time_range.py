"""Finds the positions of records decided in a period, by the time in their bytes. Reads only.

The index on the column `decided_at` says where to start. The column is only a copy, so from there the log is read
outwards until the bytes of 256 records in a row, which have the sealed hashes, were decided outside the period. The
first of these is the edge. An altered copy costs some reading and hides no record.
docs/decisions/0024-period-by-record-contents.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from service.audit.sealed_rows import load_pruned_to, load_rows
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


# The first position that was not pruned, which nothing proves: a false one only makes the export longer. Nothing says
# when pruned records were decided.
FIRST_KEPT = "SELECT coalesce(max(position) + 1, 0) FROM audit_pruned"


async def find_positions(
    connection: Connection, since: datetime | None, until: datetime | None, size: int
) -> tuple[int, int]:
    """Positions [first, last) of a log of `size` that include every record decided in [since, until), adjacent
    positions whose records are missing or altered, and the record beside them at each end, whose bytes show that the
    period does not go on. Before a pruned part, the last pruned position is in place of that record. Empty if no
    record was decided in the period. Raises QueryTooBroad."""
    first, low, high = 0, 0, size
    async with custom_plans(connection):
        if since is not None:
            found, begin = await connection.fetchval(FIRST, since), format_time(since)
            start = min(size, size if found is None else found)
            first, low = await _search_down(connection, start, lambda time: time < begin)
        if until is not None:
            found, end = await connection.fetchval(LAST, until), format_time(until)
            start = max(low, found or 0, await connection.fetchval(FIRST_KEPT))
            high = await _search_up(connection, min(start, size), size, lambda time: time >= end)
    return (first, min(size, high + 1)) if low < high else (low, low)


def may_be_in(row: SealedRow, since: datetime | None, until: datetime | None) -> bool:
    """Whether a row may have been decided in [since, until), by its bytes or by its column. A missing record, or one
    without a valid time, may have been."""
    times = [time for time in (row.columns["decided_at"], _time_of(row.body)) if TIME_PATTERN.fullmatch(str(time))]
    first, last = (time and format_time(time) for time in (since, until))
    # All times have the same format, so they sort as text.
    return not times or any(not ((first and str(time) < first) or (last and str(time) >= last)) for time in times)


async def _search_down(connection: Connection, start: int, outside: Callable[[str], bool]) -> tuple[int, int]:
    """The nearest position below `start` that shows where the period begins, and the first position behind it that may
    be in the period. A pruned position may be in the period itself. (0, 0) if there is none."""
    edge: int | None = None
    pruned_to: int | None = None
    while start > 0:
        if edge is not None and edge - start >= WIDTH:
            inside = await _probe(connection, range(edge), edge, -1, outside)
            if inside is None:
                break
            start, edge = inside + 1, None
        low = (start - 1) // WIDTH * WIDTH
        for row in reversed(await load_rows(connection, low, start)):
            if row.pruned and pruned_to is None:
                pruned_to = await load_pruned_to(connection)
            if row.pruned and row.position < (pruned_to or 0):
                return row.position, row.position
            if not _is_provably(row, outside):
                edge = None
            elif edge is None:
                edge = row.position
        start = low
    return (0, 0) if edge is None else (edge, edge + 1)


async def _search_up(connection: Connection, start: int, size: int, outside: Callable[[str], bool]) -> int:
    """The nearest position from `start` on that shows where the period ends; `size` if there is none."""
    edge: int | None = None
    while start < size:
        if edge is not None and start - edge >= WIDTH:
            inside = await _probe(connection, range(edge, size), edge, 1, outside)
            if inside is None:
                break
            start, edge = inside, None
        high = min(size, (start // WIDTH + 1) * WIDTH)
        for row in await load_rows(connection, start, high):
            if not _is_provably(row, outside):
                edge = None
            elif edge is None:
                edge = row.position
        start = high
    return size if edge is None else edge


async def _probe(
    connection: Connection, within: range, edge: int, direction: int, outside: Callable[[str], bool]
) -> int | None:
    """A position beyond the edge, at one of the distances 256, 512, 1,024 and so on, that is not provably outside the
    period; None if there is none, or nothing but pruned records beyond. So an edge of added records with false times
    needs more records than it hides."""
    distance = WIDTH
    while (position := edge + direction * distance) in within:
        (row,) = await load_rows(connection, position, position + 1)
        if row.pruned and position < await load_pruned_to(connection):
            return None
        if not _is_provably(row, outside):
            return position
        distance *= 2
    return None


def _is_provably(row: SealedRow, outside: Callable[[str], bool]) -> bool:
    time = _time_of(row.body)
    return time is not None and outside(time) and row.intact


class _Decided(msgspec.Struct):
    decided_at: str


def _time_of(body: bytes | None) -> str | None:
    try:
        return msgspec.json.decode(body or b"", type=_Decided).decided_at
    except (ValueError, RecursionError):
        return None
