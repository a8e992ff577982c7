"""Search windows: ranges of record ids, aligned with partitions, that a search reads one after the other. Reads only.

Planning one query over the partitions of ten years takes longer than answering it from a few. A page is complete when
no window that is left can hold a record that sorts before its end; the times stored for closed partitions tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.log.sql_times import epoch_seconds, sort_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from service.database import Connection, ReservedConnection
    from service.log.sql_times import TimeOrder

# The closed partitions, newest first, and whether each overlaps the period.
CLOSED = f"""
    SELECT lower, upper, {epoch_seconds("first")} AS first, {epoch_seconds("last")} AS last,
           ($1::text IS NULL OR last >= $1::text::timestamptz)
           AND ($2::text IS NULL OR first <= $2::text::timestamptz) AS overlaps
    FROM audit_partition ORDER BY lower DESC
"""


@dataclass(frozen=True, slots=True)
class Window:
    """Ids from `lower` up to `upper`, half-open; None has no end. `beyond` is the nearest time in the windows that
    follow: a page that ends before it is complete. None for the last window."""

    lower: int
    upper: int | None
    beyond: TimeOrder | None

    def conditions(self, row: str) -> list[str]:
        """SQL terms on the record `row`. Literals, so that Postgres prunes partitions while it plans."""
        terms = [f"{row}.id >= {self.lower}"] if self.lower else []
        return terms if self.upper is None else [*terms, f"{row}.id < {self.upper}"]


EVERYTHING = Window(0, None, None)


async def find_windows(
    connection: Connection | ReservedConnection, since: str | None, until: str | None, *, oldest_first: bool = False
) -> list[Window]:
    """The windows that can hold records decided in a period, in the order to read them: the open partition first, then
    the closed ones, one, two, four and more at a time. Times are texts that Postgres reads."""
    closed = await connection.fetch(CLOSED, since, until)
    if not closed:
        return [EVERYTHING]
    overlapping = [partition for partition in closed if partition["overlaps"]]
    ordered = overlapping[::-1] if oldest_first else overlapping
    groups: list[Sequence[asyncpg.Record]] = []
    while ordered:
        size = 1 << len(groups)
        groups.append(ordered[:size])
        ordered = ordered[size:]
    found = [Window(closed[0]["upper"], None, _nearest_time(groups, oldest_first=oldest_first))]
    for index, group in enumerate(groups):
        lower = min(partition["lower"] for partition in group)
        upper = max(partition["upper"] for partition in group)
        found.append(Window(lower, upper, _nearest_time(groups[index + 1 :], oldest_first=oldest_first)))
    return found


async def covering_window(connection: Connection, since: str | None, until: str | None) -> Window:
    """One window that holds every record decided in a period."""
    found = await find_windows(connection, since, until)
    return Window(min(window.lower for window in found), None, None)


def _nearest_time(groups: Sequence[Sequence[asyncpg.Record]], *, oldest_first: bool) -> TimeOrder | None:
    bound = "first" if oldest_first else "last"
    times = [sort_key(partition[bound]) for group in groups for partition in group]
    return (min(times) if oldest_first else max(times)) if times else None
