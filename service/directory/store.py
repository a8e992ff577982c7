"""SQL of the directory. Postgres owns it; memberships, roles and grants are ended, never deleted.

Every change first moves `directory_revision`, whose row lets changes of the directory go one by one: so the closure of
the tree stays right, and whoever looked for a link or an overlap may rely on it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg

from service.directory.entities import GivenRole, ImporterGrant, Membership, Part, Person, Team, Validity
from service.errors import Conflict, InvalidField, NotFound
from service.places import FieldError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from uuid import UUID

    from service.authorization.permit import Permit
    from service.authorization.visibility import Visibility
    from service.database import Connection

KIND = "directory"
MANAGE = "manage"
VALIDITY = "coalesce({from_}::timestamptz, statement_timestamp()), coalesce({to}::timestamptz, 'infinity')"
VALID = "valid_from, nullif(valid_to, 'infinity') AS valid_to"

# Which field of the caller's a broken reference or check is about.
FIELDS = {
    "team_parent_id_fkey": ("parent", "is no team"),
    "membership_person_id_fkey": ("person", "is no person"),
    "membership_team_id_fkey": ("team", "is no team"),
    "importer_grant_team_id_fkey": ("team", "is no team"),
    "person_role_person_id_fkey": ("person", "is no person"),
    "deputy_grant_manager_id_fkey": ("manager", "is no person"),
    "deputy_grant_deputy_id_fkey": ("deputy", "is no person"),
    "deputy_grant_two_people": ("deputy", "must be somebody else than the manager"),
    "deputy_grant_period": ("valid_to", "must be after valid_from"),
    "fallback_approver_person_id_fkey": ("person", "is no person"),
    "fallback_approver_team_id_fkey": ("team", "is no team"),
    "fallback_approver_period": ("valid_to", "must be after valid_from"),
    "membership_check": ("valid_to", "must be after valid_from"),
    "importer_grant_check": ("valid_to", "must be after valid_from"),
    "person_role_check": ("valid_to", "must be after valid_from"),
}


async def advance(connection: Connection) -> datetime:
    """Count one change of the directory and keep others out until it commits. Returns the moment."""
    # The next revision.
    moment: datetime = await connection.fetchval(
        "UPDATE directory_revision SET revision = revision + 1 RETURNING statement_timestamp()"
    )
    return moment


async def add_team(permit: Permit, connection: Connection, team: Team) -> None:
    """Raises Conflict for a name that is taken, InvalidField for an unknown parent."""
    permit.covers(KIND, MANAGE)
    with constraints():
        # A new team.
        await connection.execute(
            "INSERT INTO team (id, name, parent_id) VALUES ($1, $2, $3)", team.id, team.name, team.parent
        )
        # It lies below itself and below everything that its parent lies below.
        await connection.execute(
            "INSERT INTO team_path (ancestor_id, descendant_id, depth) SELECT $1::uuid, $1::uuid, 0 UNION ALL"
            " SELECT ancestor_id, $1::uuid, depth + 1 FROM team_path WHERE descendant_id = $2::uuid",
            team.id,
            team.parent,
        )


async def add_membership(permit: Permit, connection: Connection, one: Membership) -> Membership:
    """Raises InvalidField for unknown ids, Conflict when the person has that part in the team at some of that time."""
    permit.covers(KIND, MANAGE)
    with constraints():
        # A membership, unless it overlaps one of the same person, team and part.
        row = await connection.fetchrow(
            "INSERT INTO membership (id, person_id, team_id, part, valid_from, valid_to)"
            " SELECT $1::uuid, $2::uuid, $3::uuid, $4::text, asked.*"
            f" FROM (SELECT {VALIDITY.format(from_='$5', to='$6')}) AS asked (since, upto)"
            " WHERE NOT EXISTS (SELECT FROM membership WHERE person_id = $2 AND team_id = $3 AND part = $4"
            f" AND valid_from < upto AND since < valid_to) RETURNING *, nullif(valid_to, 'infinity') AS ends",
            one.id,
            one.person,
            one.team,
            one.part,
            one.validity.valid_from,
            one.validity.valid_to,
        )
    if row is None:
        raise Conflict("This person has that part in this team already at some of that time")
    return _membership(row, row["ends"])


async def end_membership(permit: Permit, connection: Connection, membership: UUID, at: datetime | None) -> Membership:
    """End it at a moment that is not past; None means now. Raises NotFound, Conflict when it does not hold then."""
    permit.covers(KIND, MANAGE)
    # The end moves forward only, and never into the past: decisions were made while it held.
    row = await connection.fetchrow(
        "UPDATE membership SET valid_to = asked.moment"
        " FROM (SELECT coalesce($2::timestamptz, statement_timestamp())) AS asked (moment) WHERE id = $1"
        " AND valid_from < moment AND moment <= valid_to AND moment >= statement_timestamp() RETURNING membership.*",
        membership,
        at,
    )
    if row is not None:
        return _membership(row, row["valid_to"])
    # Whether there is such a membership at all.
    if await connection.fetchval("SELECT true FROM membership WHERE id = $1", membership):
        raise Conflict("A membership ends after it began, not in the past, and not later than it already does")
    raise NotFound("There is no such membership")


async def grant_importer(permit: Permit, connection: Connection, one: ImporterGrant) -> ImporterGrant:
    """Raises InvalidField for an unknown team."""
    permit.covers(KIND, MANAGE)
    with constraints():
        # A grant to a client.
        row = await connection.fetchrow(
            "INSERT INTO importer_grant (id, client_id, team_id, valid_from, valid_to)"
            f" VALUES ($1, $2, $3, {VALIDITY.format(from_='$4', to='$5')}) RETURNING {VALID}",
            one.id,
            one.client,
            one.team,
            one.validity.valid_from,
            one.validity.valid_to,
        )
    return ImporterGrant(one.id, one.client, one.team, _validity(row))


async def end_importer_grant(permit: Permit, connection: Connection, grant: UUID) -> ImporterGrant:
    """End a grant now. Raises NotFound when there is none that holds."""
    permit.covers(KIND, MANAGE)
    # From now on it holds no longer.
    row = await connection.fetchrow(
        "UPDATE importer_grant SET valid_to = statement_timestamp() WHERE id = $1"
        " AND valid_from < statement_timestamp() AND statement_timestamp() < valid_to RETURNING *",
        grant,
    )
    if row is None:
        raise NotFound("There is no such grant that holds now")
    return ImporterGrant(row["id"], row["client_id"], row["team_id"], _validity(row))


async def give_role(permit: Permit, connection: Connection, one: GivenRole) -> GivenRole:
    """Raises InvalidField for an unknown person, Conflict when the person has the role at some of that time."""
    permit.covers(KIND, MANAGE)
    with constraints():
        # A role, unless it overlaps the same one.
        row = await connection.fetchrow(
            "INSERT INTO person_role (person_id, role, valid_from, valid_to)"
            " SELECT $1::uuid, $2::text, asked.*"
            f" FROM (SELECT {VALIDITY.format(from_='$3', to='$4')}) AS asked (since, upto)"
            " WHERE NOT EXISTS (SELECT FROM person_role WHERE person_id = $1 AND role = $2"
            f" AND valid_from < upto AND since < valid_to) RETURNING {VALID}",
            one.person,
            one.role,
            one.validity.valid_from,
            one.validity.valid_to,
        )
    if row is None:
        raise Conflict("This person has that role already at some of that time")
    return GivenRole(one.person, one.role, _validity(row))


async def take_role(permit: Permit, connection: Connection, person: UUID, role: str) -> GivenRole:
    """End a role now. Raises NotFound when the person does not have it."""
    permit.covers(KIND, MANAGE)
    # From now on the person has it no longer.
    row = await connection.fetchrow(
        "UPDATE person_role SET valid_to = statement_timestamp() WHERE person_id = $1 AND role = $2"
        f" AND valid_from < statement_timestamp() AND statement_timestamp() < valid_to RETURNING {VALID}",
        person,
        role,
    )
    if row is None:
        raise NotFound("This person does not have that role from the directory")
    return GivenRole(person, role, _validity(row))


async def people(visibility: Visibility, connection: Connection, after: UUID | str | None, limit: int) -> list[Person]:
    """Oldest first, from behind `after`; one more than `limit` tells that there are more."""
    rows = await _page(visibility, connection, "person", "id, display_name, email", after, limit)
    return [Person(**dict(row)) for row in rows]


async def teams(visibility: Visibility, connection: Connection, after: UUID | str | None, limit: int) -> list[Team]:
    """As `people`."""
    rows = await _page(visibility, connection, "team", "id, name, parent_id", after, limit)
    return [Team(row["id"], row["name"], row["parent_id"]) for row in rows]


async def memberships(
    visibility: Visibility, connection: Connection, after: UUID | str | None, limit: int
) -> list[Membership]:
    """As `people`, ended ones too."""
    columns = f"id, person_id, team_id, part, {VALID}"
    rows = await _page(visibility, connection, "membership", columns, after, limit)
    return [_membership(row, row["valid_to"]) for row in rows]


async def teams_led(permit: Permit, connection: Connection, person: UUID) -> list[Team]:
    """The teams that a person leads now, by name, for a permit to read who oneself is. Those below are not named."""
    permit.covers("me", "read")
    # Teams of which the person's own lead holds at this moment.
    rows = await connection.fetch(
        "SELECT DISTINCT team.id, name, parent_id FROM membership JOIN team ON team.id = team_id WHERE person_id = $1"
        " AND part = 'lead' AND valid_from <= statement_timestamp() AND statement_timestamp() < valid_to ORDER BY name",
        person,
    )
    return [Team(row["id"], row["name"], row["parent_id"]) for row in rows]


async def _page(
    visibility: Visibility, connection: Connection, table: str, columns: str, after: UUID | str | None, limit: int
) -> list[asyncpg.Record]:
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    # Visible rows in keyset order, one more than asked so as to know whether there are more.
    return await connection.fetch(
        f"SELECT {columns} FROM {table} AS r WHERE {visibility.condition} AND ($3::uuid IS NULL OR r.id > $3)"
        " ORDER BY r.id LIMIT $4",
        *visibility.parameters,
        after,
        limit + 1,
    )


@contextmanager
def constraints() -> Iterator[None]:
    """Tell broken references and checks as InvalidField of the caller's field, a name that is taken as Conflict."""
    try:
        yield
    except (asyncpg.ForeignKeyViolationError, asyncpg.CheckViolationError) as error:
        name, message = FIELDS.get(error.constraint_name or "", ("body", "does not fit what is there"))
        raise InvalidField(FieldError(name, message)) from error
    except asyncpg.UniqueViolationError as error:
        raise Conflict("There is something of that name already", cause=error.constraint_name) from error


def _membership(row: asyncpg.Record, ends: datetime | None) -> Membership:
    part = Part(row["part"])
    return Membership(row["id"], row["person_id"], row["team_id"], part, Validity(row["valid_from"], ends))


def _validity(row: asyncpg.Record | None) -> Validity:
    if row is None:
        raise Conflict(cause="an INSERT returned no row")
    return Validity(row["valid_from"], row["valid_to"])
