"""SQL of grants: memberships, roles, importer grants and fallback approvers. Postgres owns them; they are ended, never
deleted. Equal grants never overlap: changes of the directory are serialised (store.advance)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.authorization.enforcement.person_references import find_listed_person
from service.authorization.enforcement.team_references import find_listed_team
from service.directory.entities import Fallback, GivenRole, ImporterGrant, Membership, Part, Validity
from service.directory.store import KIND, MANAGE, VALID, begin, end, load_page, load_row, validity_of
from service.errors import Conflict, NotFound

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.changes import Permit
    from service.authorization.enforcement.person_references import NamedPerson
    from service.authorization.enforcement.team_references import NamedTeam
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection

MEMBERSHIP: Final = "id, person_id, team_id, part, valid_from, nullif(valid_to, 'infinity') AS ends"
IMPORTER_GRANT: Final = "id, client_id, team_id, valid_from, nullif(valid_to, 'infinity') AS ends"
FALLBACK: Final = "id, person_id, team_id, valid_from, nullif(valid_to, 'infinity') AS ends"


@dataclass(frozen=True, slots=True)
class MembershipFilter:
    """Which memberships: of a person or of `people`, of a team, valid at a time. None does not filter."""

    person: NamedPerson | None = None
    team: NamedTeam | None = None
    as_of: datetime | None = None
    people: tuple[UUID, ...] | None = None


async def add_membership(permit: Permit, connection: Connection, membership: Membership) -> Membership:
    """Insert a membership. Raises InvalidField for unknown ids, Conflict for an overlap."""
    permit.covers(KIND, MANAGE)
    what = {"person_id": membership.person, "team_id": membership.team, "part": membership.part}
    row = await begin(connection, "membership", {"id": membership.id}, what, membership.validity, MEMBERSHIP)
    if row is None:
        raise Conflict("This person already has that part in this team at some of that time")
    return _membership(row)


async def end_membership(
    permit: Permit, connection: Connection, membership: UUID, at: datetime | None
) -> tuple[Membership, Membership]:
    """End a membership; returns it before and after. Raises as `store.end`."""
    permit.covers(KIND, MANAGE)
    before, after = await end(connection, "membership", membership, at, MEMBERSHIP)
    return _membership(before), _membership(after)


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
        f"SELECT {MEMBERSHIP} FROM membership AS r WHERE {visibility.condition} AND ($3::uuid IS NULL OR r.id > $3)"
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
    return [_membership(row) for row in rows]


def _membership(row: asyncpg.Record) -> Membership:
    part = Part(row["part"])
    return Membership(row["id"], row["person_id"], row["team_id"], part, Validity(row["valid_from"], row["ends"]))


async def give_role(permit: Permit, connection: Connection, given_role: GivenRole) -> GivenRole:
    """Give a role. Raises InvalidField for an unknown person, Conflict if the person has the role at any time in it."""
    permit.covers(KIND, MANAGE)
    what = {"person_id": given_role.person, "role": given_role.role}
    row = await begin(connection, "person_role", {}, what, given_role.validity, VALID)
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
    ended = [await end(connection, "person_role", row["id"], None, VALID) for row in rows]
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


async def grant_importer(permit: Permit, connection: Connection, importer_grant: ImporterGrant) -> ImporterGrant:
    """Insert a grant. Raises InvalidField for an unknown team, Conflict for an overlap."""
    permit.covers(KIND, MANAGE)
    what = {"client_id": importer_grant.client, "team_id": importer_grant.team}
    row = await begin(
        connection, "importer_grant", {"id": importer_grant.id}, what, importer_grant.validity, IMPORTER_GRANT
    )
    if row is None:
        raise Conflict("This client may already import for that team at some of that time")
    return _importer_grant(row)


async def end_importer_grant(
    permit: Permit, connection: Connection, grant: UUID, at: datetime | None
) -> tuple[ImporterGrant, ImporterGrant]:
    """End a grant; returns it before and after. Raises as `store.end`."""
    permit.covers(KIND, MANAGE)
    before, after = await end(connection, "importer_grant", grant, at, IMPORTER_GRANT)
    return _importer_grant(before), _importer_grant(after)


async def list_importer_grants(
    visibility: Visibility, connection: Connection, after: UUID | str | None, limit: int
) -> list[ImporterGrant]:
    """Visible grants, oldest first, ended ones too."""
    return [
        _importer_grant(row)
        for row in await load_page(visibility, connection, "importer_grant", IMPORTER_GRANT, after, limit)
    ]


def _importer_grant(row: asyncpg.Record) -> ImporterGrant:
    return ImporterGrant(row["id"], row["client_id"], row["team_id"], Validity(row["valid_from"], row["ends"]))


async def add_fallback(permit: Permit, connection: Connection, fallback: Fallback) -> Fallback:
    """Insert a fallback approver. Raises InvalidField for unknown ids, Conflict for an overlap."""
    permit.covers(KIND, MANAGE)
    what = {"person_id": fallback.person, "team_id": fallback.team}
    row = await begin(connection, "fallback_approver", {"id": fallback.id}, what, fallback.validity, FALLBACK)
    if row is None:
        raise Conflict("This person is already a fallback approver there at some of that time")
    return _fallback(row)


async def end_fallback(
    permit: Permit, connection: Connection, fallback: UUID, at: datetime | None
) -> tuple[Fallback, Fallback]:
    """End a fallback approver; returns the row before and after. Raises as `store.end`."""
    permit.covers(KIND, MANAGE)
    before, after = await end(connection, "fallback_approver", fallback, at, FALLBACK)
    return _fallback(before), _fallback(after)


async def list_fallbacks(
    visibility: Visibility, connection: Connection, after: UUID | None, limit: int
) -> list[Fallback]:
    """Visible fallback approvers, oldest first, ended ones too."""
    return [
        _fallback(row) for row in await load_page(visibility, connection, "fallback_approver", FALLBACK, after, limit)
    ]


def _fallback(row: asyncpg.Record) -> Fallback:
    return Fallback(row["id"], row["person_id"], row["team_id"], Validity(row["valid_from"], row["ends"]))
