"""SQL of uploads: locks the weeks of many people in one order. Postgres holds the locks, which return no data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.authorization.enforcement.merged_people import KEEP_PEOPLE_APART, all_ids
from service.authorization.enforcement.person_references import find_erased, find_ids
from service.errors import TryLater
from service.timesheets.relations import KIND

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence
    from uuid import UUID

    from service.database import Connection
    from service.timesheets.upload_rows import Week

# The sheets of the given weeks, locked in the order of `store.lock_many`: that of the ids which they are stored under.
# People who were merged may have several: first those that the client $3 uploaded to before, then that of the
# canonical id.
LOCK_SHEETS = f"""
    WITH locked AS (
        SELECT week.owner_id, week.period_start, r.id, r.owner_id = week.owner_id AS canonical,
               coalesce($3::text = ANY (r.uploaders), false) AS known
        FROM unnest($1::uuid[], $2::date[]) AS week (owner_id, period_start)
        JOIN timesheet AS r ON r.owner_id = ANY ({all_ids("week.owner_id")}) AND r.period_start = week.period_start
        ORDER BY r.owner_id, r.period_start FOR UPDATE OF r)
    SELECT owner_id, period_start, id FROM locked ORDER BY known DESC, canonical DESC, id
"""
ERASED_MEANWHILE = "One of these people was just erased; send the rows again"
MERGED_MEANWHILE = "One of these people was just merged with another; send the rows again"


class WeekLocks:
    """Locks for Targets. The lock of the first of the sorted `weeks` locks all of them, each as `lock_week` does. Every
    upload locks weeks in this order, and then sheets in that of all requests, so that none can deadlock. Owners are
    given by their canonical ids. `client` uploads."""

    def __init__(self, weeks: Sequence[Week], client: str | None) -> None:
        self._weeks = weeks
        self._client = client
        self._sheets: dict[Week, list[UUID]] = {}
        self._erased: set[UUID] = set()

    def of(self, place: int) -> Callable[[Connection], Awaitable[UUID | None]]:
        """The lock of one week; it returns the id of its sheet, or None."""

        async def take(connection: Connection) -> UUID | None:
            if place == 0:
                self._sheets = await self._lock_all(connection)
            return next(iter(self._sheets.get(self._weeks[place], ())), None)

        return take

    def other_sheets(self, week: Week) -> Sequence[UUID]:
        """The ids of further sheets of a locked week, which people who were merged may have."""
        return self._sheets.get(week, [])[1:]

    def is_erased(self, owner: UUID) -> bool:
        """Whether the owner of a locked week was erased before."""
        return owner in self._erased

    async def _lock_all(self, connection: Connection) -> dict[Week, list[UUID]]:
        # Weeks with or without a sheet, one after the other; two with the same hash wait for each other.
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(key, 0))"
            " FROM (SELECT key FROM unnest($1::text[]) WITH ORDINALITY AS week (key, place) ORDER BY place OFFSET 0)"
            " AS ordered",
            [f"{KIND} {owner} {period_start}" for owner, period_start in self._weeks],
        )
        owners = {owner for owner, _ in self._weeks}
        ids = await find_ids(connection, owners)
        # The sheets of these weeks that exist.
        rows = await connection.fetch(
            LOCK_SHEETS,
            [owner for owner, _ in self._weeks],
            [period_start for _, period_start in self._weeks],
            self._client,
        )
        found: dict[Week, list[UUID]] = {}
        for row in rows:
            found.setdefault((row["owner_id"], row["period_start"]), []).append(row["id"])
        # The last lock: from now on no merge commits before the new sheets do. One that did meanwhile has another id,
        # with a lock of its own, under which the same week may have been opened.
        await connection.execute(f"SELECT {KEEP_PEOPLE_APART}")
        now = await find_ids(connection, owners)
        if now != ids or any(canonical != owner for owner, (canonical, _) in now.items()):
            raise TryLater(MERGED_MEANWHILE, cause="an owner in an upload was merged meanwhile")
        self._erased = await find_erased(connection, owners)
        return found


async def refuse_erased(connection: Connection, owners: Collection[UUID]) -> None:
    """Raise TryLater if one of these owners of new sheets was erased. The insert waited for an erasure that looked for
    sheets before these existed."""
    if await find_erased(connection, owners):
        raise TryLater(ERASED_MEANWHILE, cause="an owner in an upload was erased meanwhile")
