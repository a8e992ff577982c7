"""SQL of reports: sums of minutes of the sheets that the caller may read. Postgres owns the rows.

First come the visible sheets, by the condition of a Visibility, then their totals, in the same snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from service.authorization.enforcement.merged_people import all_ids
from service.authorization.enforcement.person_references import find_listed_person
from service.timesheets.relations import KIND
from service.timesheets.sheet_columns import APPROVAL_IDS, approvals_needed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import date
    from uuid import UUID

    from service.authorization.enforcement.person_references import NamedPerson
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.timesheets.timesheet import State

GroupBy = Literal["person", "project", "team", "week"]


@dataclass(frozen=True, slots=True)
class Span:
    """The days of a report, from `since` to `until`, inclusive, and its filters."""

    since: date
    until: date
    state: State | None = None
    owner: NamedPerson | None = None


@dataclass(frozen=True, slots=True)
class Total:
    """The minutes of one key: a person's or team's id, a project's code, a week's Monday, or None for people without a
    team. `name` is a team's name. `sheets` is the number of sheets of the key, also without minutes; these have
    `approvals_given` and need `approvals_needed` in all, None if that is unknown of a sheet."""

    key: str | None
    name: str | None
    minutes: int
    sheets: int
    approvals_given: int
    approvals_needed: int | None


# Owners by their canonical id.
_OWNERS: Final = "LEFT JOIN merged_person AS merged ON merged.person_id = r.owner_id"
# A person's teams on a day are those of which they were a member at noon, in the sheet's time zone. Before their first
# membership, they count in the teams of that membership.
_TEAMS: Final = f"""
    {_OWNERS}
    LEFT JOIN (SELECT canonical.id AS person_id, m.team_id AS id, team.name, m.valid_to,
                      CASE WHEN m.valid_from = min(m.valid_from) OVER (PARTITION BY canonical.id) THEN '-infinity'
                           ELSE m.valid_from END AS since
               FROM membership AS m JOIN team ON team.id = m.team_id
               LEFT JOIN merged_person AS into_other ON into_other.person_id = m.person_id
               CROSS JOIN LATERAL (SELECT coalesce(into_other.into_id, m.person_id) AS id) AS canonical
               WHERE m.part = 'member' AND m.valid_from < m.valid_to) AS t
    ON t.person_id = coalesce(merged.into_id, r.owner_id)
        AND t.since <= (coalesce(e.day, r.period_start) + time '12:00') AT TIME ZONE r.time_zone
        AND (coalesce(e.day, r.period_start) + time '12:00') AT TIME ZONE r.time_zone < t.valid_to
"""
# The expressions of key and name, and the joins that they need.
_GROUPS: Final[Mapping[GroupBy, tuple[str, str, str]]] = {
    "person": ("coalesce(merged.into_id, r.owner_id)::text", "NULL::text", _OWNERS),
    "project": ("e.project", "NULL::text", ""),
    "week": ("r.period_start::text", "NULL::text", ""),
    "team": ("t.id::text", "t.name", _TEAMS),
}


async def find_visible_sheets(visibility: Visibility, connection: Connection, span: Span, most: int) -> list[UUID]:
    """At most `most` visible sheets with a day in the span, by id. Raises InvalidField for an unknown owner."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    owner = None
    if span.owner is not None:
        owner = await find_listed_person(visibility, connection, span.owner, "query.owner")
    conditions = (
        "r.period_start >= $4::date - 6 AND r.period_start <= $5::date"
        " AND ($6::text IS NULL OR r.state = $6) AND ($7::uuid IS NULL OR "
        f"r.owner_id = ANY({all_ids('$7::uuid')})) AND {visibility.condition}"
    )
    source = f"timesheet AS r WHERE {conditions}"
    if visibility.reach is not None:
        source = f"""
            (SELECT DISTINCT owner_id FROM ({visibility.reach}) AS given) AS reached CROSS JOIN LATERAL (
                SELECT r.id FROM timesheet AS r WHERE r.owner_id = reached.owner_id AND {conditions}) AS r
        """
    rows = f"SELECT r.id FROM {source}"
    if visibility.points is not None:
        # Entries of these sheets, by entry_project.
        rows = f"""
            {rows} UNION SELECT r.id FROM (
                SELECT DISTINCT e.timesheet_id AS id FROM ({visibility.points}) AS point CROSS JOIN LATERAL (
                    SELECT e.timesheet_id FROM entry AS e
                    WHERE e.project = point.point AND e.day BETWEEN $4::date - 6 AND $5::date + 6 OFFSET 0) AS e
                ) AS given
            CROSS JOIN LATERAL (SELECT r.id FROM timesheet AS r WHERE r.id = given.id AND {conditions} OFFSET 0) AS r
        """
    # By timesheet_owner_period for the owners that the visibility reaches, or by timesheet_period.
    found = await connection.fetch(
        f"SELECT found.id FROM ({rows}) AS found LIMIT $3",
        *visibility.parameters,
        most,
        span.since,
        span.until,
        span.state,
        owner,
    )
    return sorted(row["id"] for row in found)


