"""Finds people by their token's subject or e-mail address, and looks up their current names. Reads only; owns no state.

Records hold person ids only. A name shown next to a record is the current one and is not proved.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from service.audit.search import LoggedRecord
    from service.database import Connection

MAX_IDS = 20
CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


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


async def load_names(connection: Connection, records: Sequence[LoggedRecord]) -> dict[str, str]:
    """The current names of callers and owners in these records, by person id. People without a name are left out."""
    ids = {
        person
        for record in records
        for person in (_person_id(record, "principal", "person"), _person_id(record, "resource", "owner"))
        if person
    }
    # By primary key. A merged person has the name of the person they were merged into.
    rows = await connection.fetch(
        "SELECT wanted.id, coalesce(display_name, email) AS name FROM unnest($1::uuid[]) AS wanted (id)"
        " LEFT JOIN merged_person AS merged ON merged.person_id = wanted.id"
        " JOIN person ON person.id = coalesce(merged.into_id, wanted.id)"
        " WHERE coalesce(display_name, email) IS NOT NULL",
        sorted(ids),
    )
    return {str(row["id"]): row["name"] for row in rows}


def _person_id(record: LoggedRecord, part: str, name: str) -> str | None:
    found = record.body.get(part)
    given = found.get(name) if isinstance(found, dict) else None
    # Another text is there only if the record was altered.
    return given if isinstance(given, str) and CANONICAL_UUID.fullmatch(given) else None
