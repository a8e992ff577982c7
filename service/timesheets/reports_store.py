"""SQL of reports: the minutes of the sheets that the asker may read, added up. Postgres owns the rows.

First the visible sheets, by the one condition of a Visibility; then their totals, in the same snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from service.authorization.enforcement.one_person import ids
from service.timesheets.relations import KIND

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from uuid import UUID

    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.timesheets.timesheet import State

By = Literal["person", "project", "team", "week"]


@dataclass(frozen=True, slots=True)
class Span:
    """The days from `since` to `until`, both of them in it; and which sheets count, if not those of everybody and in
    any state."""

    since: date
    until: date
    state: State | None = None
    owner: UUID | None = None


@dataclass(frozen=True, slots=True)
class Total:
    """The minutes under one key: a person's or team's id, a project's code, a week's Monday; or None for those who are
    in no team. `name` is a team's. `sheets`: how many have minutes there, or could have."""

    key: str | None
    name: str | None
    minutes: int
    sheets: int


# Owners by the id that stays of them.
_OWNERS: Final = "LEFT JOIN merged_person AS merged ON merged.person_id = r.owner_id"
# A person's teams on a day are those of which they were a member at its noon, by the sheet's clock; on days before they
# were known as a member of any, those that they came to first.
_TEAMS: Final = f"""
    {_OWNERS}
    LEFT JOIN (SELECT one.id AS person_id, m.team_id AS id, team.name, m.valid_to,
                      CASE WHEN m.valid_from = min(m.valid_from) OVER (PARTITION BY one.id) THEN '-infinity'
                           ELSE m.valid_from END AS since
               FROM membership AS m JOIN team ON team.id = m.team_id
               LEFT JOIN merged_person AS went ON went.person_id = m.person_id
               CROSS JOIN LATERAL (SELECT coalesce(went.into_id, m.person_id) AS id) AS one
               WHERE m.part = 'member' AND m.valid_from < m.valid_to) AS t
    ON t.person_id = coalesce(merged.into_id, r.owner_id)
        AND t.since <= (coalesce(e.day, r.period_start) + time '12:00') AT TIME ZONE r.time_zone
        AND (coalesce(e.day, r.period_start) + time '12:00') AT TIME ZONE r.time_zone < t.valid_to
"""
# Key, name, and what has to be joined to tell them.
_GROUPS: Final[Mapping[By, tuple[str, str, str]]] = {
    "person": ("coalesce(merged.into_id, r.owner_id)::text", "NULL::text", _OWNERS),
    "project": ("e.project", "NULL::text", ""),
    "week": ("r.period_start::text", "NULL::text", ""),
    "team": ("t.id::text", "t.name", _TEAMS),
}


async def visible_sheets(visibility: Visibility, connection: Connection, span: Span, most: int) -> list[UUID]:
    """At most `most` of the sheets that may be read and have a day in the span, in the order of their ids."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    conditions = (
        "r.period_start >= $4::date - 6 AND r.period_start <= $5::date"
        " AND ($6::text IS NULL OR r.state = $6) AND ($7::uuid IS NULL OR "
        f"r.owner_id = ANY({ids('$7::uuid')})) AND {visibility.condition}"
    )
    source = f"timesheet AS r WHERE {conditions}"
    if visibility.reach is not None:
        source = f"""
            (SELECT DISTINCT owner_id FROM ({visibility.reach}) AS given) AS one CROSS JOIN LATERAL (
                SELECT r.id FROM timesheet AS r WHERE r.owner_id = one.owner_id AND {conditions}) AS r
        """
    # By timesheet_owner_period of whoever can be seen at all, or by timesheet_period.
    found = await connection.fetch(
        f"SELECT r.id FROM {source} LIMIT $3",
        *visibility.parameters,
        most,
        span.since,
        span.until,
        span.state,
        span.owner,
    )
    return sorted(row["id"] for row in found)


async def totals(connection: Connection, sheets: Sequence[UUID], span: Span, by: By) -> tuple[Total, ...]:
    """The minutes of the span's days in these sheets, which were found visible in the same transaction."""
    key, name, joined = _GROUPS[by]
    # A sheet without entries has no project; everything else it has. Whoever is a member twice counts once.
    rows = await connection.fetch(
        f"""
        SELECT key, name, coalesce(sum(minutes), 0)::bigint AS minutes, count(DISTINCT sheet) AS sheets FROM (
            SELECT DISTINCT r.id AS sheet, e.id, e.minutes, {key} AS key, {name} AS name
            FROM timesheet AS r
            LEFT JOIN entry AS e ON e.timesheet_id = r.id AND e.day BETWEEN $2::date AND $3::date
            {joined}
            WHERE r.id = ANY($1::uuid[]) AND ({"e.id IS NOT NULL" if by == "project" else "true"})) AS counted
        GROUP BY 1, 2 ORDER BY 1 NULLS LAST
        """,
        sheets,
        span.since,
        span.until,
    )
    return tuple(Total(row["key"], row["name"], row["minutes"], row["sheets"]) for row in rows)


async def minutes(connection: Connection, sheets: Sequence[UUID], span: Span) -> int:
    """All of them: not the sum of teams, of which somebody may be in two."""
    # The span's days alone.
    found: int = await connection.fetchval(
        "SELECT coalesce(sum(minutes), 0)::bigint FROM entry"
        " WHERE timesheet_id = ANY($1::uuid[]) AND day BETWEEN $2::date AND $3::date",
        sheets,
        span.since,
        span.until,
    )
    return found
