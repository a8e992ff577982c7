"""SQL of people and of the tokens that speak for them. Postgres owns both; a merge alone gives a link to another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from service.authorization.enforcement.one_person import ids
from service.directory import erased_store
from service.directory.entities import Person
from service.directory.store import KIND, MANAGE, PERSON, one, page
from service.errors import Conflict, NotFound
from service.identity import revocation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from service.authorization.enforcement.changes import Expect, Permit
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.directory.entities import Link
    from service.identity.principal import Principal
    from service.identity.subject_hashes import SubjectHashes


async def linked_person(connection: Connection, link: Link) -> UUID | None:
    """The person for whom such tokens speak."""
    # One link by its primary key.
    found: UUID | None = await connection.fetchval(
        "SELECT person_id FROM person_link WHERE issuer = $1 AND subject = $2", link.issuer, link.subject
    )
    return found


async def is_known(connection: Connection, person: UUID) -> bool:
    """Whether there is such a person; nothing else of them."""
    # One person by the primary key.
    found: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM person WHERE id = $1)", person)
    return found


async def asking_person(
    connection: Connection, principal: Principal, hashes: SubjectHashes
) -> tuple[UUID | None, bool]:
    """The person for whom this token speaks, and whether it was revoked, by an erasure of its subject too."""
    # One link by its primary key, if there is one, and what the deny list and erasures say of the token.
    row = await connection.fetchrow(
        f"SELECT link.person_id, {revocation.revocation_condition(people=ids('link.person_id'), first=1)}"
        " OR EXISTS (SELECT FROM erased_subject AS gone WHERE gone.hash = ANY ($6::bytea[])"
        "            AND gone.revoked_before > $5) AS revoked"
        " FROM (SELECT) AS one LEFT JOIN person_link AS link ON link.issuer = $1 AND link.subject = $3",
        *revocation.parameters(principal),
        hashes.compute(principal.issuer, principal.subject),
    )
    # One row always; anything but a clear no is a yes.
    return (row["person_id"], row["revoked"] is not False) if row else (None, True)


async def insert_person(connection: Connection, person: Person, links: Sequence[Link], hashes: SubjectHashes) -> None:
    """Store a person with their links. Called with a Permit by `add_person`, and on first use by `people` alone. Raises
    ErasureKeyMissing."""
    # A new person.
    await connection.execute(
        "INSERT INTO person (id, display_name, email) VALUES ($1, $2, $3)", person.id, person.display_name, person.email
    )
    await _insert_links(connection, person.id, links, hashes)


async def add_person(
    permit: Permit, connection: Connection, person: Person, links: Sequence[Link], hashes: SubjectHashes
) -> None:
    """Raises Conflict, whose extra `person` names whom a link or the e-mail address belongs to already, and
    ErasureKeyMissing."""
    permit.covers(KIND, MANAGE)
    await _refuse_address(connection, person)
    await _refuse_taken(connection, links)
    await insert_person(connection, person, links, hashes)


async def link_person(
    permit: Permit, connection: Connection, person_id: UUID, links: Sequence[Link], hashes: SubjectHashes
) -> Person:
    """Let more tokens speak for a person. Raises NotFound, and Conflict as `add_person`."""
    permit.covers(KIND, MANAGE)
    person = await unmerged(connection, person_id)
    await _refuse_taken(connection, links)
    await _insert_links(connection, person_id, links, hashes)
    return person


async def unmerged(connection: Connection, person_id: UUID) -> Person:
    """A person who can still be changed. Raises NotFound, and Conflict for one who was merged into another: its extra
    `person` says into whom."""
    # The person; their row is kept from vanishing meanwhile.
    row = await connection.fetchrow(f"SELECT {PERSON} FROM person AS r WHERE r.id = $1 FOR KEY SHARE", person_id)
    if row is None:
        raise NotFound("There is no such person")
    if row["merged_into"] is not None:
        raise Conflict("This person was merged into another", extra={"person": str(row["merged_into"])})
    return Person(**dict(row))


async def _refuse_taken(connection: Connection, links: Sequence[Link]) -> None:
    for link in links:
        if (known := await linked_person(connection, link)) is not None:
            raise Conflict("These tokens speak for somebody already", extra={"person": str(known)})


async def _insert_links(connection: Connection, person_id: UUID, links: Sequence[Link], hashes: SubjectHashes) -> None:
    # Tokens that speak for a person.
    await connection.executemany(
        "INSERT INTO person_link (issuer, subject, person_id) VALUES ($1, $2, $3)",
        [(link.issuer, link.subject, person_id) for link in links],
    )
    await erased_store.recognise(connection, [(person_id, link) for link in links], hashes)


async def amend_person(
    permit: Permit, connection: Connection, person_id: UUID, changes: Mapping[str, str | None], expect: Expect
) -> tuple[Person, Person]:
    """Give a person another name or e-mail address: as they were and as they are. Raises as `unmerged`, and Conflict
    for an address that somebody else has."""
    permit.covers(KIND, MANAGE)
    was = await unmerged(connection, person_id)
    expect(was.version)
    wanted = Person(was.id, changes.get("display_name", was.display_name), changes.get("email", was.email))
    if wanted == was:
        return was, was
    await _refuse_address(connection, wanted)
    # What a person is called.
    version = await connection.fetchval(
        "UPDATE person SET display_name = $2, email = $3 WHERE id = $1 RETURNING version",
        wanted.id,
        wanted.display_name,
        wanted.email,
    )
    return was, replace(wanted, version=version)


async def _refuse_address(connection: Connection, person: Person) -> None:
    """Raise Conflict when somebody else has the e-mail address, however it is spelled in capitals; its extra `person`
    names them."""
    # By the index on lower(email).
    known = await connection.fetchval(
        "SELECT id FROM person WHERE lower(email) = lower($1) AND id <> $2 LIMIT 1", person.email, person.id
    )
    if known is not None:
        raise Conflict("Somebody has this e-mail address already", extra={"person": str(known)})


async def people(
    visibility: Visibility, connection: Connection, email: str | None, after: UUID | str | None, limit: int
) -> list[Person]:
    """Oldest first, from behind `after`, all or those with this address; one more than `limit` tells that there are
    more."""
    if email is None:
        rows = await page(visibility, connection, "person", PERSON, after, limit)
    else:
        # By the index on lower(email).
        addressed = "(SELECT * FROM person WHERE lower(email) = lower($5))"
        rows = await page(visibility, connection, addressed, PERSON, after, limit, email)
    return [Person(**dict(row)) for row in rows]


async def person(visibility: Visibility, connection: Connection, person_id: UUID) -> Person | None:
    """One person, if they may be seen."""
    row = await one(visibility, connection, "person", PERSON, person_id)
    return Person(**dict(row)) if row is not None else None
