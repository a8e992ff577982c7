"""SQL of grants to importing clients. Postgres owns them; they are ended, never deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.directory.entities import ImporterGrant, Validity
from service.directory.store import KIND, MANAGE, begin, end, load_page
from service.errors import Conflict

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.changes import Permit
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection

COLUMNS: Final = "id, client_id, team_id, valid_from, nullif(valid_to, 'infinity') AS ends"


async def grant_importer(permit: Permit, connection: Connection, importer_grant: ImporterGrant) -> ImporterGrant:
    """Insert a grant. Raises InvalidField for an unknown team, Conflict for an overlap."""
    permit.covers(KIND, MANAGE)
    what = {"client_id": importer_grant.client, "team_id": importer_grant.team}
    row = await begin(connection, "importer_grant", {"id": importer_grant.id}, what, importer_grant.validity, COLUMNS)
    if row is None:
        raise Conflict("This client may already import for that team at some of that time")
    return _grant(row)


async def end_importer_grant(
    permit: Permit, connection: Connection, grant: UUID, at: datetime | None
) -> tuple[ImporterGrant, ImporterGrant]:
    """End a grant; returns it before and after. Raises as `store.end`."""
    permit.covers(KIND, MANAGE)
    before, after = await end(connection, "importer_grant", grant, at, COLUMNS)
    return _grant(before), _grant(after)


async def list_importer_grants(
    visibility: Visibility, connection: Connection, after: UUID | str | None, limit: int
) -> list[ImporterGrant]:
    """Visible grants, oldest first, ended ones too."""
    return [_grant(row) for row in await load_page(visibility, connection, "importer_grant", COLUMNS, after, limit)]


def _grant(row: asyncpg.Record) -> ImporterGrant:
    return ImporterGrant(row["id"], row["client_id"], row["team_id"], Validity(row["valid_from"], row["ends"]))
