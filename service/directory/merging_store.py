"""SQL of a merge. Postgres owns the rows; changes of the directory are serialised (store.advance), so no grant begins
or ends meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from service.authorization.enforcement.merged_people import WAIT_FOR_DECIDED
from service.authorization.enforcement.person_references import ERASED, find_erased
from service.directory import access_request_store, erased_store, store
from service.directory.access_request_store import describe_closed
from service.directory.entities import Person, Validity
from service.directory.grants import GRANTS_OF_PEOPLE, ROLES
from service.directory.people_store import load_unmerged_person
from service.directory.recorded_change import DirectoryChange, described_attributes
from service.directory.store import (
    KIND,
    MANAGE,
    PEOPLE,
    VALID,
    begin,
    end,
    validity_of,
    write_attributes,
)
from service.errors import Conflict, InvalidField, NotFound
from service.ids import make_id
from service.places import FieldError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from service.authorization.enforcement.changes import Permit
    from service.database import Connection
    from service.directory.grants import GrantTable


@dataclass(frozen=True, slots=True)
class Merged:
    """The remaining person, the number of links that moved, the texts of the other, and the changes of grants."""

    person: Person
    links: int
    texts: Mapping[str, str]
    changes: Sequence[DirectoryChange]


async def lock(connection: Connection) -> None:
    """Lock out other changes of the directory, and wait for changes that were decided about two people: they are
    committed before the two are one."""
    await store.lock(connection)
    await connection.execute(f"SELECT {WAIT_FOR_DECIDED}")


async def merge(permit: Permit, connection: Connection, person: UUID, into: UUID) -> Merged:
    """Raises as `Merging.merge`."""
    permit.covers(KIND, MANAGE)
    merged = await load_unmerged_person(connection, person)
    try:
        remaining = await load_unmerged_person(connection, into)
    except NotFound as error:
        raise InvalidField(FieldError("into", "does not exist")) from error
    if await find_erased(connection, [into]):
        raise InvalidField(FieldError("into", ERASED))
    # People who were merged into this person get the new canonical id.
    await connection.execute("UPDATE merged_person SET into_id = $2 WHERE into_id = $1", person, into)
    # From now on `into` is the canonical id.
    await connection.execute("INSERT INTO merged_person (person_id, into_id) VALUES ($1, $2)", person, into)
    # Links of tokens move to the canonical id.
    links = await connection.fetch(
        "UPDATE person_link SET person_id = $2 WHERE person_id = $1 RETURNING person_id", person, into
    )
    await erased_store.copy_former_ids(connection, person, into)
    changes = [
        change for grant_table in GRANTS_OF_PEOPLE for change in await _move(connection, grant_table, person, into)
    ]
    changes += describe_closed(await access_request_store.merge(connection, person, into))
    values = {**merged.attributes, **remaining.attributes}
    remaining = Person(
        into, remaining.display_name or merged.display_name, remaining.email or merged.email, attributes=values
    )
    # Name, address and attributes are stored under the canonical id only. Every merged person gets a new version, since
    # their canonical id changed.
    await connection.execute(
        "UPDATE person SET display_name = NULL, email = NULL, attributes = '{}', version = version + 1"
        " WHERE id IN (SELECT person_id FROM merged_person WHERE into_id = $1)",
        into,
    )
    version = await connection.fetchval(
        "UPDATE person SET display_name = $2, email = $3, attributes = $4 WHERE id = $1 RETURNING version",
        into,
        remaining.display_name,
        remaining.email,
        write_attributes(values),
    )
    texts = {"display_name": merged.display_name, "email": merged.email}
    known = {name: text for name, text in texts.items() if text is not None}
    known |= described_attributes({}, merged.attributes)[1]
    return Merged(replace(remaining, version=version), len(links), known, changes)


async def _move(connection: Connection, grants: GrantTable, person: UUID, into: UUID) -> list[DirectoryChange]:
    """End present and future grants of `person`, and begin the same for `into`, unless `into` has them for that
    time."""
    changes: list[DirectoryChange] = []
    people = [name for name in grants.columns if name in PEOPLE]
    # Grants that have not ended, which are few, by the indexes on people.
    rows = await connection.fetch(
        f"SELECT id, {', '.join(grants.columns)}, {VALID} FROM {grants.table}"
        f" WHERE ({' OR '.join(f'{name} = $1' for name in people)}) AND valid_from < valid_to"
        " AND statement_timestamp() < valid_to ORDER BY valid_from",
        person,
    )
    for row in rows:
        was, now = await end(connection, grants.table, row["id"], None, VALID)
        changes.append(grants.row_change(grants.ended, row, row["id"], validity_of(now), before=validity_of(was)))
        what = {name: into if row[name] == person else row[name] for name in grants.columns}
        if len({what[name] for name in people}) < len(people):
            # Nobody delegates to themselves.
            continue
        key = {} if grants is ROLES else {"id": make_id()}
        validity = Validity(now["valid_to"], was["valid_to"])
        made = await begin(connection, grants.table, key, what, validity, f"id, {VALID}")
        if made is not None:
            changes.append(grants.row_change(grants.began, what, made["id"], validity_of(made)))
        elif not await _is_covered(connection, grants.table, what, validity):
            raise Conflict(
                "Both people have this grant for times that overlap in part: end one of the two first",
                extra={"held": str(row["id"])},
            )
    return changes


async def _is_covered(connection: Connection, table: str, what: Mapping[str, object], validity: Validity) -> bool:
    """Whether one row with the same `what` is valid for all of this time."""
    same = [f"{name} IS NOT DISTINCT FROM ${place}" for place, name in enumerate(what, start=3)]
    # One row that begins no later and ends no sooner.
    found: bool = await connection.fetchval(
        f"SELECT EXISTS (SELECT FROM {table} WHERE {' AND '.join(same)} AND valid_from <= $1"
        " AND coalesce($2::timestamptz, 'infinity') <= valid_to)",
        validity.valid_from,
        validity.valid_to,
        *what.values(),
    )
    return found
