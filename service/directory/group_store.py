"""SQL of groups and their members. Postgres owns them: groups are never deleted, members are ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.directory.entities import GroupMember, Validity
from service.directory.store import KIND, MANAGE, begin, end
from service.errors import Conflict, NotFound

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.changes import Permit
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection

MEMBER: Final = "id, group_name, person_id, valid_from, nullif(valid_to, 'infinity') AS ends"
UNKNOWN: Final = "There is no such group"
# One group by its primary key.
KNOWN: Final = "SELECT EXISTS (SELECT FROM person_group WHERE name = $1)"


async def add_group(permit: Permit, connection: Connection, name: str) -> None:
    """Insert a group. Raises Conflict for a name that is taken."""
    permit.covers(KIND, MANAGE)
    # A new group, unless there is one of this name.
    made = await connection.fetchval(
        "INSERT INTO person_group (name) VALUES ($1) ON CONFLICT DO NOTHING RETURNING true", name
    )
    if not made:
        raise Conflict("That name is already taken")


async def add_member(permit: Permit, connection: Connection, member: GroupMember) -> GroupMember:
    """Insert a member. Raises NotFound for an unknown group, InvalidField for an unknown person, Conflict for an
    overlap."""
    permit.covers(KIND, MANAGE)
    if not await connection.fetchval(KNOWN, member.group):
        raise NotFound(UNKNOWN)
    what = {"group_name": member.group, "person_id": member.person}
    row = await begin(connection, "group_member", {"id": member.id}, what, member.validity, MEMBER)
    if row is None:
        raise Conflict("This person is already in that group at some of that time")
    return _member(row)


async def end_member(
    permit: Permit, connection: Connection, group: str, member: UUID, at: datetime | None
) -> tuple[GroupMember, GroupMember]:
    """End a member of this group; returns the row before and after. Raises as `store.end`."""
    permit.covers(KIND, MANAGE)
    before, after = await end(connection, "group_member", member, at, MEMBER)
    if before["group_name"] != group:
        raise NotFound("There is nothing with that id")
    return _member(before), _member(after)


async def list_groups(
    visibility: Visibility, connection: Connection, person: UUID | None, after: str | None, limit: int
) -> list[str]:
    """Visible groups by name, after the name `after`: all, or those that a person is in now; `limit` + 1 if there are
    more."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    # Visible groups in the order of their key; those of a person by the index on people.
    rows = await connection.fetch(
        f"SELECT name FROM person_group AS r WHERE {visibility.condition} AND ($3::text IS NULL OR r.name > $3)"
        " AND ($4::uuid IS NULL OR EXISTS (SELECT FROM group_member AS held WHERE held.person_id = $4"
        "     AND held.group_name = r.name AND held.valid_from <= statement_timestamp()"
        "     AND statement_timestamp() < held.valid_to)) ORDER BY r.name LIMIT $5",
        *visibility.parameters,
        after,
        person,
        limit + 1,
    )
    return [row["name"] for row in rows]


async def list_members(
    visibility: Visibility,
    connection: Connection,
    group: str,
    as_of: datetime | None,
    after: UUID | str | None,
    limit: int,
) -> list[GroupMember] | None:
    """Visible members of a group after the id `after`, oldest first: all, or those at a time; `limit` + 1 if there are
    more. None for an unknown group."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    if not await connection.fetchval(KNOWN, group):
        return None
    # Visible members in keyset order, by the index on groups.
    rows = await connection.fetch(
        f"SELECT {MEMBER} FROM group_member AS r WHERE {visibility.condition} AND r.group_name = $3"
        " AND ($4::uuid IS NULL OR r.id > $4)"
        " AND ($5::timestamptz IS NULL OR (r.valid_from <= $5 AND $5 < r.valid_to)) ORDER BY r.id LIMIT $6",
        *visibility.parameters,
        group,
        after,
        as_of,
        limit + 1,
    )
    return [_member(row) for row in rows]


def _member(row: asyncpg.Record) -> GroupMember:
    return GroupMember(row["id"], row["group_name"], row["person_id"], Validity(row["valid_from"], row["ends"]))
