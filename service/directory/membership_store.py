"""SQL of memberships. Postgres owns them; they are ended, never deleted. Those of one person, team and part never
overlap: changes of the directory are serialised (store.advance)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.directory.entities import Membership, Part, Validity
from service.directory.store import KIND, MANAGE, begin, end
from service.errors import Conflict

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.changes import Permit
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection

COLUMNS: Final = "id, person_id, team_id, part, valid_from, nullif(valid_to, 'infinity') AS ends"


@dataclass(frozen=True, slots=True)
class MembershipFilter:
    """Which memberships: of a person, of a team, valid at a time. None does not filter."""

    person: UUID | None = None
    team: UUID | None = None
    as_of: datetime | None = None


async def add_membership(permit: Permit, connection: Connection, membership: Membership) -> Membership:
    """Insert a membership. Raises InvalidField for unknown ids, Conflict for an overlap."""
    permit.covers(KIND, MANAGE)
    what = {"person_id": membership.person, "team_id": membership.team, "part": membership.part}
    row = await begin(connection, "membership", {"id": membership.id}, what, membership.validity, COLUMNS)
    if row is None:
        raise Conflict("This person already has that part in this team at some of that time")
    return _membership(row)


async def end_membership(
    permit: Permit, connection: Connection, membership: UUID, at: datetime | None
) -> tuple[Membership, Membership]:
    """End a membership; returns it before and after. Raises as `store.end`."""
    permit.covers(KIND, MANAGE)
    before, after = await end(connection, "membership", membership, at, COLUMNS)
    return _membership(before), _membership(after)


async def list_memberships(
    visibility: Visibility, connection: Connection, of: MembershipFilter, after: UUID | str | None, limit: int
) -> list[Membership]:
    """Visible memberships after the id `after`, oldest first; `limit` + 1 rows if there are more."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    # Visible memberships in keyset order.
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM membership AS r WHERE {visibility.condition} AND ($3::uuid IS NULL OR r.id > $3)"
        " AND ($4::uuid IS NULL OR r.person_id = $4) AND ($5::uuid IS NULL OR r.team_id = $5)"
        " AND ($6::timestamptz IS NULL OR (r.valid_from <= $6 AND $6 < r.valid_to)) ORDER BY r.id LIMIT $7",
        *visibility.parameters,
        after,
        of.person,
        of.team,
        of.as_of,
        limit + 1,
    )
    return [_membership(row) for row in rows]


def _membership(row: asyncpg.Record) -> Membership:
    part = Part(row["part"])
    return Membership(row["id"], row["person_id"], row["team_id"], part, Validity(row["valid_from"], row["ends"]))
