"""SQL of single grants, which `grants` describes, and of roles. Postgres owns the rows; they are ended, never deleted.
Equal grants never overlap: changes of the directory are serialised (store.advance)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.enforcement.person_references import find_listed_person
from service.authorization.enforcement.team_references import find_listed_team
from service.directory import store
from service.directory.entities import GivenRole, Validity
from service.directory.grants import GRANTS_OF_PEOPLE, MEMBERSHIPS, ROLES, G
from service.directory.store import KIND, MANAGE, PEOPLE, VALID, load_page, load_row, validity_of
from service.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from service.authorization.enforcement.changes import Permit
    from service.authorization.enforcement.person_references import NamedPerson
    from service.authorization.enforcement.team_references import NamedTeam
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.directory.entities import Membership
    from service.directory.grants import Grants
    from service.directory.recorded_change import DirectoryChange


@dataclass(frozen=True, slots=True)
class MembershipFilter:
    """Which memberships: of a person or of `people`, of a team, valid at a time. None does not filter."""

    person: NamedPerson | None = None
    team: NamedTeam | None = None
    as_of: datetime | None = None
    people: tuple[UUID, ...] | None = None


async def add(permit: Permit, connection: Connection, grants: Grants[G], grant: G) -> G:
    """Insert a grant. Raises InvalidField for unknown ids, Conflict for an overlap."""
    permit.covers(grants.kind, grants.begin_action)
    key, what = {"id": grant.id}, grants.values(grant)
    row = await store.begin(connection, grants.table, key, what, grant.validity, grants.all_columns)
    if row is None:
        raise Conflict(grants.overlap)
    return grants.read(row)


async def end(
    permit: Permit, connection: Connection, grants: Grants[G], grant: UUID, at: datetime | None
) -> tuple[G, G]:
    """End a grant; returns it before and after. Raises as `store.end`."""
    permit.covers(grants.kind, grants.end_action)
    before, after = await store.end(connection, grants.table, grant, at, grants.all_columns)
    return grants.read(before), grants.read(after)


async def end_all(connection: Connection, people: Sequence[UUID]) -> list[DirectoryChange]:
    """End all present and future grants of people, as an erasure does; returns the changes. Their places as members of
    teams stay: by them, managers see the timesheets that are kept."""
    changes: list[DirectoryChange] = []
    for grants in GRANTS_OF_PEOPLE:
        named = " OR ".join(f"{column} = ANY ($1::uuid[])" for column in grants.columns if column in PEOPLE)
        lasting = " AND part <> 'member'" if grants is MEMBERSHIPS else ""
        # Those that have not ended, which are few, by the indexes on people. What has not begun never does.
        rows = await connection.fetch(
            f"WITH held AS (SELECT * FROM {grants.table} WHERE ({named}){lasting} AND valid_from < valid_to"
            " AND statement_timestamp() < valid_to ORDER BY id FOR UPDATE)"
            f" UPDATE {grants.table} AS ended SET valid_to = greatest(statement_timestamp(), held.valid_from) FROM held"
            f" WHERE ended.id = held.id RETURNING held.id, {', '.join(f'held.{name}' for name in grants.columns)},"
            " held.valid_from, nullif(held.valid_to, 'infinity') AS valid_to, ended.valid_to AS ended_at",
            people,
        )
        changes += [
            grants.row_change(
                grants.ended, row, row["id"], Validity(row["valid_from"], row["ended_at"]), before=validity_of(row)
            )
            for row in rows
        ]
    return changes


async def list_grants(
    visibility: Visibility, connection: Connection, grants: Grants[G], after: UUID | str | None, limit: int
) -> list[G]:
    """Visible grants after the id `after`, oldest first, ended ones too; `limit` + 1 rows if there are more."""
    rows = await load_page(visibility, connection, grants.table, grants.all_columns, after, limit)
    return [grants.read(row) for row in rows]


async def list_memberships(
    visibility: Visibility, connection: Connection, of: MembershipFilter, after: UUID | str | None, limit: int
) -> list[Membership]:
    """Visible memberships after the id `after`, oldest first; `limit` + 1 rows if there are more."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    person = await find_listed_person(visibility, connection, of.person, "query.person")
    team = await find_listed_team(visibility, connection, of.team, "query.team")
    # Visible memberships in keyset order; those of people by the index on person_id.
    rows = await connection.fetch(
        f"SELECT {MEMBERSHIPS.all_columns} FROM membership AS r WHERE {visibility.condition}"
        " AND ($3::uuid IS NULL OR r.id > $3)"
        " AND ($4::uuid IS NULL OR r.person_id = $4) AND ($5::uuid IS NULL OR r.team_id = $5)"
        " AND ($6::timestamptz IS NULL OR (r.valid_from <= $6 AND $6 < r.valid_to))"
        " AND ($7::uuid[] IS NULL OR r.person_id = ANY ($7)) ORDER BY r.id LIMIT $8",
        *visibility.parameters,
        after,
        person,
        team,
        of.as_of,
        of.people,
        limit + 1,
    )
    return [MEMBERSHIPS.read(row) for row in rows]


async def give_role(permit: Permit, connection: Connection, given_role: GivenRole) -> GivenRole:
    """Give a role. Raises InvalidField for an unknown person, Conflict if the person has the role at any time in it."""
    permit.covers(KIND, MANAGE)
    what = {"person_id": given_role.person, "role": given_role.role}
    row = await store.begin(connection, ROLES.table, {}, what, given_role.validity, VALID)
    if row is None:
        raise Conflict("This person already has that role at some of that time")
    return GivenRole(given_role.person, given_role.role, validity_of(row))


async def take_role(
    permit: Permit, connection: Connection, person: UUID, role: str
) -> list[tuple[GivenRole, GivenRole]]:
    """End a role now, and cancel its future periods; returns each period before and after, earliest first. Raises
    NotFound if the person has no present or future period of the role."""
    permit.covers(KIND, MANAGE)
    # Present and future periods of this role.
    rows = await connection.fetch(
        "SELECT id FROM person_role WHERE person_id = $1 AND role = $2 AND valid_from < valid_to"
        " AND statement_timestamp() < valid_to ORDER BY valid_from",
        person,
        role,
    )
    if not rows:
        raise NotFound("This person does not have that role from the directory")
    ended = [await store.end(connection, ROLES.table, row["id"], None, VALID) for row in rows]
    return [
        (GivenRole(person, role, validity_of(was)), GivenRole(person, role, validity_of(now))) for was, now in ended
    ]


async def list_roles(visibility: Visibility, connection: Connection, person: UUID) -> list[GivenRole] | None:
    """All past, present and future roles of a person from the directory; None if the caller may not see the person."""
    if await load_row(visibility, connection, "person", "r.id", person) is None:
        return None
    # Few rows, by the index on people.
    rows = await connection.fetch(
        f"SELECT role, {VALID} FROM person_role WHERE person_id = $1 AND valid_from < person_role.valid_to"
        " ORDER BY valid_from, role",
        person,
    )
    return [GivenRole(person, row["role"], validity_of(row)) for row in rows]
