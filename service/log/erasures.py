"""Finds erased people by the records of the erasures. Once the hashes of their links are gone, nothing else says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from service.database import Connection

ERASED: Final = "was erased"


async def find_erased(connection: Connection, people: Collection[UUID | str]) -> set[str]:
    """The ids of those of the people who were erased."""
    # The records of erasures that name them, by the index on resources.
    rows = await connection.fetch(
        "SELECT resource_id FROM audit_record"
        " WHERE resource_id = ANY ($1::text[]) AND kind = 'directory' AND action = 'erase'",
        [str(person) for person in people],
    )
    return {row["resource_id"] for row in rows}
