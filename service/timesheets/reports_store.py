"""SQL of reports: sums of minutes of the sheets that the caller may read. Postgres owns the rows.

First come the visible sheets, by the condition of a Visibility, then their totals, in the same snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import asyncpg

from service.authorization.enforcement.merged_people import all_ids
from service.authorization.enforcement.person_references import find_listed_person
from service.authorization.enforcement.team_references import find_listed_team
from service.timesheets.listing import IN_TEAM, OWNERS_IN_TEAM
from service.timesheets.relations import KIND
from service.timesheets.sheet_columns import APPROVAL_IDS, approvals_needed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import date
    from uuid import UUID

    from service.authorization.enforcement.person_references import NamedPerson
    from service.authorization.enforcement.team_references import NamedTeam
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.timesheets.timesheet import State

GroupBy = Literal["person", "project", "team", "week", "day", "activity"]


@dataclass(frozen=True, slots=True)
class Span:
    """The days of a report, from `since` to `until`, inclusive, and its filters. With `projects`, only hours on them
    count, and only the timesheets with such hours; with `team`, only the timesheets of its present members, and of
    those of teams below."""

    since: date
    until: date
    states: tuple[State, ...] = ()
    owner: NamedPerson | None = None
    projects: tuple[str, ...] = ()
    team: NamedTeam | None = None


@dataclass(frozen=True, slots=True)
class Total:
    """The minutes of one key: a person's or team's id, a project's or activity's code, a day or a week's Monday; None
    for people without a team and hours without an activity. `then` is the second key of a report by two. Some of the
    minutes are `billable`, some of `absence`. `sheets` is the number of sheets of the key, also without minutes; these
    have `approvals_given` and need `approvals_needed` in all, None if that is unknown of a sheet. `name` and
    `then_name` are the names of the keys, if the caller may see them."""

    key: str | None
    minutes: int
    sheets: int
    approvals_given: int
    approvals_needed: int | None
    billable: int = 0
    absence: int = 0
    then: str | None = None
    name: str | None = None
    then_name: str | None = None


# Owners by their canonical id.
_OWNERS: Final = "LEFT JOIN merged_person AS merged ON merged.person_id = r.owner_id"
# A person's teams on a day are those of which they were a member at noon, in the sheet's time zone. Before their first
# membership, they count in the teams of that membership.
_TEAMS: Final = """
    LEFT JOIN (SELECT canonical.id AS person_id, m.team_id AS id, m.valid_to,
                      CASE WHEN m.valid_from = min(m.valid_from) OVER (PARTITION BY canonical.id) THEN '-infinity'
                           ELSE m.valid_from END AS since
               FROM membership AS m
               LEFT JOIN merged_person AS into_other ON into_other.person_id = m.person_id
               CROSS JOIN LATERAL (SELECT coalesce(into_other.into_id, m.person_id) AS id) AS canonical
               WHERE m.part = 'member' AND m.valid_from < m.valid_to) AS t
    ON t.person_id = coalesce(merged.into_id, r.owner_id)
        AND t.since <= (coalesce(e.day, r.period_start) + time '12:00') AT TIME ZONE {zone}
        AND (coalesce(e.day, r.period_start) + time '12:00') AT TIME ZONE {zone} < t.valid_to
"""
_ZONE: Final = "r.time_zone"
# UTC where this Postgres does not know the sheet's zone: names of zones are dropped now and then. It takes 15 ms.
_KNOWN_ZONE: Final = f"""
    CASE WHEN {_ZONE} = ANY (ARRAY(SELECT name FROM pg_timezone_names)) THEN {_ZONE} ELSE 'UTC' END
