"""SQL that the use cases of the directory share. Postgres owns it; memberships, roles and grants are ended, never
deleted.

Every change first locks the row of `directory_revision`, which it increments. That serialises changes of the directory,
so the closure of the team tree stays consistent, and a check for a link or an overlap stays true until the commit.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import msgspec

from service.authorization.enforcement.person_references import ERASED, find_erased
from service.directory.entities import Team, Validity
from service.errors import Conflict, InvalidField, NotFound
from service.places import FieldError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from uuid import UUID

    from service.authorization.enforcement.changes import Permit
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.directory.declared_attributes import Attributes

KIND = "directory"
MANAGE = "manage"
PERSON = (
    "r.id, display_name, email, (SELECT into_id FROM merged_person WHERE person_id = r.id) AS merged_into, version,"
    " attributes"
)
VALID = "valid_from, nullif(valid_to, 'infinity') AS valid_to"

# Rows that were written by hand may hold anything.
_DECODER: Final[msgspec.json.Decoder[dict[str, Any]]] = msgspec.json.Decoder(dict[str, Any])

# Columns of grants that name a person, and the fields of requests.
PEOPLE = {"person_id": "person", "delegator_id": "delegator", "delegate_id": "delegate"}
# By constraint: the field of the request at fault, and the message.
FIELDS = {
    "team_parent_id_fkey": ("parent", "does not exist"),
    "membership_person_id_fkey": ("person", "does not exist"),
    "membership_team_id_fkey": ("team", "does not exist"),
    "importer_grant_team_id_fkey": ("team", "does not exist"),
    "person_role_person_id_fkey": ("person", "does not exist"),
    "delegation_delegator_id_fkey": ("delegator", "does not exist"),
    "delegation_delegate_id_fkey": ("delegate", "does not exist"),
    "delegation_two_people": ("delegate", "must not be the delegator"),
    "delegation_period": ("valid_to", "must be after valid_from"),
    "fallback_approver_person_id_fkey": ("person", "does not exist"),
    "fallback_approver_team_id_fkey": ("team", "does not exist"),
    "fallback_approver_period": ("valid_to", "must be after valid_from"),
    "membership_period": ("valid_to", "must be after valid_from"),
    "importer_grant_period": ("valid_to", "must be after valid_from"),
    "person_role_period": ("valid_to", "must be after valid_from"),
    "group_member_person_id_fkey": ("person", "does not exist"),
    "group_member_period": ("valid_to", "must be after valid_from"),
    "project_lead_person_id_fkey": ("person", "does not exist"),
    "project_lead_period": ("valid_to", "must be after valid_from"),
    "access_request_person_id_fkey": ("person", "does not exist"),
    "access_request_period": ("until", "must lie in the future"),
    "access_request_validity": ("until", "must lie in the future"),
    "access_request_project_fkey": ("project", "does not exist"),
    "access_request_team_id_fkey": ("team", "does not exist"),
    "person_attributes": ("attributes", "are too many or too long"),
    "team_attributes": ("attributes", "are too many or too long"),
    "project_attributes": ("attributes", "are too many or too long"),
}


def any_version(_: int | None, __: UUID | None = None) -> None:
    """Accept every version: for an import, which states how the directory should be."""


async def advance(connection: Connection) -> datetime:
    """Increment the revision and lock out other changes until the commit. Returns the time of the statement."""
    # The next revision.
    moment: datetime = await connection.fetchval(
        "UPDATE directory_revision SET revision = revision + 1 RETURNING statement_timestamp()"
    )
    return moment


async def lock(connection: Connection) -> None:
    """Lock out other changes of the directory until the commit: before a decision that must still be right when its
    change commits."""
    # The row that `advance` increments.
    await connection.execute("SELECT FROM directory_revision FOR UPDATE")


async def lock_row(connection: Connection, table: str, row_id: UUID) -> UUID | None:
    """Lock a row of the directory by its id; None if there is no such row. The caller holds `lock`: a merge holds it
    and changes such rows too, so any other order could deadlock."""
    # One row by its primary key.
    found: UUID | None = await connection.fetchval(f"SELECT id FROM {table} WHERE id = $1 FOR UPDATE", row_id)
    return found


async def list_led_teams(permit: Permit, connection: Connection, person: UUID) -> list[Team]:
    """The teams that a person leads now, by name, without the teams below; the permit is to read one's own account."""
    permit.covers("me", "read")
    # Teams with a present lead membership of the person.
    rows = await connection.fetch(
        "SELECT DISTINCT team.id, name, parent_id FROM membership JOIN team ON team.id = team_id WHERE person_id = $1"
        " AND part = 'lead' AND valid_from <= statement_timestamp() AND statement_timestamp() < valid_to ORDER BY name",
        person,
    )
    return [Team(row["id"], row["name"], row["parent_id"]) for row in rows]


