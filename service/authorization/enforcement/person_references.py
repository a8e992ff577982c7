"""How requests name a person other than by id: `me`, an e-mail address, or the issuer and subject of their tokens.

Postgres owns people and links. Whether a reference names anybody tells who exists. So a caller who may not read the
directory gets for an unknown person the answer that they get for a person who has nothing to do with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

from service.authorization.enforcement.decision_point import Resource, evaluate
from service.authorization.enforcement.merged_people import all_ids, canonical_id
from service.errors import InvalidField
from service.places import FieldError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Mapping

    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.identity.principal import Principal

# Nobody has this id.
NOBODY: Final = UUID(int=0)
DIRECTORY: Final = "directory"
NOT_FOUND: Final = "names no person in the directory"
ERASED: Final = "was erased"
NO_PERSON: Final = "`me` is a person, and a client that acts for itself is none"


@dataclass(frozen=True, slots=True)
class PersonReference:
    """A person by their `email`, in any case, or by a `link`: the issuer and subject of their tokens. The caller, if
    both are None."""

    email: str | None = None
    link: tuple[str, str] | None = None


ME: Final = PersonReference()
NamedPerson: TypeAlias = UUID | PersonReference


async def find_people(
    connection: Connection, references: Collection[PersonReference]
) -> Mapping[PersonReference, frozenset[UUID]]:
    """The canonical ids of the people with these addresses and links; those that name nobody are missing."""
    found: dict[PersonReference, frozenset[UUID]] = {}
    if emails := {reference.email: reference for reference in references if reference.email is not None}:
        # By the index on lower(email). Postgres alone says which addresses are equal, as it does for new people.
        rows = await connection.fetch(
            f"SELECT asked.email, array_agg(DISTINCT {canonical_id('person.id')}) AS people"
            " FROM unnest($1::text[]) AS asked (email) JOIN person ON lower(person.email) = lower(asked.email)"
            " GROUP BY 1",
            list(emails),
        )
        found |= {emails[row["email"]]: frozenset(row["people"]) for row in rows}
    if links := {reference.link: reference for reference in references if reference.link is not None}:
        # By the primary key of person_link.
        rows = await connection.fetch(
            "SELECT link.issuer, link.subject, link.person_id"
            " FROM unnest($1::text[], $2::text[]) AS asked (issuer, subject)"
            " JOIN person_link AS link ON link.issuer = asked.issuer AND link.subject = asked.subject",
            [issuer for issuer, _ in links],
            [subject for _, subject in links],
        )
        found |= {links[row["issuer"], row["subject"]]: frozenset({row["person_id"]}) for row in rows}
    return found


async def find_merged(connection: Connection, people: Collection[UUID]) -> Mapping[UUID, UUID]:
    """The canonical ids of those of the people who were merged into others."""
    # By the primary key of merged_person.
    rows = await connection.fetch(
        f"SELECT asked.id, {canonical_id('asked.id')} AS canonical FROM unnest($1::uuid[]) AS asked (id)", list(people)
    )
    return {row["id"]: row["canonical"] for row in rows if row["canonical"] != row["id"]}


async def find_erased(connection: Connection, people: Collection[UUID]) -> set[UUID]:
    """Those of the people who were erased."""
    # By the primary key of erased_person.
    rows = await connection.fetch("SELECT person_id FROM erased_person WHERE person_id = ANY ($1::uuid[])", people)
    return {row["person_id"] for row in rows}


async def find_ids(connection: Connection, people: Collection[UUID]) -> Mapping[UUID, tuple[UUID, frozenset[UUID]]]:
    """The canonical id of each of the people, and all of their ids."""
    # By the primary key of merged_person and the index on the canonical id.
    rows = await connection.fetch(
        f"SELECT asked.id, {canonical_id('asked.id')} AS canonical, {all_ids('asked.id')} AS ids"
        " FROM unnest($1::uuid[]) AS asked (id)",
        list(people),
    )
    return {row["id"]: (row["canonical"], frozenset(row["ids"])) for row in rows}


async def find_person(connection: Connection, principal: Principal, person: NamedPerson, field: str) -> UUID:
    """The id of the person, for a caller who may know who exists. Raises InvalidField that names `field`."""
    if isinstance(person, UUID):
        return person
    if person == ME:
        if principal.person is None:
            raise InvalidField(FieldError(field, NO_PERSON))
        return principal.person
    people = (await find_people(connection, [person])).get(person, frozenset())
    if len(people) > 1:
        raise InvalidField(FieldError(field, f"names {len(people)} people; give the id of one of them"))
    if not people:
        raise InvalidField(FieldError(field, NOT_FOUND))
    return next(iter(people))


async def find_listed_person(
    visibility: Visibility, connection: Connection, person: NamedPerson | None, field: str
) -> UUID | None:
    """The id of a person whose rows a list is about, None if it is about all. Raises InvalidField that names
    `field`."""
    if person is None:
        return None
    finding = find_person(connection, visibility.principal, person, field)
    return await finding if person == ME else await or_nobody(visibility, finding)


async def or_nobody(visibility: Visibility, finding: Awaitable[UUID]) -> UUID:
    """The id that is found. For callers who may not read the directory, a reference that names nothing is NOBODY, of
    whom there are no rows; others get the InvalidField."""
    try:
        return await finding
    except InvalidField:
        directory = Resource(DIRECTORY)
        if evaluate(visibility.snapshot, visibility.principal, "read", directory, visibility.lookup).allowed:
            raise
        return NOBODY
