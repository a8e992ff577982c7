"""Finds people by their token's subject or e-mail address. Reads only; owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from service.database import Connection

MAX_IDS = 20


async def find_by_subject(connection: Connection, issuer: str, subject: str) -> tuple[UUID, ...]:
    """All ids of the person whose tokens have this issuer and subject; empty if there is none."""
    # By primary key.
    rows = await connection.fetch(
        "SELECT unnest(ids_of_person(person_id)) AS id FROM person_link WHERE issuer = $1 AND subject = $2",
        issuer,
        subject,
    )
    return tuple(row["id"] for row in rows)


async def find_by_email(connection: Connection, email: str) -> tuple[UUID, ...]:
    """All ids of the people with this e-mail address, regardless of case; at most MAX_IDS."""
    # By the index on lower(email).
    rows = await connection.fetch(
        "SELECT unnest(ids_of_person(id)) AS id FROM person WHERE lower(email) = lower($1) ORDER BY id LIMIT $2",
        email,
        MAX_IDS,
    )
    return tuple(row["id"] for row in rows)


async def load_ids(connection: Connection, person: UUID) -> tuple[UUID, ...]:
    """All ids of a person: their own and those of people merged into them."""
    found: list[UUID] = await connection.fetchval("SELECT ids_of_person($1)", person)
    return tuple(found)
