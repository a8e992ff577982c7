"""SQL of lists of timesheets. The cost of a page does not grow with the number of sheets. Postgres owns the rows.

Three query plans test rows against the condition of a Visibility; they differ only in which rows they read, and in
which order (docs/decisions/0009).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING
from uuid import UUID

from service.authorization.enforcement.merged_people import all_ids
from service.authorization.enforcement.relationships import fact_columns
from service.pacing import pace
from service.timesheets.relations import KIND, ROW
from service.timesheets.store import sheet_of

if TYPE_CHECKING:
    import asyncpg

    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.timesheets.timesheet import State, Timesheet

Place = tuple[date, UUID]
# Up to FEW visible owners, the plan reads the newest sheet of each. With more, it first tests the WINDOW newest sheets.
FEW, WINDOW = 500, 4_000
_NEWEST = "ORDER BY r.period_start DESC, r.id DESC"


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters of a list. A sheet matches `since` and `until` if any day of its week lies between them, inclusive."""

    owner: UUID | None = None
    state: State | None = None
    since: date | None = None
    until: date | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Sheets, newest period first. `after` is the keyset of the next page, None on the last page. `rows` are the rows
    of `items` with the caller's relations, if requested."""

    items: tuple[Timesheet, ...]
    after: Place | None
    rows: tuple[asyncpg.Record, ...] = ()


async def page(
    visibility: Visibility,
    connection: Connection,
    filters: Filters,
    *,
    after: Place | None,
    limit: int,
    with_relations: bool = False,
) -> Page:
    """At most `limit` visible sheets that follow `after`."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    listing = _Listing(visibility, filters, after, limit + 1, with_relations=with_relations)
    found = await listing.rows(connection)
    # A page may hold 100,000 entries.
    items = tuple([sheet_of(row) async for row in pace(found[:limit])])
    following = (items[-1].period_start, items[-1].id) if len(found) > limit else None
    return Page(items, following, tuple(found[:limit]) if with_relations else ())


class _Listing:
    """The statements for one page of `most` rows. Their parameters are the caller's, `most`, and those of the
    filters."""

    def __init__(
        self, visibility: Visibility, filters: Filters, after: Place | None, most: int, *, with_relations: bool
    ) -> None:
        self.visibility, self.owner, self.most = visibility, filters.owner, most
        self.parameters: list[object] = [*visibility.parameters, most]
        templates = {
            "r.state = {}::text": filters.state,
            "r.period_start >= {}::date - 6": filters.since,
            "r.period_start <= {}::date": filters.until,
            "(r.period_start, r.id) < ({}::date, {}::uuid)": after,
        }
        conditions = [self._bind(template, value) for template, value in templates.items() if value is not None]
        self.filters = " AND ".join(conditions) or "true"
        self.columns = f"{ROW}, {fact_columns(visibility.facts)}" if with_relations else ROW

    async def rows(self, connection: Connection) -> list[asyncpg.Record]:
        """The rows of the page, by the plan that reads the fewest."""
        reach = self.visibility.reach
        if self.owner is not None:
            # Every id of the owner.
            owners = await connection.fetchval(f"SELECT {all_ids('$1::uuid')}", self.owner)
            return await self._of_owners(connection, owners)
        if reach is None:
            return await self._newest(connection)
        # The owners whose sheets may be visible, unless they are many.
        few = await connection.fetch(f"{reach} LIMIT {FEW + 1}", *self.visibility.parameters)
        if len(few) <= FEW:
            return await self._of_owners(connection, [row["owner_id"] for row in few])
        found = await self._newest(connection, within=WINDOW)
        return found if len(found) == self.most else await self._of_owners(connection, None)

    async def _newest(self, connection: Connection, within: int | None = None) -> list[asyncpg.Record]:
        """Read sheets in order and test each, until the page is full; `within`: of so many sheets at most."""
        looked_at = f"(SELECT r.* FROM timesheet AS r WHERE {self.filters} {_NEWEST} LIMIT {within})"
        source = f"{looked_at} AS r WHERE" if within else f"timesheet AS r WHERE {self.filters} AND"
        # Visible sheets in keyset order; entries are read for the sheets of the page only.
        return await connection.fetch(
            f"SELECT {self.columns} FROM (SELECT r.* FROM {source} {self.visibility.condition} {_NEWEST} LIMIT $3) AS r"
            f" {_NEWEST}",
            *self.parameters,
        )

    async def _of_owners(self, connection: Connection, owners: list[UUID] | None) -> list[asyncpg.Record]:
        """Read sheets of these owners, or of all owners that the visibility reaches. The sheets of a page belong to the
        owners with the newest sheets, and none is older than the oldest of those."""
        condition = f"{self.filters} AND {self.visibility.condition}"
        given = [] if owners is None else [owners]
        source = f"unnest(${len(self.parameters) + 1}::uuid[])" if given else f"({self.visibility.reach})"
        # The newest visible sheet of each owner by timesheet_owner_period, then the sheets of the owners with the
        # newest.
        return await connection.fetch(
            f"""
            WITH newest AS MATERIALIZED (
                SELECT reached.owner_id, r.period_start, r.id
                FROM (SELECT DISTINCT owner_id FROM {source} AS given (owner_id)) AS reached CROSS JOIN LATERAL (
                    SELECT r.period_start, r.id FROM timesheet AS r
                    WHERE r.owner_id = reached.owner_id AND {condition} {_NEWEST} LIMIT 1) AS r
                {_NEWEST} LIMIT $3)
            SELECT {self.columns} FROM (
                SELECT r.* FROM newest CROSS JOIN LATERAL (
                    SELECT r.* FROM timesheet AS r
                    WHERE r.owner_id = newest.owner_id AND {condition} AND r.period_start >= coalesce(
                        (SELECT r.period_start FROM newest AS r {_NEWEST} OFFSET $3 - 1 LIMIT 1), '-infinity')
                    {_NEWEST} LIMIT $3) AS r
                {_NEWEST} LIMIT $3) AS r
            {_NEWEST}
            """,
            *self.parameters,
            *given,
        )

    def _bind(self, template: str, value: object) -> str:
        """Fill the template with the numbers of new parameters."""
        values = value if isinstance(value, tuple) else (value,)
        first = len(self.parameters) + 1
        self.parameters += values
        return template.format(*(f"${first + place}" for place in range(len(values))))
