"""SQL of the directory. Postgres owns it; memberships, roles and grants are ended, never deleted.

Every change first moves `directory_revision`, whose row lets changes of the directory go one by one: so the closure of
the tree stays right, and whoever looked for a link or an overlap may rely on it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg

from service.directory.entities import GivenRole, Team, Validity
from service.errors import Conflict, InvalidField, NotFound
from service.places import FieldError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from uuid import UUID

    from service.authorization.enforcement.changes import Permit
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection

KIND = "directory"
MANAGE = "manage"
PERSON = "r.id, display_name, email, (SELECT into_id FROM merged_person WHERE person_id = r.id) AS merged_into, version"
VALID = "valid_from, nullif(valid_to, 'infinity') AS valid_to"

# Columns of what holds for a time that name a person, and the caller's fields.
PEOPLE = {"person_id": "person", "delegator_id": "delegator", "delegate_id": "delegate"}
# Which field of the caller's a broken reference or check is about.
FIELDS = {
    "team_parent_id_fkey": ("parent", "is no team"),
    "membership_person_id_fkey": ("person", "is no person"),
    "membership_team_id_fkey": ("team", "is no team"),
    "importer_grant_team_id_fkey": ("team", "is no team"),
    "person_role_person_id_fkey": ("person", "is no person"),
    "delegation_delegator_id_fkey": ("delegator", "is no person"),
    "delegation_delegate_id_fkey": ("delegate", "is no person"),
    "delegation_two_people": ("delegate", "must not be the delegator"),
    "delegation_period": ("valid_to", "must be after valid_from"),
    "fallback_approver_person_id_fkey": ("person", "is no person"),
    "fallback_approver_team_id_fkey": ("team", "is no team"),
    "fallback_approver_period": ("valid_to", "must be after valid_from"),
    "membership_period": ("valid_to", "must be after valid_from"),
    "importer_grant_period": ("valid_to", "must be after valid_from"),
    "person_role_period": ("valid_to", "must be after valid_from"),
}


def anything(_: int | None) -> None:
    """What judges a version where nobody says which they have seen: an import, which says how things shall be."""


async def advance(connection: Connection) -> datetime:
    """Count one change of the directory and keep others out until it commits. Returns the moment."""
    # The next revision.
    moment: datetime = await connection.fetchval(
        "UPDATE directory_revision SET revision = revision + 1 RETURNING statement_timestamp()"
    )
    return moment


async def give_role(permit: Permit, connection: Connection, given_role: GivenRole) -> GivenRole:
    """Raises InvalidField for an unknown person, Conflict when the person has the role at some of that time."""
    permit.covers(KIND, MANAGE)
    what = {"person_id": given_role.person, "role": given_role.role}
    row = await begin(connection, "person_role", {}, what, given_role.validity, VALID)
    if row is None:
        raise Conflict("This person has that role already at some of that time")
    return GivenRole(given_role.person, given_role.role, validity_of(row))


async def take_role(
    permit: Permit, connection: Connection, person: UUID, role: str
) -> list[tuple[GivenRole, GivenRole]]:
    """End a role now, and call off what is planned of it: each as it was and as it is, the earliest first. Raises
    NotFound when the person neither has it nor would get it."""
    permit.covers(KIND, MANAGE)
    # All of this role that holds now or is to come.
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


async def roles(visibility: Visibility, connection: Connection, person: UUID) -> list[GivenRole] | None:
    """Every role that a person has, had or will have from the directory; None for nobody who may be seen."""
    if await one(visibility, connection, "person", "r.id", person) is None:
        return None
    # Few rows, by the index on people.
    rows = await connection.fetch(
        f"SELECT role, {VALID} FROM person_role WHERE person_id = $1 AND valid_from < person_role.valid_to"
        " ORDER BY valid_from, role",
        person,
    )
    return [GivenRole(person, row["role"], validity_of(row)) for row in rows]


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


async def page(
    visibility: Visibility,
    connection: Connection,
    table: str,
    columns: str,
    after: UUID | str | None,
    limit: int,
    *more: object,
) -> list[asyncpg.Record]:
    """Rows of a table whose key is `id`, oldest first, from behind `after`; one more than `limit` tells of more. What
    stands in the place of a table may name `more` parameters, from $5 on."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    # Visible rows in keyset order, one more than asked so as to know whether there are more.
    return await connection.fetch(
        f"SELECT {columns} FROM {table} AS r WHERE {visibility.condition} AND ($3::uuid IS NULL OR r.id > $3)"
        " ORDER BY r.id LIMIT $4",
        *visibility.parameters,
        after,
        limit + 1,
        *more,
    )


