"""SQL of groups, which are never deleted, and of people who are in one or lead a project for a time. Postgres owns the
rows; those of people end and stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from service.authorization.enforcement.person_references import find_listed_person
from service.directory import grant_store
from service.directory.entities import GroupMember, ProjectLead
from service.directory.grants import GROUP_MEMBERS, PROJECT_LEADS
from service.directory.store import KIND, MANAGE
from service.errors import Conflict, NotFound

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from service.authorization.enforcement.changes import Permit
    from service.authorization.enforcement.person_references import NamedPerson
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.directory.grants import Grants

H = TypeVar("H", GroupMember, ProjectLead)


@dataclass(frozen=True, slots=True)
class Holding(Generic[H]):
    """What people hold: `grants`, whose column `of` names the thing. `known` selects whether there is such a thing;
    `unknown` is a sentence for callers."""

    grants: Grants[H]
    of: str
    known: str
    unknown: str


MEMBERS: Final = Holding(
    GROUP_MEMBERS,
    "group_name",
    # One group by its primary key.
    known="SELECT EXISTS (SELECT FROM person_group WHERE name = $1)",
    unknown="There is no such group",
)
LEADS: Final = Holding(
    PROJECT_LEADS,
    "project",
    # One project by its primary key.
    known="SELECT EXISTS (SELECT FROM project WHERE code = $1)",
    unknown="There is no such project",
)


async def add_group(permit: Permit, connection: Connection, name: str) -> None:
    """Insert a group. Raises Conflict for a name that is taken."""
    permit.covers(KIND, MANAGE)
    # A new group, unless there is one of this name.
    made = await connection.fetchval(
        "INSERT INTO person_group (name) VALUES ($1) ON CONFLICT DO NOTHING RETURNING true", name
    )
    if not made:
        raise Conflict("That name is already taken")


async def list_groups(
    visibility: Visibility, connection: Connection, person: NamedPerson | None, after: str | None, limit: int
) -> list[str]:
    """Visible groups by name, after the name `after`: all, or those that a person is in now; `limit` + 1 if there are
    more."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    person = await find_listed_person(visibility, connection, person, "query.person")
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


async def add_holder(permit: Permit, connection: Connection, holding: Holding[H], thing: str, holder: H) -> H:
    """Insert a holder. Raises NotFound for an unknown thing, InvalidField for an unknown person, Conflict for an
    overlap."""
    permit.covers(KIND, MANAGE)
    if not await connection.fetchval(holding.known, thing):
        raise NotFound(holding.unknown)
    return await grant_store.add(permit, connection, holding.grants, holder)


async def end_holder(
    permit: Permit, connection: Connection, holding: Holding[H], thing: str, holder: UUID, at: datetime | None
) -> tuple[H, H]:
    """End a holder of this thing; returns the row before and after. Raises as `store.end`."""
    before, after = await grant_store.end(permit, connection, holding.grants, holder, at)
    if holding.grants.values(before)[holding.of] != thing:
        raise NotFound("There is nothing with that id")
    return before, after


async def list_holders(
    visibility: Visibility,
    connection: Connection,
    holding: Holding[H],
    thing: str,
    as_of: datetime | None,
    after: UUID | str | None,
    limit: int,
) -> list[H] | None:
    """Visible holders of a thing after the id `after`, oldest first: all, or those at a time; `limit` + 1 if there are
    more. None for an unknown thing."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    if not await connection.fetchval(holding.known, thing):
        return None
    grants = holding.grants
    # Visible holders in keyset order, by the index on the things.
    rows = await connection.fetch(
        f"SELECT {grants.all_columns} FROM {grants.table} AS r WHERE {visibility.condition} AND r.{holding.of} = $3"
        " AND ($4::uuid IS NULL OR r.id > $4)"
        " AND ($5::timestamptz IS NULL OR (r.valid_from <= $5 AND $5 < r.valid_to)) ORDER BY r.id LIMIT $6",
        *visibility.parameters,
        thing,
        after,
        as_of,
        limit + 1,
    )
    return [grants.read(row) for row in rows]
