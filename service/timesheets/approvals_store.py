"""SQL of pending approvals and reminders. Postgres owns the rows.

The oldest submission comes first; approvals that do not decide change no order. As in `listing`, three query plans
test rows against the condition of a Visibility; they differ in which rows they read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from service.authorization.enforcement.decision_point import Resource
from service.authorization.enforcement.fact_statements import bind_listed, fact_columns
from service.pacing import pace_page
from service.timesheets.approvers import find_approvers
from service.timesheets.relations import KIND, list_approvers
from service.timesheets.sheet_columns import approved_by_caller, columns_of
from service.timesheets.store import sheet_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import asyncpg

    from service.authorization.enforcement.changes import Permit
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.timesheets.timesheet import Timesheet

Place = tuple[datetime, UUID]
DIRECTORY = "directory"
# Up to FEW visible owners, the plan reads the sheets of each. With more, it first tests the WINDOW oldest sheets.
FEW, WINDOW = 500, 4_000
_OLDEST = "ORDER BY r.submitted_at, r.id"


@dataclass(frozen=True, slots=True)
class PendingPage:
    """Sheets that the caller may approve, oldest first, with their rows, which hold the caller's relations. `after` is
    the keyset of the next page, None on the last page."""

    items: tuple[tuple[Timesheet, asyncpg.Record], ...]
    after: Place | None


async def list_pending(
    visibility: Visibility,
    connection: Connection,
    *,
    after: Place | None,
    limit: int,
    with_entries: bool = True,
) -> PendingPage:
    """At most `limit` pending approvals that follow `after`; without entries, the sheets have none."""
    if visibility.kind != KIND or visibility.action != "approve":
        raise PermissionError("the visibility is of something else")
    approved = approved_by_caller(visibility.snapshot, visibility.facts)
    conditions = f"r.state = 'submitted' AND NOT {bind_listed(approved)}"
    parameters: list[object] = [*visibility.parameters, limit + 1]
    if after is not None:
        conditions += " AND (r.submitted_at, r.id) > ($4::timestamptz, $5::uuid)"
        parameters += after
    points: list[str] = []
    if visibility.points is not None:
        # The projects of the caller: most have none.
        points = [row["point"] for row in await connection.fetch(visibility.points, *visibility.parameters)]
    query = _Query(
        connection,
        f"{columns_of(visibility.snapshot, visibility.facts, entries=with_entries)}, {fact_columns(visibility.facts)}",
        conditions,
        visibility.condition if points else visibility.condition_without_points(),
        parameters,
    )
    found = await _of_visible_owners(query, visibility)
    if points:
        found = _merge_oldest([*found, *await _at_points(query, points)], limit + 1)
    items = tuple([(sheet_of(row), row) async for row in pace_page(found[:limit])])
    following = (found[limit - 1]["submitted_at"], found[limit - 1]["id"]) if len(found) > limit else None
    return PendingPage(items, following)


@dataclass(frozen=True, slots=True)
class _Query:
    """SQL of the columns of a page and of what its rows `r` must meet: `conditions` of the request, and `visible`, the
    condition of the visibility. `parameters` are those of the visibility, the rows of a page, and others."""

    connection: Connection
    columns: str
    conditions: str
    visible: str
    parameters: list[object]

    @property
    def next_parameter(self) -> str:
        return f"${len(self.parameters) + 1}"

    async def fetch(self, source: str, *further: object) -> list[asyncpg.Record]:
        """Read the oldest page of a SELECT of rows; entries are read for the sheets of the page only."""
        # By the indexes of the source.
        return await self.connection.fetch(
            f"SELECT {self.columns} FROM ({source} {_OLDEST} LIMIT $3) AS r {_OLDEST}", *self.parameters, *further
        )


async def _of_visible_owners(query: _Query, visibility: Visibility) -> list[asyncpg.Record]:
    if visibility.reach is None:
        return await _oldest(query)
    # The owners whose sheets the caller may be able to approve, unless they are many.
    few = await query.connection.fetch(f"{visibility.reach} LIMIT {FEW + 1}", *visibility.parameters)
    if len(few) <= FEW:
        source = f"unnest({query.next_parameter}::uuid[])"
        return await _of_owners(query, source, [row["owner_id"] for row in few])
    found = await _oldest(query, within=WINDOW)
    if len(found) == query.parameters[2]:
        return found
    return await _of_owners(query, f"({visibility.reach})")


async def _at_points(query: _Query, points: list[str]) -> list[asyncpg.Record]:
    """Read sheets with hours on these projects, of weeks in which any sheet waits. If there are many, test the sheets
    that wait in order."""
    # The weeks by timesheet_state_period, one after another, and their entries by entry_project.
    found = await query.connection.fetch(
        f"""
        WITH RECURSIVE week AS (
            SELECT max(period_start) AS monday FROM timesheet WHERE state = 'submitted'
            UNION ALL SELECT (SELECT max(r.period_start) FROM timesheet AS r
                              WHERE r.state = 'submitted' AND r.period_start < week.monday)
            FROM week WHERE week.monday IS NOT NULL)
        SELECT DISTINCT e.timesheet_id AS id
        FROM unnest($1::text[]) AS point CROSS JOIN week CROSS JOIN LATERAL (
            SELECT e.timesheet_id FROM entry AS e
            WHERE e.project = point AND e.day >= week.monday AND e.day < week.monday + 7 OFFSET 0) AS e
        LIMIT {WINDOW + 1}
        """,
        points,
    )
    if len(found) <= WINDOW:
        source = f"""
            SELECT r.* FROM unnest({query.next_parameter}::uuid[]) AS given (id) CROSS JOIN LATERAL (
                SELECT r.* FROM timesheet AS r
                WHERE r.id = given.id AND {query.conditions} AND {query.visible} OFFSET 0) AS r
        """
        return await query.fetch(source, [row["id"] for row in found])
    at_points = f"""
        EXISTS (SELECT FROM entry AS e WHERE e.timesheet_id = r.id
                    AND e.project = ANY ({query.next_parameter}::text[]) OFFSET 0)
    """
    return await _oldest(replace(query, conditions=f"{query.conditions} AND {at_points}"), points)


def _merge_oldest(rows: Iterable[asyncpg.Record], most: int) -> list[asyncpg.Record]:
    """The oldest of these sheets, each once."""
    by_id = {row["id"]: row for row in rows}
    return sorted(by_id.values(), key=lambda row: (row["submitted_at"], row["id"]))[:most]


async def _oldest(query: _Query, *further: object, within: int | None = None) -> list[asyncpg.Record]:
    """Read sheets in order by timesheet_waiting and test each, until the page is full; `within`: of so many sheets at
    most."""
    looked_at = f"(SELECT r.* FROM timesheet AS r WHERE {query.conditions} {_OLDEST} LIMIT {within})"
    source = f"{looked_at} AS r WHERE" if within else f"timesheet AS r WHERE {query.conditions} AND"
    return await query.fetch(f"SELECT r.* FROM {source} {query.visible}", *further)


async def _of_owners(query: _Query, owners: str, *further: object) -> list[asyncpg.Record]:
    """Read the oldest submitted sheets of each of these owners by timesheet_owner_waiting, then the oldest of all."""
    source = f"""
        SELECT r.* FROM (SELECT DISTINCT owner_id FROM {owners} AS given (owner_id)) AS reached CROSS JOIN LATERAL (
            SELECT r.* FROM timesheet AS r
            WHERE r.owner_id = reached.owner_id AND {query.conditions} AND {query.visible} {_OLDEST} LIMIT $3) AS r
    """
    return await query.fetch(source, *further)


@dataclass(frozen=True, slots=True)
class OverdueSheet:
    """A sheet, the time of its submission, and the people who may approve it by the directory: at most
    MAX_APPROVERS_LISTED."""

    sheet: Resource
    since: datetime
    approvers: tuple[UUID, ...]


async def mark_reminded(permit: Permit, connection: Connection, days: int, most: int) -> list[OverdueSheet]:
    """Store a reminder for at most `most` sheets that were submitted more than `days` days ago and have had no reminder
    within a day; returns these sheets."""
    permit.covers(DIRECTORY, "manage")
    needs_others = permit.snapshot.vocabulary.approval is not None
    approvers = list_approvers(find_approvers(permit.snapshot).values(), others=needs_others)
    # Sheets that another transaction is changing are skipped. ON CONFLICT skips sheets for which a concurrent job has
    # stored a reminder since this statement began.
    rows = await connection.fetch(
        f"""
        WITH due AS MATERIALIZED (
            SELECT r.id, r.owner_id, r.state, r.version, r.submitted_at, r.editors, r.earlier_approvals
            FROM timesheet AS r LEFT JOIN reminder AS last ON last.timesheet_id = r.id
            WHERE r.state = 'submitted' AND r.submitted_at < clock_timestamp() - make_interval(days => $1)
                AND (last.at IS NULL OR last.at < clock_timestamp() - interval '1 day')
            ORDER BY r.submitted_at, r.id LIMIT $2 FOR UPDATE OF r SKIP LOCKED),
        stored AS (
            INSERT INTO reminder (timesheet_id) SELECT id FROM due
            ON CONFLICT (timesheet_id) DO UPDATE SET at = clock_timestamp()
                WHERE reminder.at < clock_timestamp() - interval '1 day' RETURNING timesheet_id)
        SELECT r.*, {approvers} AS approvers FROM due AS r JOIN stored ON stored.timesheet_id = r.id
        ORDER BY r.submitted_at, r.id
        """,
        days,
        most,
    )
    return [
        OverdueSheet(
            Resource(KIND, str(row["id"]), row["owner_id"], row["state"], row["version"]),
            row["submitted_at"],
            tuple(row["approvers"]),
        )
        for row in rows
    ]
