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
    """The person for whom tokens of this issuer and subject speak; nobody when there is none."""
    # One link by its primary key.
    rows = await connection.fetch(
        "SELECT person_id FROM person_link WHERE issuer = $1 AND subject = $2", issuer, subject
    )
    return tuple(row["person_id"] for row in rows)


async def addressed(connection: Connection, email: str) -> tuple[UUID, ...]:
    """The people with this e-mail address, however it is spelled in capitals; at most MOST."""
    # By the index on lower(email).
    rows = await connection.fetch(
        "SELECT id FROM person WHERE lower(email) = lower($1) ORDER BY id LIMIT $2", email, MOST
    )
    return tuple(row["id"] for row in rows)


async def names(connection: Connection, found: Sequence[Logged]) -> dict[str, str]:
    """What the askers and owners in these records are called now, by person id; those without a name are left out."""
    ids = {text for one in found for text in (_id(one, "principal", "person"), _id(one, "resource", "owner")) if text}
    # Display names by primary key.
    rows = await connection.fetch(
        "SELECT id, coalesce(display_name, email) AS name FROM person WHERE id = ANY($1::uuid[])"
        " AND coalesce(display_name, email) IS NOT NULL",
        sorted(ids),
    )
    return {str(row["id"]): row["name"] for row in rows}


def _id(one: Logged, part: str, name: str) -> str | None:
    found = one.body.get(part)
    given = found.get(name) if isinstance(found, dict) else None
    # Any other text stands there only when somebody altered the record.
    return given if isinstance(given, str) and USUAL.fullmatch(given) else None
