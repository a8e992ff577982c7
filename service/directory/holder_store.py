"""SQL of groups, which are never deleted, and of people who are in one or lead a project for a time. Postgres owns the
rows; those of people end and stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from service.authorization.enforcement.person_references import find_listed_person
from service.directory.entities import GroupMember, ProjectLead, Validity
from service.directory.store import KIND, MANAGE, begin, end
from service.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.changes import Permit
    from service.authorization.enforcement.person_references import NamedPerson
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection

H = TypeVar("H", GroupMember, ProjectLead)


@dataclass(frozen=True, slots=True)
class Holding(Generic[H]):
    """What people hold: rows of `table`, whose column `of` names the thing. `make` builds a holder of id, thing, person
    and validity; its member `word` is the thing. Records say how it `began` and `ended`. `known` selects whether there
    is such a thing; `unknown` and `overlap` are sentences for callers."""

    table: str
    of: str
    word: str
    make: Callable[[UUID, str, UUID, Validity], H]
    began: str
    ended: str
    known: str
    unknown: str
    overlap: str

    @property
    def columns(self) -> str:
        """The columns that `read` takes."""
        return f"id, {self.of}, person_id, valid_from, nullif(valid_to, 'infinity') AS ends"

    def read(self, row: asyncpg.Record) -> H:
        """The holder in a row."""
        return self.make(row["id"], row[self.of], row["person_id"], Validity(row["valid_from"], row["ends"]))


MEMBERS: Final = Holding(
    "group_member",
    "group_name",
    "group",
    GroupMember,
    began="group.joined",
    ended="group.left",
    # One group by its primary key.
    known="SELECT EXISTS (SELECT FROM person_group WHERE name = $1)",
    unknown="There is no such group",
    overlap="This person is already in that group at some of that time",
)
LEADS: Final = Holding(
    "project_lead",
    "project",
    "project",
    ProjectLead,
    began="project-lead.named",
    ended="project-lead.ended",
    # One project by its primary key.
    known="SELECT EXISTS (SELECT FROM project WHERE code = $1)",
    unknown="There is no such project",
    overlap="This person already leads that project at some of that time",
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
    what = {holding.of: thing, "person_id": holder.person}
    row = await begin(connection, holding.table, {"id": holder.id}, what, holder.validity, holding.columns)
    if row is None:
        raise Conflict(holding.overlap)
    return holding.read(row)


async def end_holder(
    permit: Permit, connection: Connection, holding: Holding[H], thing: str, holder: UUID, at: datetime | None
) -> tuple[H, H]:
    """End a holder of this thing; returns the row before and after. Raises as `store.end`."""
    permit.covers(KIND, MANAGE)
    before, after = await end(connection, holding.table, holder, at, holding.columns)
    if before[holding.of] != thing:
        raise NotFound("There is nothing with that id")
    return holding.read(before), holding.read(after)


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
    # Visible holders in keyset order, by the index on the things.
    rows = await connection.fetch(
        f"SELECT {holding.columns} FROM {holding.table} AS r WHERE {visibility.condition} AND r.{holding.of} = $3"
        " AND ($4::uuid IS NULL OR r.id > $4)"
        " AND ($5::timestamptz IS NULL OR (r.valid_from <= $5 AND $5 < r.valid_to)) ORDER BY r.id LIMIT $6",
        *visibility.parameters,
        thing,
        after,
        as_of,
        limit + 1,
    )
    return [holding.read(row) for row in rows]