async def one(
    visibility: Visibility, connection: Connection, table: str, columns: str, key: UUID
) -> asyncpg.Record | None:
    """The row of that `id`, as far as a list would show it."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    # One row by its primary key.
    return await connection.fetchrow(
        f"SELECT {columns} FROM {table} AS r WHERE {visibility.condition} AND r.id = $3", *visibility.parameters, key
    )


async def begin(
    connection: Connection,
    table: str,
    key: Mapping[str, object],
    what: Mapping[str, object],
    validity: Validity,
    columns: str,
) -> asyncpg.Record | None:
    """Add a row that holds for a time, and return its `columns`: None when one of the same `what` holds at some of that
    time already. `key` is what it is told apart by. Raises as `constraints`, and InvalidField for somebody merged."""
    await _refuse_merged(connection, {PEOPLE[name]: one for name, one in what.items() if name in PEOPLE})
    given = {**key, **what}
    places = {name: f"${place}" for place, name in enumerate(given, start=1)}
    same = [f"{name} = {places[name]}" if one is not None else f"{name} IS NULL" for name, one in what.items()]
    values = [f"{places[name]}::{'text' if isinstance(one, str) else 'uuid'}" for name, one in given.items()]
    since, upto = f"${len(given) + 1}", f"${len(given) + 2}"
    with constraints():
        # A row of this validity, unless it overlaps one of the same.
        return await connection.fetchrow(
            f"INSERT INTO {table} ({', '.join(places)}, valid_from, valid_to) SELECT {', '.join(values)}, asked.*"
            f" FROM (SELECT coalesce({since}::timestamptz, statement_timestamp()),"
            f" coalesce({upto}::timestamptz, 'infinity')) AS asked (since, upto)"
            f" WHERE NOT EXISTS (SELECT FROM {table} WHERE {' AND '.join(same)}"
            f" AND valid_from < valid_to AND valid_from < upto AND since < valid_to) RETURNING {columns}",
            *given.values(),
            validity.valid_from,
            validity.valid_to,
        )


async def _refuse_merged(connection: Connection, people: Mapping[str, object]) -> None:
    """Whoever was merged into another holds nothing any more: Raises InvalidField that names the one who does."""
    # Those of them who were merged, by the primary key.
    found = await connection.fetch(
        "SELECT person_id, into_id FROM merged_person WHERE person_id = ANY($1::uuid[])", list(people.values())
    )
    into = {row["person_id"]: row["into_id"] for row in found}
    wrong = [FieldError(name, f"was merged into {into[one]}") for name, one in people.items() if one in into]
    if wrong:
        raise InvalidField(*wrong)


async def end(
    connection: Connection, table: str, row_id: UUID, at: datetime | None, columns: str
) -> tuple[asyncpg.Record, asyncpg.Record]:
    """End a row that holds for a time, at a moment that is not past; None means now. The `columns` as they were and as
    they are. What would end before it begins never holds: its row stays, with no moment in it. Raises NotFound, and
    Conflict when it is over by then."""
    # The row by its primary key, kept from changing.
    before = await connection.fetchrow(f"SELECT {columns} FROM {table} WHERE id = $1 FOR UPDATE", row_id)
    if before is None:
        raise NotFound("There is nothing of that id")
    moment = "greatest(coalesce($2::timestamptz, statement_timestamp()), valid_from)"
    # An end moves nearer only, and never into the past: decisions were made while the row held.
    after = await connection.fetchrow(
        f"UPDATE {table} AS held SET valid_to = {moment} WHERE id = $1 AND {moment} < valid_to"
        f" AND coalesce($2, 'infinity') >= statement_timestamp() RETURNING {columns}",
        row_id,
        at,
    )
    if after is None:
        raise Conflict("It is over by then already, or this moment is past")
    return before, after


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


def validity_of(row: asyncpg.Record | None) -> Validity:
    if row is None:
        raise Conflict(cause="an INSERT returned no row")
    return Validity(row["valid_from"], row["valid_to"])
