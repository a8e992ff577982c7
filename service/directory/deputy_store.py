"""SQL of deputies, and what somebody is to a grant. Postgres owns the grants; they are ended, never deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.authorization.enforcement.one_person import former_ids, survivor, unknown_if
from service.directory import store
from service.directory.entities import DeputyGrant, Validity
from service.directory.store import begin
from service.errors import Conflict

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.permit import Permit
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection

KIND: Final = "deputy"
COLUMNS: Final = "id, manager_id, deputy_id, valid_from, nullif(valid_to, 'infinity') AS ends"

ROW = "r.id, r.manager_id AS owner_id, ''::text AS state, NULL::integer AS version"
# A grant that $3 would give.
IMAGINED = "SELECT NULL::uuid AS id, $3::uuid AS manager_id, NULL::uuid AS deputy_id"
_ASKER, _FORMER = survivor(":person"), former_ids(":person")


def _is(column: str) -> str:
    """The asker is the person in this column; NULL if they were before an erasure, which fulfils denies alone."""
    now = f":person IS NOT NULL AND {survivor(column)} IS NOT DISTINCT FROM {_ASKER}"
    return f"(({now}) OR {unknown_if(f'{column} = ANY ({_FORMER})')})"


DELEGATOR = _is("r.manager_id")
DELEGATE = _is("r.deputy_id")


async def lock(connection: Connection, grant: UUID) -> UUID | None:
    """Lock a grant; None when there is none. First the row that all changes of the directory hold: a merge, which has
    it, ends grants too, and neither waits for whoever waits for it."""
    # The row that `store.advance` counts up.
    await connection.execute("SELECT FROM directory_revision FOR UPDATE")
    # One grant by its primary key.
    found: UUID | None = await connection.fetchval("SELECT id FROM deputy_grant WHERE id = $1 FOR UPDATE", grant)
    return found


async def grant(permit: Permit, connection: Connection, deputy_grant: DeputyGrant) -> DeputyGrant:
    """Raises InvalidField for unknown people, Conflict for an overlap."""
    permit.covers(KIND, "grant")
    what = {"manager_id": deputy_grant.manager, "deputy_id": deputy_grant.deputy}
    row = await begin(connection, "deputy_grant", {"id": deputy_grant.id}, what, deputy_grant.validity, COLUMNS)
    if row is None:
        raise Conflict("This person stands in for that manager already at some of that time")
    return _grant(row)


async def end(
    permit: Permit, connection: Connection, grant_id: UUID, at: datetime | None
) -> tuple[DeputyGrant, DeputyGrant]:
    """The grant as it was and as it is. Raises as `store.end`."""
    permit.covers(KIND, "end")
    before, after = await store.end(connection, "deputy_grant", grant_id, at, COLUMNS)
    return _grant(before), _grant(after)


async def page(
    visibility: Visibility, connection: Connection, *, now: bool, after: UUID | None, limit: int
) -> list[DeputyGrant]:
    """Oldest first, from behind `after`; one more than `limit` tells that there are more."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    # Visible grants in keyset order.
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM deputy_grant AS r WHERE {visibility.condition} AND ($3::uuid IS NULL OR r.id > $3)"
        " AND (NOT $4::boolean OR (r.valid_from <= statement_timestamp() AND statement_timestamp() < r.valid_to))"
        " ORDER BY r.id LIMIT $5",
        *visibility.parameters,
        after,
        now,
        limit + 1,
    )
    return [_grant(row) for row in rows]


def _grant(row: asyncpg.Record) -> DeputyGrant:
    return DeputyGrant(row["id"], row["manager_id"], row["deputy_id"], Validity(row["valid_from"], row["ends"]))
