"""SQL of uploads: the weeks of many people, locked in one order. Postgres holds the locks, which tell nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.timesheets.relations import KIND

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from service.database import Connection
    from service.timesheets.upload_rows import Week

# The sheets of weeks, in the order of the weeks.
LOCK_SHEETS = """
    SELECT r.owner_id, r.period_start, r.id
    FROM unnest($1::uuid[], $2::date[]) WITH ORDINALITY AS one (owner_id, period_start, place)
    JOIN timesheet AS r USING (owner_id, period_start) ORDER BY one.place FOR UPDATE OF r
"""


class WeekLocks:
    """For Targets: `weeks`, sorted, are all locked when the first of them is asked for, which is how `lock_week` locks
    one. Every upload locks in this order, so two of them cannot block each other."""

    def __init__(self, weeks: Sequence[Week]) -> None:
        self._weeks = weeks
        self._sheets: dict[Week, UUID] = {}

    def of(self, place: int) -> Callable[[Connection], Awaitable[UUID | None]]:
        """The lock of one of them: its sheet's id, or None."""

        async def locking(connection: Connection) -> UUID | None:
            if place == 0:
                self._sheets = await self._lock_all(connection)
            return self._sheets.get(self._weeks[place])

        return locking

    async def _lock_all(self, connection: Connection) -> dict[Week, UUID]:
        # Weeks with or without a sheet, one after the other; two with the same hash only wait for one another.
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(key, 0))"
            " FROM (SELECT key FROM unnest($1::text[]) WITH ORDINALITY AS one (key, place) ORDER BY place OFFSET 0)"
            " AS ordered",
            [f"{KIND} {owner} {period_start}" for owner, period_start in self._weeks],
        )
        # As far as there are any.
        rows = await connection.fetch(
            LOCK_SHEETS,
            [owner for owner, _ in self._weeks],
            [period_start for _, period_start in self._weeks],
        )
        return {(row["owner_id"], row["period_start"]): row["id"] for row in rows}
