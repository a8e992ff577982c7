"""SQL of projects. Postgres owns them; they are switched off, never deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.directory import store
from service.directory.entities import Project
from service.directory.store import MANAGE, constraints
from service.errors import NotFound

if TYPE_CHECKING:
    from service.authorization.permit import Permit
    from service.authorization.visibility import Visibility
    from service.database import Connection

KIND: Final = "project"


async def add(permit: Permit, connection: Connection, one: Project) -> None:
    """Raises Conflict for a code that is taken."""
    permit.covers(store.KIND, MANAGE)
    with constraints():
        # A new project.
        await connection.execute(
            "INSERT INTO project (code, name, active) VALUES ($1, $2, $3)", one.code, one.name, one.active
        )


async def replace(permit: Permit, connection: Connection, one: Project) -> Project:
    """The project as it was. Raises NotFound."""
    permit.covers(store.KIND, MANAGE)
    # One project by its code; changes of the directory go one by one, so it stays as it is read.
    row = await connection.fetchrow("SELECT code, name, active FROM project WHERE code = $1", one.code)
    if row is None:
        raise NotFound("There is no such project")
    # What it is called, and whether it takes hours.
    await connection.execute(
        "UPDATE project SET name = $2, active = $3 WHERE code = $1", one.code, one.name, one.active
    )
    return Project(**dict(row))


async def page(
    visibility: Visibility, connection: Connection, *, active: bool | None, after: str | None, limit: int
) -> list[Project]:
    """By code, from behind `after`; one more than `limit` tells that there are more."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    # Visible projects in keyset order.
    rows = await connection.fetch(
        f"SELECT code, name, active FROM project AS r WHERE {visibility.condition}"
        " AND ($3::text IS NULL OR r.code > $3) AND ($4::boolean IS NULL OR r.active = $4) ORDER BY r.code LIMIT $5",
        *visibility.parameters,
        after,
        active,
        limit + 1,
    )
    return [Project(**dict(row)) for row in rows]
