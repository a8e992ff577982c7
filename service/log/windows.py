"""Which partitions can hold a page: ranges of ids to look through one after the other. Reads only; owns no state.

Planning a question for every partition of ten years would take longer than answering it. A page is whole when nothing
that was not looked at can stand before its end, which the moments of closed partitions tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.log.stored_times import order, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from service.database import Connection
    from service.log.stored_times import Order

# The closed partitions, newest first, and whether each can hold something of a time.
CLOSED = f"""
    SELECT lower, upper, {seconds("first")} AS first, {seconds("last")} AS last,
           ($1::text IS NULL OR last >= $1::text::timestamptz)
           AND ($2::text IS NULL OR first <= $2::text::timestamptz) AS could
    FROM audit_partition ORDER BY lower DESC
"""


@dataclass(frozen=True, slots=True)
class Window:
    """Ids from `lower` up to `upper` (None: without end). `beyond`: once a page ends at that moment or nearer, what is
    left holds nothing of it; None when nothing is left."""

    lower: int
    upper: int | None
    beyond: Order | None

    def conditions(self, row: str) -> list[str]:
        """The same in SQL, about the record `row`: numbers, so that Postgres leaves other partitions out at once."""
        terms = [f"{row}.id >= {self.lower}"] if self.lower else []
        return terms if self.upper is None else [*terms, f"{row}.id < {self.upper}"]


EVERYTHING = Window(0, None, None)


async def windows(
    connection: Connection, since: str | None, until: str | None, *, oldest_first: bool = False
) -> list[Window]:
    """Where records decided in this time can be, in the order of looking: the open partition, then the closed ones,
    one, two, four and more at a time. Times are written as Postgres reads them."""
    closed = await connection.fetch(CLOSED, since, until)
    if not closed:
        return [EVERYTHING]
    could = [one for one in closed if one["could"]]
    ordered = could[::-1] if oldest_first else could
    pieces: list[Sequence[asyncpg.Record]] = []
    while ordered:
        size = 1 << len(pieces)
        pieces.append(ordered[:size])
        ordered = ordered[size:]
    found = [Window(closed[0]["upper"], None, _beyond(pieces, oldest_first=oldest_first))]
    for place, piece in enumerate(pieces):
        lower, upper = min(one["lower"] for one in piece), max(one["upper"] for one in piece)
        found.append(Window(lower, upper, _beyond(pieces[place + 1 :], oldest_first=oldest_first)))
    return found


async def span(connection: Connection, since: str | None, until: str | None) -> Window:
    """One window that holds everything decided in this time."""
    found = await windows(connection, since, until)
    return Window(min(one.lower for one in found), None, None)


def _beyond(pieces: Sequence[Sequence[asyncpg.Record]], *, oldest_first: bool) -> Order | None:
    moments = [order(one["first" if oldest_first else "last"]) for piece in pieces for one in piece]
    return (min(moments) if oldest_first else max(moments)) if moments else None