@dataclass(frozen=True, slots=True)
class SheetApprovals:
    """How many approvals each of some sheets has and needs, None if unknown; in the order of `sheets`."""

    sheets: tuple[UUID, ...]
    given: tuple[int, ...]
    needed: tuple[int | None, ...]


async def load_approvals(visibility: Visibility, connection: Connection, sheets: Sequence[UUID]) -> SheetApprovals:
    """The approvals of these sheets, which the visibility found in the same transaction."""
    needed = approvals_needed(visibility.snapshot.vocabulary.approval, visibility.facts)
    # By their primary keys.
    rows = await connection.fetch(
        f"SELECT r.id, cardinality({APPROVAL_IDS}), {needed} FROM timesheet AS r WHERE r.id = ANY($1::uuid[])", sheets
    )
    return (
        SheetApprovals(*(tuple(column) for column in zip(*rows, strict=True))) if rows else SheetApprovals((), (), ())
    )


async def sum_by_key(connection: Connection, approvals: SheetApprovals, span: Span, by: GroupBy) -> tuple[Total, ...]:
    """The minutes in the span of these sheets, by key."""
    key, name, joined = _GROUPS[by]
    # A sheet without entries counts by every key but the project. A person who is a member twice counts once.
    rows = await connection.fetch(
        f"""
        SELECT key, name, sum(minutes)::bigint AS minutes, count(*) AS sheets, sum(approvals.given)::bigint AS given,
               CASE WHEN count(approvals.needed) = count(*) THEN sum(approvals.needed)::bigint END AS needed
        FROM (
            SELECT key, name, sheet, coalesce(sum(minutes), 0) AS minutes FROM (
                SELECT DISTINCT r.id AS sheet, e.id, e.minutes, {key} AS key, {name} AS name
                FROM timesheet AS r
                LEFT JOIN entry AS e ON e.timesheet_id = r.id AND e.day BETWEEN $2::date AND $3::date
                {joined}
                WHERE r.id = ANY($1::uuid[]) AND ({"e.id IS NOT NULL" if by == "project" else "true"})) AS counted
            GROUP BY 1, 2, 3) AS of_sheet
        JOIN unnest($1::uuid[], $4::integer[], $5::integer[]) AS approvals (id, given, needed)
            ON approvals.id = of_sheet.sheet
        GROUP BY 1, 2 ORDER BY 1 NULLS LAST
        """,
        approvals.sheets,
        span.since,
        span.until,
        approvals.given,
        approvals.needed,
    )
    return tuple(Total(*row.values()) for row in rows)


async def find_keys(connection: Connection, sheets: Collection[UUID], span: Span, by: GroupBy) -> list[str]:
    """The keys of these sheets, which are people or projects."""
    key, _, joined = _GROUPS[by]
    # Sheets by their primary keys, with their entries in the span.
    rows = await connection.fetch(
        f"SELECT DISTINCT {key} AS key FROM timesheet AS r"
        " LEFT JOIN entry AS e ON e.timesheet_id = r.id AND e.day BETWEEN $2::date AND $3::date"
        f" {joined} WHERE r.id = ANY($1::uuid[])",
        list(sheets),
        span.since,
        span.until,
    )
    return [row["key"] for row in rows if row["key"] is not None]


async def sum_all(connection: Connection, approvals: SheetApprovals, span: Span) -> Total:
    """The sums over all sheets. Totals by team may add up to more, because a person may be in two teams."""
    # Entries on the days of the span.
    minutes = await connection.fetchval(
        "SELECT coalesce(sum(minutes), 0)::bigint FROM entry"
        " WHERE timesheet_id = ANY($1::uuid[]) AND day BETWEEN $2::date AND $3::date",
        approvals.sheets,
        span.since,
        span.until,
    )
    known = [number for number in approvals.needed if number is not None]
    needed = sum(known) if len(known) == len(approvals.needed) else None
    return Total(None, None, minutes, len(approvals.sheets), sum(approvals.given), needed)
