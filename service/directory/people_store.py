"""SQL of people and their links to tokens. Postgres owns both; only a merge moves a link to another person."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from service.authorization.enforcement.merged_people import all_ids
from service.authorization.enforcement.person_references import find_erased
from service.directory import erased_store
from service.directory.declared_attributes import check_values
from service.directory.entities import Person
from service.directory.store import (
    KIND,
    MANAGE,
    PERSON,
    constraints,
    load_page,
    load_row,
    read_attributes,
    write_attributes,
)
from service.errors import Conflict, NotFound
from service.identity import revocation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.changes import ExpectRow, Permit
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.directory.declared_attributes import GivenAttributes
    from service.directory.entities import Link
    from service.identity.principal import Principal
    from service.identity.subject_hashes import SubjectHashes


async def find_linked_person(connection: Connection, link: Link) -> UUID | None:
    """The person with this link."""
    # One link by its primary key.
    found: UUID | None = await connection.fetchval(
        "SELECT person_id FROM person_link WHERE issuer = $1 AND subject = $2", link.issuer, link.subject
    )
    return found


async def is_known(connection: Connection, person: UUID) -> bool:
    """Whether a person with this id exists."""
    # One person by the primary key.
    found: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM person WHERE id = $1)", person)
    return found


async def person_of_token(
    connection: Connection, principal: Principal, hashes: SubjectHashes
) -> tuple[UUID | None, bool]:
    """The person of this token, and whether the token was revoked, also by an erasure of its subject."""
    # One link by its primary key, if there is one, with the deny list and erasures.
    row = await connection.fetchrow(
        f"SELECT link.person_id, {revocation.revocation_condition(all_ids('link.person_id'), revocation.numbered(1))}"
        " OR EXISTS (SELECT FROM erased_subject AS erased WHERE erased.hash = ANY ($6::bytea[])"
        "            AND erased.revoked_before > $5) AS revoked"
        " FROM (SELECT) AS always LEFT JOIN person_link AS link ON link.issuer = $1 AND link.subject = $3",
        *revocation.parameters(principal),
        hashes.compute(principal.issuer, principal.subject),
    )
    # There is always one row; NULL counts as revoked.
    return (row["person_id"], row["revoked"] is not False) if row else (None, True)


async def insert_person(connection: Connection, person: Person, links: Sequence[Link], hashes: SubjectHashes) -> None:
    """Insert a person with links. Without a permit, only `people` may call it, on first use of a token. Raises
    ErasureKeyMissing."""
    # A new person.
    await connection.execute(
        "INSERT INTO person (id, display_name, email, attributes) VALUES ($1, $2, $3, $4)",
        person.id,
        person.display_name,
        person.email,
        write_attributes(person.attributes),
    )
    await _insert_links(connection, person.id, links, hashes)


async def add_person(
    permit: Permit,
    connection: Connection,
    person: Person,
    links: Sequence[Link],
    hashes: SubjectHashes,
    attributes: GivenAttributes | None = None,
) -> Person:
    """Insert a person with attributes. Raises ErasureKeyMissing, InvalidField for attributes that the active policy
    does not declare, and Conflict, whose extra `person` has one of the links or the e-mail address."""
    permit.covers(KIND, MANAGE)
    person = replace(person, attributes=check_values(attributes or {}, permit.snapshot.vocabulary.people))
    await _refuse_address(connection, person)
    await _refuse_taken(connection, links)
    with constraints():
        await insert_person(connection, person, links, hashes)
    return person


async def link_person(
    permit: Permit, connection: Connection, person_id: UUID, links: Sequence[Link], hashes: SubjectHashes
) -> Person:
    """Link more tokens to a person. Raises NotFound, and Conflict as `add_person`."""
    permit.covers(KIND, MANAGE)
    person = await load_present_person(connection, person_id)
    await _refuse_taken(connection, links)
    await _insert_links(connection, person_id, links, hashes)
    return person


async def load_unmerged_person(connection: Connection, person_id: UUID) -> Person:
    """A person who is not merged. Raises NotFound, and Conflict for a merged person, whose extra `person` is the
    canonical id."""
    # The person; the lock keeps an erasure out meanwhile.
    row = await connection.fetchrow(f"SELECT {PERSON} FROM person AS r WHERE r.id = $1 FOR KEY SHARE", person_id)
    if row is None:
        raise NotFound("There is no such person")
    if row["merged_into"] is not None:
        raise Conflict("This person was merged into another", extra={"person": str(row["merged_into"])})
    return _person(row)


async def load_present_person(connection: Connection, person_id: UUID) -> Person:
    """As `load_unmerged_person`, and also raises Conflict for an erased person: nothing more is stored of them."""
    person = await load_unmerged_person(connection, person_id)
    if await find_erased(connection, [person_id]):
        raise Conflict("This person was erased; add a new one")
    return person


def _person(row: asyncpg.Record) -> Person:
    return Person(**{**dict(row), "attributes": read_attributes(row)})


async def _refuse_taken(connection: Connection, links: Sequence[Link]) -> None:
    for link in links:
        if (known := await find_linked_person(connection, link)) is not None:
            raise Conflict("These tokens are already linked to a person", extra={"person": str(known)})


async def _insert_links(connection: Connection, person_id: UUID, links: Sequence[Link], hashes: SubjectHashes) -> None:
    # Links of the person.
    await connection.executemany(
        "INSERT INTO person_link (issuer, subject, person_id) VALUES ($1, $2, $3)",
        [(link.issuer, link.subject, person_id) for link in links],
    )
    await erased_store.recognise(connection, [(person_id, link) for link in links], hashes)


async def amend_person(
    permit: Permit,
    connection: Connection,
    person_id: UUID,
    changes: Mapping[str, str | None],
    expect: ExpectRow,
    attributes: GivenAttributes | None = None,
) -> tuple[Person, Person]:
    """Change the name, the e-mail address or attributes of a person; returns the person before and after. Raises as
    `load_present_person`, Conflict for an address of another person, and InvalidField for attributes that the active
    policy does not declare."""
    permit.covers(KIND, MANAGE)
    before = await load_present_person(connection, person_id)
    expect(before.version, before.id)
    name, email = changes.get("display_name", before.display_name), changes.get("email", before.email)
    values = before.attributes
    if attributes is not None:
        values = check_values(attributes, permit.snapshot.vocabulary.people, values)
    after = Person(before.id, name, email, attributes=values)
    if after == before:
        return before, before
    await _refuse_address(connection, after)
    with constraints():
        # Name, address and attributes.
        version = await connection.fetchval(
            "UPDATE person SET display_name = $2, email = $3, attributes = $4 WHERE id = $1 RETURNING version",
            after.id,
            after.display_name,
            after.email,
            write_attributes(after.attributes),
        )
    return before, replace(after, version=version)


async def _refuse_address(connection: Connection, person: Person) -> None:
    """Raise Conflict if another person has the e-mail address, in any case; its extra `person` is that person."""
    # By the index on lower(email).
    known = await connection.fetchval(
        "SELECT id FROM person WHERE lower(email) = lower($1) AND id <> $2 LIMIT 1", person.email, person.id
    )
    if known is not None:
        raise Conflict("Another person already has this e-mail address", extra={"person": str(known)})


@dataclass(frozen=True, slots=True)
class PeopleFilter:
    """Which people: with this `email`, in any case; whose name has a word that begins with each of these `words`. None
    does not filter."""

    email: str | None = None
    words: tuple[str, ...] | None = None


async def list_people(
    visibility: Visibility, connection: Connection, of: PeopleFilter, after: UUID | str | None, limit: int
) -> list[Person]:
    """Visible people after the id `after`, oldest first; `limit` + 1 if there are more."""
    conditions, values = list[str](), list[str]()
    if of.email is not None:
        values.append(of.email)
        conditions.append(f"lower(email) = lower(${4 + len(values)})")
    if of.words is not None:
        values.append(" & ".join(f"'{word}':*" for word in of.words))
        words = f"to_tsquery('simple', ${4 + len(values)})"
        conditions.append(f"display_name IS NOT NULL AND to_tsvector('simple', display_name) @@ {words}")
    # By the indexes on lower(email) and on the words of names.
    table = f"(SELECT * FROM person WHERE {' AND '.join(conditions)})" if conditions else "person"
    rows = await load_page(visibility, connection, table, PERSON, after, limit, *values)
    return [_person(row) for row in rows]


async def load_person(visibility: Visibility, connection: Connection, person_id: UUID) -> Person | None:
    """One person, if they are visible."""
    row = await load_row(visibility, connection, "person", PERSON, person_id)
    return _person(row) if row is not None else None
