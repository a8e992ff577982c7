"""Who is meant by a token's subject or an e-mail address, and what people are called now. Reads only; owns no state.

The log holds person ids alone. A name that is shown beside a record was looked up now, and nothing proves it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from service.audit.search import Logged
    from service.database import Connection

MOST = 20
USUAL = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def linked(connection: Connection, issuer: str, subject: str) -> tuple[UUID, ...]:
    """The person for whom tokens of this issuer and subject speak, by every id of theirs; nobody when there is none."""
    # One link by its primary key.
    rows = await connection.fetch(
        "SELECT unnest(ids_of_person(person_id)) AS id FROM person_link WHERE issuer = $1 AND subject = $2",
        issuer,
        subject,
    )
    return tuple(row["id"] for row in rows)


async def addressed(connection: Connection, email: str) -> tuple[UUID, ...]:
    """The people with this e-mail address, however it is spelled in capitals, by every id of theirs; at most MOST."""
    # By the index on lower(email).
    rows = await connection.fetch(
        "SELECT unnest(ids_of_person(id)) AS id FROM person WHERE lower(email) = lower($1) ORDER BY id LIMIT $2",
        email,
        MOST,
    )
    return tuple(row["id"] for row in rows)


async def all_ids(connection: Connection, person: UUID) -> tuple[UUID, ...]:
    """Every id of a person: others may have been merged into them."""
    found: list[UUID] = await connection.fetchval("SELECT ids_of_person($1)", person)
    return tuple(found)


async def names(connection: Connection, found: Sequence[Logged]) -> dict[str, str]:
    """What the askers and owners in these records are called now, by person id; those without a name are left out."""
    ids = {text for one in found for text in (_id(one, "principal", "person"), _id(one, "resource", "owner")) if text}
    # Display names by primary key; of whoever was merged into another, that one's.
    rows = await connection.fetch(
        "SELECT one.id, coalesce(display_name, email) AS name FROM unnest($1::uuid[]) AS one (id)"
        " LEFT JOIN merged_person AS merged ON merged.person_id = one.id"
        " JOIN person ON person.id = coalesce(merged.into_id, one.id)"
        " WHERE coalesce(display_name, email) IS NOT NULL",
        sorted(ids),
    )
    return {str(row["id"]): row["name"] for row in rows}


def _id(logged: Logged, part: str, name: str) -> str | None:
    found = logged.body.get(part)
    given = found.get(name) if isinstance(found, dict) else None
    # Any other text stands there only when somebody altered the record.
    return given if isinstance(given, str) and USUAL.fullmatch(given) else None
