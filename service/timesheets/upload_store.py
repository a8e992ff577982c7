"""SQL of uploads: locks the weeks of many people in one order. Postgres holds the locks, which return no data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.timesheets.relations import KIND

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from service.database import Connection
    from service.timesheets.upload_rows import Week

# The sheets of the given weeks, in that order.
LOCK_SHEETS = """
    SELECT r.owner_id, r.period_start, r.id
    FROM unnest($1::uuid[], $2::date[]) WITH ORDINALITY AS week (owner_id, period_start, place)
    JOIN timesheet AS r USING (owner_id, period_start) ORDER BY week.place FOR UPDATE OF r
"""


class WeekLocks:
    """Locks for Targets. The lock of the first of the sorted `weeks` locks all of them, each as `lock_week` does. Every
    upload locks in this order, so two of them cannot deadlock."""

    def __init__(self, weeks: Sequence[Week]) -> None:
        self._weeks = weeks
        self._sheets: dict[Week, UUID] = {}

    def of(self, place: int) -> Callable[[Connection], Awaitable[UUID | None]]:
        """The lock of one week; it returns the id of its sheet, or None."""

        async def take(connection: Connection) -> UUID | None:
            if place == 0:
                self._sheets = await self._lock_all(connection)
            return self._sheets.get(self._weeks[place])

        return take

    async def _lock_all(self, connection: Connection) -> dict[Week, UUID]:
        # Weeks with or without a sheet, one after the other; two with the same hash wait for each other.
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(key, 0))"
            " FROM (SELECT key FROM unnest($1::text[]) WITH ORDINALITY AS week (key, place) ORDER BY place OFFSET 0)"
            " AS ordered",
            [f"{KIND} {owner} {period_start}" for owner, period_start in self._weeks],
        )
        # The sheets of these weeks that exist.
        rows = await connection.fetch(
            LOCK_SHEETS,
            [owner for owner, _ in self._weeks],
            [period_start for _, period_start in self._weeks],
        )
        return {(row["owner_id"], row["period_start"]): row["id"] for row in rows}
