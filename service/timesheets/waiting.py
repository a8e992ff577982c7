"""SQL of what waits for approval: submitted sheets that the asker may approve, in the order of their submission.

Postgres owns the rows. A submitted sheet is frozen, so it was handed in when it was last changed. As in `listing`,
every path asks each row the one condition of a Visibility; they differ in which rows they look at.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from service.authorization.enforcement.decision_point import Resource
from service.authorization.enforcement.relationships import columns
from service.pacing import paced
from service.timesheets.relations import APPROVERS, KIND, ROW
from service.timesheets.store import sheet_of

if TYPE_CHECKING:
    from collections.abc import Collection

    import asyncpg

    from service.authorization.enforcement.permit import Permit
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.timesheets.timesheet import Timesheet

Place = tuple[datetime, UUID]
DIRECTORY = "directory"
# Whose sheets can wait for the asker is asked owner by owner while they are few; where they are many, the oldest that
# wait are asked first, so many of them.
FEW, WINDOW = 500, 4_000
_OLDEST = "ORDER BY r.updated_at, r.id"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A page of sheets that wait, longest first, with their rows, which tell what the asker is to each. `after` is the
    place to go on from, None on the last page."""

    items: tuple[tuple[Timesheet, asyncpg.Record], ...]
    after: Place | None


async def page(
    visibility: Visibility,
    connection: Connection,
    *,
    after: Place | None,
    limit: int,
) -> Waiting:
    """At most `limit` of the sheets that wait, from behind the place `after`."""
    if visibility.kind != KIND or visibility.action != "approve":
        raise PermissionError("the visibility is of something else")
    conditions = "r.state = 'submitted'"
    parameters: list[object] = [*visibility.parameters, limit + 1]
    if after is not None:
        conditions += " AND (r.updated_at, r.id) > ($4::timestamptz, $5::uuid)"
        parameters += after
    found = await _rows(visibility, connection, conditions, parameters)
    items = tuple([(sheet_of(row), row) async for row in paced(found[:limit])])
    following = (found[limit - 1]["updated_at"], found[limit - 1]["id"]) if len(found) > limit else None
    return Waiting(items, following)


async def _rows(
    visibility: Visibility, connection: Connection, conditions: str, parameters: list[object]
) -> list[asyncpg.Record]:
    if visibility.reach is None:
        return await _oldest(visibility, connection, conditions, parameters)
    # Whose sheets can wait for the asker at all, unless they are many.
    few = await connection.fetch(f"{visibility.reach} LIMIT {FEW + 1}", *visibility.parameters)
    if len(few) <= FEW:
        owners = [row["owner_id"] for row in few]
        return await _of_owners(visibility, connection, conditions, [*parameters, owners])
    found = await _oldest(visibility, connection, conditions, parameters, within=WINDOW)
    if len(found) == parameters[2]:
        return found
    return await _of_owners(visibility, connection, conditions, parameters)


async def _oldest(
    visibility: Visibility, connection: Connection, conditions: str, parameters: list[object], within: int | None = None
) -> list[asyncpg.Record]:
    """Sheets in the order of waiting, each asked whether it may be approved, until the page is full."""
    looked_at = f"(SELECT r.* FROM timesheet AS r WHERE {conditions} {_OLDEST} LIMIT {within})"
    source = f"{looked_at} AS r WHERE" if within else f"timesheet AS r WHERE {conditions} AND"
    # By timesheet_waiting; the entries of the page alone.
    return await connection.fetch(
        f"SELECT {ROW}, {columns(visibility.facts)} FROM (SELECT r.* FROM {source} {visibility.condition} {_OLDEST}"
        f" LIMIT $3) AS r {_OLDEST}",
        *parameters,
    )


async def _of_owners(
    visibility: Visibility, connection: Connection, conditions: str, parameters: list[object]
) -> list[asyncpg.Record]:
    """Sheets of the owners in the last parameter, or else of all that the visibility reaches."""
    given = isinstance(parameters[-1], list)
    source = f"unnest(${len(parameters)}::uuid[])" if given else f"({visibility.reach})"
    # What waits of each owner by timesheet_owner_waiting, then the oldest of all.
    return await connection.fetch(
        f"""
        SELECT {ROW}, {columns(visibility.facts)} FROM (
            SELECT r.* FROM (SELECT DISTINCT owner_id FROM {source} AS given (owner_id)) AS one CROSS JOIN LATERAL (
                SELECT r.* FROM timesheet AS r
                WHERE r.owner_id = one.owner_id AND {conditions} AND {visibility.condition} {_OLDEST} LIMIT $3) AS r
            {_OLDEST} LIMIT $3) AS r
        {_OLDEST}
        """,
        *parameters,
    )


async def names(connection: Connection, owners: Collection[UUID]) -> dict[UUID, str]:
    """What the owners of sheets that were found visible are called, as far as they are."""
    # By primary keys; of whoever was merged, the name of the one who stays.
    rows = await connection.fetch(
        "SELECT one.id, display_name FROM unnest($1::uuid[]) AS one (id)"
        " LEFT JOIN merged_person AS merged ON merged.person_id = one.id"
        " JOIN person ON person.id = coalesce(merged.into_id, one.id) WHERE display_name IS NOT NULL",
        list(owners),
    )
    return {row["id"]: row["display_name"] for row in rows}


@dataclass(frozen=True, slots=True)
class Due:
    """A sheet that waits since a moment, and whom the directory names for its approval."""

    sheet: Resource
    since: datetime
    approvers: tuple[UUID, ...]


async def remind(permit: Permit, connection: Connection, days: int, most: int) -> list[Due]:
    """Note that approvers are reminded now of at most `most` sheets, which wait for more than `days` days and of which
    nobody was reminded within one."""
    permit.covers(DIRECTORY, "manage")
    # What is being changed at this moment is left alone; the version of a sheet is no matter of reminders. Whom another
    # job reminded since this statement began is told by the row that it left.
    rows = await connection.fetch(
        f"""
        WITH due AS MATERIALIZED (
            SELECT r.id, r.owner_id, r.state, r.version, r.updated_at, r.editors
            FROM timesheet AS r LEFT JOIN reminder AS last ON last.timesheet_id = r.id
            WHERE r.state = 'submitted' AND r.updated_at < clock_timestamp() - make_interval(days => $1)
                AND (last.at IS NULL OR last.at < clock_timestamp() - interval '1 day')
            ORDER BY r.updated_at, r.id LIMIT $2 FOR UPDATE OF r SKIP LOCKED),
        told AS (
            INSERT INTO reminder (timesheet_id) SELECT id FROM due
            ON CONFLICT (timesheet_id) DO UPDATE SET at = clock_timestamp()
                WHERE reminder.at < clock_timestamp() - interval '1 day' RETURNING timesheet_id)
        SELECT r.*, {APPROVERS} AS approvers FROM due AS r JOIN told ON told.timesheet_id = r.id
        ORDER BY r.updated_at, r.id
        """,
        days,
        most,
    )
    return [
        Due(
            Resource(KIND, str(row["id"]), row["owner_id"], row["state"], row["version"]),
            row["updated_at"],
            tuple(row["approvers"]),
        )
        for row in rows
    ]
