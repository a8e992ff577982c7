"""SQL of an import of the organisation: what the directory holds of what a file speaks of. Postgres owns it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.directory.entities import Link, Membership, Part, Person, Team, Validity
from service.directory.import_plan import Known
from service.directory.membership_store import COLUMNS
from service.directory.store import KIND, MANAGE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from service.authorization.enforcement.changes import Permit
    from service.database import Connection
    from service.directory.import_file import ImportRow


async def known(permit: Permit, connection: Connection, rows: Sequence[ImportRow]) -> Known:
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
    spoken = await connection.fetch(
        "SELECT issuer, subject, person_id FROM person_link"
        " WHERE (issuer, subject) IN (SELECT * FROM unnest($1::text[], $2::text[]))",
        [link.issuer for link in links],
        [link.subject for link in links],
    )
    # The whole tree: a cycle can go through any team.
    teams = await connection.fetch("SELECT id, name, parent_id FROM team")
    # Memberships by the index on people, those that are over too, but none that was called off.
    found = await connection.fetch(
        f"SELECT {COLUMNS} FROM membership WHERE person_id = ANY($1::uuid[]) AND valid_from < valid_to"
        " ORDER BY valid_from",
        [person["id"] for person in people],
    )
    memberships: dict[tuple[UUID, UUID, Part], list[Membership]] = {}
    for row in found:
        part, validity = Part(row["part"]), Validity(row["valid_from"], row["ends"])
        held = Membership(row["id"], row["person_id"], row["team_id"], part, validity)
        memberships.setdefault((held.person, held.team, held.part), []).append(held)
    # The moment at which what a row says without a time begins.
    now = await connection.fetchval("SELECT statement_timestamp()")
    return Known(
        now,
        by_email,
        {Link(one["issuer"], one["subject"]): one["person_id"] for one in spoken},
        {team["name"]: Team(team["id"], team["name"], team["parent_id"]) for team in teams},
        memberships,
    )
