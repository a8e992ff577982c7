"""SQL of fallback approvers. Postgres owns them; they are ended, never deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.directory import store
from service.directory.entities import Fallback, Validity
from service.directory.store import KIND, MANAGE, begin, load_page
from service.errors import Conflict

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.changes import Permit
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection

COLUMNS: Final = "id, person_id, team_id, valid_from, nullif(valid_to, 'infinity') AS ends"


async def name(permit: Permit, connection: Connection, fallback: Fallback) -> Fallback:
    """Insert a fallback approver. Raises InvalidField for unknown ids, Conflict for an overlap."""
    permit.covers(KIND, MANAGE)
    what = {"person_id": fallback.person, "team_id": fallback.team}
    row = await begin(connection, "fallback_approver", {"id": fallback.id}, what, fallback.validity, COLUMNS)
    if row is None:
        raise Conflict("This person is already a fallback approver there at some of that time")
    return _fallback(row)


async def end(permit: Permit, connection: Connection, fallback: UUID, at: datetime | None) -> tuple[Fallback, Fallback]:
    """End a fallback approver; returns the row before and after. Raises as `store.end`."""
    permit.covers(KIND, MANAGE)
    before, after = await store.end(connection, "fallback_approver", fallback, at, COLUMNS)
    return _fallback(before), _fallback(after)


async def list_fallbacks(
    visibility: Visibility, connection: Connection, after: UUID | None, limit: int
) -> list[Fallback]:
    """Visible fallback approvers, oldest first, ended ones too."""
    return [
        _fallback(row) for row in await load_page(visibility, connection, "fallback_approver", COLUMNS, after, limit)
    ]


def _fallback(row: asyncpg.Record) -> Fallback:
    return Fallback(row["id"], row["person_id"], row["team_id"], Validity(row["valid_from"], row["ends"]))
