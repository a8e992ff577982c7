"""Where the records of a period lie in the log: by the time of deciding, which their bytes prove. Reads only.

The copy `decided_at` says where to begin to look, and its index finds that at once. Nothing proves the copy, so from
there the log is read outwards until bytes that have their sealed hash lie outside the period: a copy that somebody
altered costs some reading and hides nothing. docs/decisions/0024-period-by-record-contents.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from service.audit.sealed_rows import sealed_piece
from service.log import merkle
from service.log.columns import TIME_PATTERN, format_time
from service.log.record_query import custom_plans
from service.log.tiles import WIDTH

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from service.audit.sealed_rows import SealedRow
    from service.database import Connection

# The first position of the first records decided in a period by their copies, and the one behind the last of those
# before its end. Some of them, since neighbours in time can have been sealed in the other order.
FIRST = """
    SELECT min(p.position) FROM (SELECT id FROM audit_record WHERE decided_at >= $1 ORDER BY decided_at, id LIMIT 8) r
    JOIN audit_position p ON p.record_id = r.id
"""
LAST = """
    SELECT max(p.position) + 1 FROM
        (SELECT id FROM audit_record WHERE decided_at < $1 ORDER BY decided_at DESC, id DESC LIMIT 8) r
    JOIN audit_position p ON p.record_id = r.id
"""


# Behind what retention dropped: of that nothing is exported, and nothing says when it was decided.
KEPT = "SELECT coalesce(max(position) + 1, 0) FROM audit_pruned"


async def positions(
    connection: Connection, since: datetime | None, until: datetime | None, size: int
) -> tuple[int, int]:
    """Sealed positions [first, last) of a log of `size`, with all records decided in [since, until) and all places
    beside these whose records are missing or altered. Raises QueryTooBroad."""
    first, last = 0, size
    async with custom_plans(connection):
        if since is not None:
            found, wanted = await connection.fetchval(FIRST, since), format_time(since)
            first = min(size, size if found is None else found)
            first = await _downwards(connection, first, lambda time: time < wanted)
        if until is not None:
            found, end = await connection.fetchval(LAST, until), format_time(until)
            begin = max(first, found or 0, await connection.fetchval(KEPT))
            last = await _upwards(connection, min(begin, size), size, lambda time: time >= end)
    return first, last


def holds(row: SealedRow, since: datetime | None, until: datetime | None) -> bool:
    """Whether a row was decided in [since, until): its bytes or the copy beside them say so. What is missing, or says
    no time at all, may have been."""
    said = [time for time in (row.columns["decided_at"], _time_of(row.body)) if TIME_PATTERN.fullmatch(str(time))]
    first, last = (time and format_time(time) for time in (since, until))
    # Moments are written in one way, so that their order is that of their letters.
    return not said or any(not ((first and str(time) < first) or (last and str(time) >= last)) for time in said)


async def _downwards(connection: Connection, start: int, outside: Callable[[str], bool]) -> int:
    """The position above the nearest one below `start` that is proved to be outside, or was pruned."""
    while start > 0:
        low = (start - 1) // WIDTH * WIDTH
        for row in reversed(await sealed_piece(connection, low, start)):
            if row.pruned or _proved(row, outside):
                return row.position + 1
        start = low
    return 0


async def _upwards(connection: Connection, start: int, size: int, outside: Callable[[str], bool]) -> int:
    """The nearest position from `start` on that is proved to be outside, or `size`."""
    while start < size:
        high = min(size, (start // WIDTH + 1) * WIDTH)
        for row in await sealed_piece(connection, start, high):
            if _proved(row, outside):
                return row.position
        start = high
    return size


def _proved(row: SealedRow, outside: Callable[[str], bool]) -> bool:
    time = _time_of(row.body)
    return row.body is not None and time is not None and outside(time) and merkle.leaf_hash(row.body) == row.sealed


class _Decided(msgspec.Struct):
    decided_at: str


def _time_of(body: bytes | None) -> str | None:
    try:
        return msgspec.json.decode(body or b"", type=_Decided).decided_at
    except (ValueError, RecursionError):
        return None