"""
# The expressions of keys.
_KEYS: Final[Mapping[GroupBy, str]] = {
    "person": "coalesce(merged.into_id, r.owner_id)::text",
    "project": "e.project",
    "week": "r.period_start::text",
    "team": "t.id::text",
    "day": "e.day::text",
    "activity": "e.activity",
}
# The entries `e` of a report; parameters 2 to 4 are those of its span.
_ENTRIES: Final = "e.day BETWEEN $2::date AND $3::date AND ($4::text[] IS NULL OR e.project = ANY ($4))"
# Keys of entries: a sheet without entries has none.
_OF_ENTRIES: Final = frozenset({"project", "day", "activity"})


def _join(groups: Collection[GroupBy], zone: str = _ZONE) -> str:
    """The joins that the keys need; `zone` is the expression for a sheet's time zone."""
    owners = _OWNERS if not {"person", "team"}.isdisjoint(groups) else ""
    return owners + (_TEAMS.format(zone=zone) if "team" in groups else "")


async def find_visible_sheets(visibility: Visibility, connection: Connection, span: Span, most: int) -> list[UUID]:
    """At most `most` visible sheets with a day in the span, by id. Raises InvalidField for an unknown owner."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    owner = await find_listed_person(visibility, connection, span.owner, "query.owner")
    conditions = (
        "r.period_start >= $4::date - 6 AND r.period_start <= $5::date"
        " AND ($6::text[] IS NULL OR r.state = ANY ($6)) AND ($7::uuid IS NULL OR "
        f"r.owner_id = ANY({all_ids('$7::uuid')})) AND {visibility.condition}"
    )
    parameters: list[object] = [*visibility.parameters, most, span.since, span.until, list(span.states) or None, owner]
    reach, points = visibility.reach, visibility.points
    if span.projects:
        parameters.append(list(span.projects))
        # By entry_timesheet.
        conditions += (
            f" AND EXISTS (SELECT FROM entry AS f WHERE f.timesheet_id = r.id AND f.project = ANY (${len(parameters)}"
            "::text[]) AND f.day BETWEEN $4::date AND $5::date)"
        )
    if (team := await find_listed_team(visibility, connection, span.team, "query.team")) is not None:
        parameters.append(team)
        conditions += f" AND {IN_TEAM.format(f'${len(parameters)}')}"
        reach, points = OWNERS_IN_TEAM.format(f"${len(parameters)}"), None
    source = f"timesheet AS r WHERE {conditions}"
    if reach is not None:
        source = f"""
            (SELECT DISTINCT owner_id FROM ({reach}) AS given) AS reached CROSS JOIN LATERAL (
                SELECT r.id FROM timesheet AS r WHERE r.owner_id = reached.owner_id AND {conditions}) AS r
        """
    rows = f"SELECT r.id FROM {source}"
    if points is not None:
        # Entries of these sheets, by entry_project.
        rows = f"""
            {rows} UNION SELECT r.id FROM (
                SELECT DISTINCT e.timesheet_id AS id FROM ({points}) AS point CROSS JOIN LATERAL (
                    SELECT e.timesheet_id FROM entry AS e
                    WHERE e.project = point.point AND e.day BETWEEN $4::date - 6 AND $5::date + 6 OFFSET 0) AS e
                ) AS given
            CROSS JOIN LATERAL (SELECT r.id FROM timesheet AS r WHERE r.id = given.id AND {conditions} OFFSET 0) AS r
        """
    # By timesheet_owner_period for the owners of the team or those that the visibility reaches, or by timesheet_period.
    found = await connection.fetch(f"SELECT found.id FROM ({rows}) AS found LIMIT $3", *parameters)
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


async def sum_by_key(
    connection: Connection, approvals: SheetApprovals, span: Span, by: GroupBy, then: GroupBy | None = None
) -> tuple[Total, ...]:
    """The minutes in the span of these sheets, by one key or by two. By team, a time zone that Postgres does not know
    counts as UTC."""
    if "team" not in {by, then}:
        return await _sum_by_key(connection, approvals, span, by, then, _ZONE)
    try:
        # In a savepoint, so that the transaction goes on after an unknown zone.
        async with connection.transaction():
            return await _sum_by_key(connection, approvals, span, by, then, _ZONE)
    except asyncpg.InvalidParameterValueError:
        return await _sum_by_key(connection, approvals, span, by, then, _KNOWN_ZONE)


async def _sum_by_key(
    connection: Connection, approvals: SheetApprovals, span: Span, by: GroupBy, then: GroupBy | None, zone: str
) -> tuple[Total, ...]:
    groups = [by] if then is None else [by, then]
    key, second = _KEYS[by], "NULL::text" if then is None else _KEYS[then]
    # A sheet without entries counts by every key but those of entries. A person who is a member twice counts once.
    rows = await connection.fetch(
        f"""
        SELECT key, sum(minutes)::bigint AS minutes, count(*) AS sheets, sum(approvals.given)::bigint AS given,
               CASE WHEN count(approvals.needed) = count(*) THEN sum(approvals.needed)::bigint END AS needed,
               sum(billable)::bigint AS billable, sum(absence)::bigint AS absence, second
        FROM (
            SELECT key, second, sheet, coalesce(sum(minutes), 0) AS minutes,
                   coalesce(sum(minutes) FILTER (WHERE billable), 0) AS billable,
                   coalesce(sum(minutes) FILTER (WHERE absence), 0) AS absence
            FROM (
                SELECT DISTINCT r.id AS sheet, e.id, e.minutes, e.billable, known.kind = 'absence' AS absence,
                       {key} AS key, {second} AS second
                FROM timesheet AS r
                LEFT JOIN entry AS e ON e.timesheet_id = r.id AND {_ENTRIES}
                LEFT JOIN project AS known ON known.code = e.project
                {_join(groups, zone)}
                WHERE r.id = ANY($1::uuid[]) AND ({"true" if _OF_ENTRIES.isdisjoint(groups) else "e.id IS NOT NULL"})
                ) AS counted
            GROUP BY 1, 2, 3) AS of_sheet
        JOIN unnest($1::uuid[], $5::integer[], $6::integer[]) AS approvals (id, given, needed)
            ON approvals.id = of_sheet.sheet
        GROUP BY key, second ORDER BY key NULLS LAST, second NULLS LAST
        """,
        approvals.sheets,
        *_parameters(span),
        approvals.given,
        approvals.needed,
    )
    return tuple(Total(*row.values()) for row in rows)


async def find_keys(connection: Connection, sheets: Collection[UUID], span: Span, by: GroupBy) -> list[str]:
    """The keys of these sheets, which are people or projects."""
    # Sheets by their primary keys, with their entries in the span.
    rows = await connection.fetch(
        f"SELECT DISTINCT {_KEYS[by]} AS key FROM timesheet AS r"
        f" LEFT JOIN entry AS e ON e.timesheet_id = r.id AND {_ENTRIES}"
        f" {_join([by])} WHERE r.id = ANY($1::uuid[])",
        list(sheets),
        *_parameters(span),
    )
    return [row["key"] for row in rows if row["key"] is not None]


async def sum_all(connection: Connection, approvals: SheetApprovals, span: Span) -> Total:
    """The sums over all sheets. Totals by team may add up to more, because a person may be in two teams."""
    # Entries on the days of the span.
    minutes, billable, absence = await connection.fetchrow(  # type: ignore[misc]  # sums are always one row
        "SELECT coalesce(sum(e.minutes), 0)::bigint, coalesce(sum(e.minutes) FILTER (WHERE e.billable), 0)::bigint,"
        " coalesce(sum(e.minutes) FILTER (WHERE known.kind = 'absence'), 0)::bigint"
        " FROM entry AS e LEFT JOIN project AS known ON known.code = e.project"
        f" WHERE e.timesheet_id = ANY($1::uuid[]) AND {_ENTRIES}",
        approvals.sheets,
        *_parameters(span),
    )
    known = [number for number in approvals.needed if number is not None]
    needed = sum(known) if len(known) == len(approvals.needed) else None
    return Total(None, minutes, len(approvals.sheets), sum(approvals.given), needed, billable, absence)


def _parameters(span: Span) -> tuple[object, ...]:
    """The parameters of _ENTRIES."""
    return span.since, span.until, list(span.projects) or None
