"""SQL of leads of projects. Postgres owns them; they are ended, never deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.directory.entities import ProjectLead, Validity
from service.directory.store import KIND, MANAGE, begin, end
from service.errors import Conflict, NotFound

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.changes import Permit
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection

LEAD: Final = "id, project, person_id, valid_from, nullif(valid_to, 'infinity') AS ends"
UNKNOWN: Final = "There is no such project"
# One project by its primary key.
KNOWN: Final = "SELECT EXISTS (SELECT FROM project WHERE code = $1)"


async def add_lead(permit: Permit, connection: Connection, lead: ProjectLead) -> ProjectLead:
    """Insert a lead. Raises NotFound for an unknown project, InvalidField for an unknown person, Conflict for an
    overlap."""
    permit.covers(KIND, MANAGE)
    if not await connection.fetchval(KNOWN, lead.project):
        raise NotFound(UNKNOWN)
    what = {"project": lead.project, "person_id": lead.person}
    row = await begin(connection, "project_lead", {"id": lead.id}, what, lead.validity, LEAD)
    if row is None:
        raise Conflict("This person already leads that project at some of that time")
    return _lead(row)


async def end_lead(
    permit: Permit, connection: Connection, project: str, lead: UUID, at: datetime | None
) -> tuple[ProjectLead, ProjectLead]:
    """End a lead of this project; returns the row before and after. Raises as `store.end`."""
    permit.covers(KIND, MANAGE)
    before, after = await end(connection, "project_lead", lead, at, LEAD)
    if before["project"] != project:
        raise NotFound("There is nothing with that id")
    return _lead(before), _lead(after)


async def list_leads(
    visibility: Visibility,
    connection: Connection,
    project: str,
    as_of: datetime | None,
    after: UUID | str | None,
    limit: int,
) -> list[ProjectLead] | None:
    """Visible leads of a project after the id `after`, oldest first: all, or those at a time; `limit` + 1 if there are
    more. None for an unknown project."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    if not await connection.fetchval(KNOWN, project):
        return None
    # Visible leads in keyset order, by the index on projects.
    rows = await connection.fetch(
        f"SELECT {LEAD} FROM project_lead AS r WHERE {visibility.condition} AND r.project = $3"
        " AND ($4::uuid IS NULL OR r.id > $4)"
        " AND ($5::timestamptz IS NULL OR (r.valid_from <= $5 AND $5 < r.valid_to)) ORDER BY r.id LIMIT $6",
        *visibility.parameters,
        project,
        after,
        as_of,
        limit + 1,
    )
    return [_lead(row) for row in rows]


def _lead(row: asyncpg.Record) -> ProjectLead:
    return ProjectLead(row["id"], row["project"], row["person_id"], Validity(row["valid_from"], row["ends"]))