def read_attributes(row: asyncpg.Record) -> Attributes:
    """The stored attributes of a row."""
    return _DECODER.decode(row["attributes"])


def write_attributes(attributes: Attributes) -> str:
    """Attributes as a parameter for a column of jsonb."""
    return msgspec.json.encode(attributes).decode()


async def load_page(
    visibility: Visibility,
    connection: Connection,
    table: str,
    columns: str,
    after: UUID | str | None,
    limit: int,
    *more: object,
) -> list[asyncpg.Record]:
    """Visible rows of a table after the id `after`, oldest first; `limit` + 1 rows if there are more. `table` may be a
    subquery with `more` parameters, from $5 on."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    # Visible rows in keyset order.
    return await connection.fetch(
        f"SELECT {columns} FROM {table} AS r WHERE {visibility.condition} AND ($3::uuid IS NULL OR r.id > $3)"
        " ORDER BY r.id LIMIT $4",
        *visibility.parameters,
        after,
        limit + 1,
        *more,
    )


async def load_row(
    visibility: Visibility, connection: Connection, table: str, columns: str, key: UUID
) -> asyncpg.Record | None:
    """The row with this `id`, if it is visible."""
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
    what: Mapping[str, Any],
    validity: Validity,
    columns: str,
) -> asyncpg.Record | None:
    """Insert a row with a validity and return its `columns`; None if a row with the same `what` overlaps. `key` is its
    primary key. Raises as `constraints`, and InvalidField for a merged or erased person."""
    await _refuse_gone(connection, {PEOPLE[name]: value for name, value in what.items() if name in PEOPLE})
    given = {**key, **what}
    places = {name: f"${place}" for place, name in enumerate(given, start=1)}
    same = [f"{name} = {places[name]}" if value is not None else f"{name} IS NULL" for name, value in what.items()]
    values = [f"{places[name]}::{'text' if isinstance(value, str) else 'uuid'}" for name, value in given.items()]
    since, upto = f"${len(given) + 1}", f"${len(given) + 2}"
    with constraints():
        # A row with this validity, unless an equal grant overlaps.
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


async def _refuse_gone(connection: Connection, people: Mapping[str, UUID]) -> None:
    """Raise InvalidField for merged people, with their canonical ids, and for erased people."""
    # The merged people among them, by the primary key.
    found = await connection.fetch(
        "SELECT person_id, into_id FROM merged_person WHERE person_id = ANY($1::uuid[])", list(people.values())
    )
    into = {row["person_id"]: row["into_id"] for row in found}
    wrong = [FieldError(name, f"was merged into {into[person]}") for name, person in people.items() if person in into]
    erased = await find_erased(connection, people.values() - into.keys()) if people else set()
    wrong += [FieldError(name, ERASED) for name, person in people.items() if person in erased]
    if wrong:
        raise InvalidField(*wrong)


async def end(
    connection: Connection, table: str, row_id: UUID, at: datetime | None, columns: str
) -> tuple[asyncpg.Record, asyncpg.Record]:
    """End the validity of a row at `at`, which must not be past; None means now. Returns its `columns` before and
    after. A row that would end before it begins gets an empty validity. Raises NotFound, and Conflict if it has ended
    by then."""
    # The row by its primary key, locked.
    before = await connection.fetchrow(f"SELECT {columns} FROM {table} WHERE id = $1 FOR UPDATE", row_id)
    if before is None:
        raise NotFound("There is nothing with that id")
    moment = "greatest(coalesce($2::timestamptz, statement_timestamp()), valid_from)"
    # The end can only become earlier, and never lies in the past: the row was the basis of decisions until now.
    after = await connection.fetchrow(
        f"UPDATE {table} AS held SET valid_to = {moment} WHERE id = $1 AND {moment} < valid_to"
        f" AND coalesce($2, 'infinity') >= statement_timestamp() RETURNING {columns}",
        row_id,
        at,
    )
    if after is None:
        raise Conflict("It has already ended by then, or that time is past")
    return before, after


@contextmanager
def constraints() -> Iterator[None]:
    """Turn violations of foreign keys and checks into InvalidField, and of unique constraints into Conflict."""
    try:
        yield
    except (asyncpg.ForeignKeyViolationError, asyncpg.CheckViolationError) as error:
        name, message = FIELDS.get(error.constraint_name or "", ("body", "contradicts what is stored"))
        raise InvalidField(FieldError(name, message)) from error
    except asyncpg.UniqueViolationError as error:
        raise Conflict("That name is already taken", cause=error.constraint_name) from error


def validity_of(row: asyncpg.Record | None) -> Validity:
    if row is None:
        raise Conflict(cause="an INSERT returned no row")
    return Validity(row["valid_from"], row["valid_to"])
