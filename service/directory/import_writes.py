"""SQL of what an import changes: one statement for all rows of a kind, since others wait for the directory meanwhile.

Postgres owns it. The plan was made behind `store.advance`, so nobody else changes the directory; only a first sign-in
may have made a link since, which is a Conflict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.directory import erased_store
from service.directory.store import KIND, MANAGE, constraints
from service.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from service.authorization.enforcement.changes import Permit
    from service.database import Connection
    from service.directory.entities import Link, Membership, Person, Team
    from service.identity.subject_hashes import SubjectHashes


async def add_people(permit: Permit, connection: Connection, people: Sequence[Person]) -> None:
    """New people, without links."""
    permit.covers(KIND, MANAGE)
    # New people.
    await connection.execute(
        "INSERT INTO person (id, display_name, email) SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[])",
        *_columns([(person.id, person.display_name, person.email) for person in people], 3),
    )


async def add_links(
    permit: Permit, connection: Connection, links: Sequence[tuple[UUID, Link]], hashes: SubjectHashes
) -> None:
    """Tokens that speak for people. Raises Conflict for those that speak for somebody already, ErasureKeyMissing."""
    permit.covers(KIND, MANAGE)
    with constraints():
        # Tokens that speak for people.
        await connection.execute(
            "INSERT INTO person_link (person_id, issuer, subject)"
            " SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[])",
            *_columns([(person, link.issuer, link.subject) for person, link in links], 3),
        )
    if links:
        await erased_store.recognise(connection, links, hashes)


async def describe_people(permit: Permit, connection: Connection, people: Sequence[Person]) -> None:
    """Other names."""
    permit.covers(KIND, MANAGE)
    # What people are called, by their primary key.
    await connection.execute(
        "UPDATE person SET display_name = one.name, email = one.email"
        " FROM unnest($1::uuid[], $2::text[], $3::text[]) AS one (id, name, email) WHERE person.id = one.id",
        *_columns([(person.id, person.display_name, person.email) for person in people], 3),
    )


async def add_teams(permit: Permit, connection: Connection, teams: Sequence[Team]) -> None:
    """New teams, whose parents are there or among them. Raises Conflict for a name that is taken."""
    permit.covers(KIND, MANAGE)
    with constraints():
        # New teams.
        await connection.execute(
            "INSERT INTO team (id, name, parent_id) SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[])",
            *_columns([(team.id, team.name, team.parent) for team in teams], 3),
        )
    # Each lies below itself and below everything that its parent lies below, by primary keys upwards.
    await connection.execute(
        "WITH RECURSIVE above (ancestor_id, descendant_id, depth) AS ("
        " SELECT id, id, 0 FROM unnest($1::uuid[]) AS one (id) UNION ALL"
        " SELECT team.parent_id, descendant_id, depth + 1 FROM above JOIN team ON team.id = ancestor_id"
        " WHERE team.parent_id IS NOT NULL)"
        " INSERT INTO team_path (ancestor_id, descendant_id, depth) SELECT * FROM above",
        [team.id for team in teams],
    )


async def add_memberships(permit: Permit, connection: Connection, memberships: Sequence[Membership]) -> None:
    """Memberships that begin at a moment. Raises Conflict when somebody has that part in that team at some of that
    time."""
    permit.covers(KIND, MANAGE)
    rows = [
        (membership.id, membership.person, membership.team, str(membership.part), *_period(membership))
        for membership in memberships
    ]
    with constraints():
        # Memberships that do not overlap one that there is, by the index on people.
        made = await connection.execute(
            "INSERT INTO membership (id, person_id, team_id, part, valid_from, valid_to)"
            " SELECT id, person, team, part, since, coalesce(upto, 'infinity') FROM"
            " unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[], $6::timestamptz[])"
            " AS one (id, person, team, part, since, upto) WHERE NOT EXISTS (SELECT FROM membership AS other"
            " WHERE other.person_id = person AND other.team_id = team AND other.part = one.part"
            " AND other.valid_from < other.valid_to AND other.valid_from < coalesce(upto, 'infinity')"
            " AND since < other.valid_to)",
            *_columns(rows, 6),
        )
    _all(made, len(rows), "A person has that part in that team already at some of that time")


async def end_memberships(permit: Permit, connection: Connection, ends: Sequence[tuple[Membership, datetime]]) -> None:
    """Memberships that end at a moment to come. Raises Conflict when one does not hold then."""
    permit.covers(KIND, MANAGE)
    # The end moves forward only, and never into the past, by the primary key.
    ended = await connection.execute(
        "UPDATE membership SET valid_to = moment FROM unnest($1::uuid[], $2::timestamptz[]) AS one (id, moment)"
        " WHERE membership.id = one.id AND valid_from < moment AND moment <= valid_to"
        " AND moment >= statement_timestamp()",
        *_columns([(one.id, moment) for one, moment in ends], 2),
    )
    _all(ended, len(ends), "A membership ends after it began, not in the past, and not later than it already does")


def _period(membership: Membership) -> tuple[datetime | None, datetime | None]:
    return membership.validity.valid_from, membership.validity.valid_to


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    """Rows as one list for each column; also of no rows."""
    return [[row[place] for row in rows] for place in range(width)]


def _all(status: str, asked: int, otherwise: str) -> None:
    """Raise Conflict unless a statement did something to as many rows as it was asked to."""
    if int(status.rpartition(" ")[2]) != asked:
        raise Conflict(otherwise)
