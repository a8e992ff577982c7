"""SQL of an import of the organisation. Postgres owns the rows.

One statement writes all rows of a kind, since other changes of the directory wait for the import. The plan is made
after `store.advance`, so no other change interferes; only a first sign-in may have added a link, which is a Conflict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.directory import erased_store
from service.directory.entities import Link, Membership, Part, Person, Team, Validity
from service.directory.grant_store import MEMBERSHIP
from service.directory.import_plan import Known
from service.directory.store import KIND, MANAGE, constraints
from service.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from service.authorization.enforcement.changes import Permit
    from service.database import Connection
    from service.directory.import_file import ImportRow
    from service.identity.subject_hashes import SubjectHashes


async def load_known(permit: Permit, connection: Connection, rows: Sequence[ImportRow]) -> Known:
    """People and links that the rows name, every team, and the memberships of these people."""
    permit.covers(KIND, MANAGE)
    emails = sorted({row.email for row in rows if row.email})
    links = {row.link for row in rows if row.link}
    # People by the index on their e-mail address.
    people = await connection.fetch(
        "SELECT id, display_name, email FROM person WHERE lower(email) = ANY($1::text[])", emails
    )
    by_email: dict[str, list[Person]] = {}
    for person in people:
        by_email.setdefault(person["email"].lower(), []).append(
            Person(person["id"], person["display_name"], person["email"])
        )
    # Links by their primary key.
    linked = await connection.fetch(
        "SELECT issuer, subject, person_id FROM person_link"
        " WHERE (issuer, subject) IN (SELECT * FROM unnest($1::text[], $2::text[]))",
        [link.issuer for link in links],
        [link.subject for link in links],
    )
    # The whole tree: a cycle can go through any team.
    teams = await connection.fetch("SELECT id, name, parent_id FROM team")
    # Memberships by the index on people, ended ones too, but none with an empty validity.
    found = await connection.fetch(
        f"SELECT {MEMBERSHIP} FROM membership WHERE person_id = ANY($1::uuid[]) AND valid_from < valid_to"
        " ORDER BY valid_from",
        [person["id"] for person in people],
    )
    memberships: dict[tuple[UUID, UUID, Part], list[Membership]] = {}
    for row in found:
        part, validity = Part(row["part"]), Validity(row["valid_from"], row["ends"])
        held = Membership(row["id"], row["person_id"], row["team_id"], part, validity)
        memberships.setdefault((held.person, held.team, held.part), []).append(held)
    # The time at which a row without `valid_from` begins.
    now = await connection.fetchval("SELECT statement_timestamp()")
    return Known(
        now,
        by_email,
        {Link(row["issuer"], row["subject"]): row["person_id"] for row in linked},
        {team["name"]: Team(team["id"], team["name"], team["parent_id"]) for team in teams},
        memberships,
    )


async def add_people(permit: Permit, connection: Connection, people: Sequence[Person]) -> None:
    """Insert people, without links."""
    permit.covers(KIND, MANAGE)
    # All of them at once.
    await connection.execute(
        "INSERT INTO person (id, display_name, email) SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[])",
        *_columns([(person.id, person.display_name, person.email) for person in people], 3),
    )


async def add_links(
    permit: Permit, connection: Connection, links: Sequence[tuple[UUID, Link]], hashes: SubjectHashes
) -> None:
    """Insert links. Raises Conflict for a link that exists, and ErasureKeyMissing."""
    permit.covers(KIND, MANAGE)
    with constraints():
        # All of them at once.
        await connection.execute(
            "INSERT INTO person_link (person_id, issuer, subject)"
            " SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[])",
            *_columns([(person, link.issuer, link.subject) for person, link in links], 3),
        )
    if links:
        await erased_store.recognise(connection, links, hashes)


async def describe_people(permit: Permit, connection: Connection, people: Sequence[Person]) -> None:
    """Update names and addresses."""
    permit.covers(KIND, MANAGE)
    # By the primary key.
    await connection.execute(
        "UPDATE person SET display_name = new.name, email = new.email"
        " FROM unnest($1::uuid[], $2::text[], $3::text[]) AS new (id, name, email) WHERE person.id = new.id",
        *_columns([(person.id, person.display_name, person.email) for person in people], 3),
    )


async def add_teams(permit: Permit, connection: Connection, teams: Sequence[Team]) -> None:
    """Insert teams whose parents exist or are among them. Raises Conflict for a name that is taken."""
    permit.covers(KIND, MANAGE)
    with constraints():
        # All of them at once.
        await connection.execute(
            "INSERT INTO team (id, name, parent_id) SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[])",
            *_columns([(team.id, team.name, team.parent) for team in teams], 3),
        )
    # The closure: each team, and all teams above it, by primary keys upwards.
    await connection.execute(
        "WITH RECURSIVE above (ancestor_id, descendant_id, depth) AS ("
        " SELECT id, id, 0 FROM unnest($1::uuid[]) AS new (id) UNION ALL"
        " SELECT team.parent_id, descendant_id, depth + 1 FROM above JOIN team ON team.id = ancestor_id"
        " WHERE team.parent_id IS NOT NULL)"
        " INSERT INTO team_path (ancestor_id, descendant_id, depth) SELECT * FROM above",
        [team.id for team in teams],
    )


async def add_memberships(permit: Permit, connection: Connection, memberships: Sequence[Membership]) -> None:
    """Insert memberships. Raises Conflict for an overlap."""
    permit.covers(KIND, MANAGE)
    rows = [
        (membership.id, membership.person, membership.team, str(membership.part), *_period(membership))
        for membership in memberships
    ]
    with constraints():
        # Memberships that overlap no other, by the index on people.
        made = await connection.execute(
            "INSERT INTO membership (id, person_id, team_id, part, valid_from, valid_to)"
            " SELECT id, person, team, part, since, coalesce(upto, 'infinity') FROM"
            " unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[], $6::timestamptz[])"
            " AS new (id, person, team, part, since, upto) WHERE NOT EXISTS (SELECT FROM membership AS other"
            " WHERE other.person_id = person AND other.team_id = team AND other.part = new.part"
            " AND other.valid_from < other.valid_to AND other.valid_from < coalesce(upto, 'infinity')"
            " AND since < other.valid_to)",
            *_columns(rows, 6),
        )
    _check_count(made, len(rows), "A person already has that part in that team at some of that time")


async def end_memberships(permit: Permit, connection: Connection, ends: Sequence[tuple[Membership, datetime]]) -> None:
    """End memberships at a future time. Raises Conflict for one that is not valid then."""
    permit.covers(KIND, MANAGE)
    # An end can only become earlier, and is never past; by the primary key.
    ended = await connection.execute(
        "UPDATE membership SET valid_to = moment FROM unnest($1::uuid[], $2::timestamptz[]) AS ending (id, moment)"
        " WHERE membership.id = ending.id AND valid_from < moment AND moment <= valid_to"
        " AND moment >= statement_timestamp()",
        *_columns([(membership.id, moment) for membership, moment in ends], 2),
    )
    _check_count(
        ended, len(ends), "A membership must end after it began, not in the past, and not later than now planned"
    )


async def update_statistics(permit: Permit, connection: Connection) -> None:
    """Let Postgres count and sample the tables of the directory, as it would itself a minute later."""
    permit.covers(KIND, MANAGE)
    # Only their owner may do so, so the function is the owner's.
    await connection.execute("SELECT analyze_directory()")


def _period(membership: Membership) -> tuple[datetime | None, datetime | None]:
    return membership.validity.valid_from, membership.validity.valid_to


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    """Transpose rows to one list for each column, also without rows."""
    return [[row[place] for row in rows] for place in range(width)]


def _check_count(status: str, expected: int, message: str) -> None:
    """Raise Conflict unless a statement changed `expected` rows."""
    if int(status.rpartition(" ")[2]) != expected:
        raise Conflict(message)
