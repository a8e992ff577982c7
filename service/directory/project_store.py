"""SQL of projects. Postgres owns them; they are closed, never deleted."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from service.directory import store
from service.directory.entities import Project
from service.directory.store import MANAGE, constraints
from service.errors import Conflict, NotFound

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Expect, Permit
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection

KIND: Final = "project"
COLUMNS: Final = "code, name, active, version"


async def add(permit: Permit, connection: Connection, project: Project) -> None:
    """Insert a project. Raises Conflict for a code that is taken, in any case."""
    permit.covers(store.KIND, MANAGE)
    # By the index on lower(code).
    if await connection.fetchval("SELECT true FROM project WHERE lower(code) = lower($1) LIMIT 1", project.code):
        raise Conflict("That code is already taken, perhaps in another case")
    with constraints():
        # A new project.
        await connection.execute(
            "INSERT INTO project (code, name, active) VALUES ($1, $2, $3)", project.code, project.name, project.active
        )


async def replace(
    permit: Permit, connection: Connection, project: Project, expect: Expect = store.any_version
) -> tuple[Project, Project]:
    """Change the name of a project, close or reopen it; returns it before and after. Raises NotFound."""
    permit.covers(store.KIND, MANAGE)
    # One project by its code; changes of the directory are serialised, so it cannot change meanwhile.
    row = await connection.fetchrow(f"SELECT {COLUMNS} FROM project WHERE code = $1", project.code)
    if row is None:
        raise NotFound("There is no such project")
    before = Project(**dict(row))
    expect(before.version)
    # Its name, and whether it is active.
    version = await connection.fetchval(
        "UPDATE project SET name = $2, active = $3 WHERE code = $1 RETURNING version",
        project.code,
        project.name,
        project.active,
    )
    return before, dataclasses.replace(project, version=version)


async def load_project(visibility: Visibility, connection: Connection, code: str) -> Project | None:
    """One project by its code, if it is visible."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    # One row by its primary key.
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM project AS r WHERE {visibility.condition} AND r.code = $3",
        *visibility.parameters,
        code,
    )
    return Project(**dict(row)) if row is not None else None


async def list_projects(
    visibility: Visibility, connection: Connection, *, active: bool | None, after: str | None, limit: int
) -> list[Project]:
    """Visible projects after the code `after`, by code; `limit` + 1 rows if there are more."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    # Visible projects in keyset order.
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM project AS r WHERE {visibility.condition}"
        " AND ($3::text IS NULL OR r.code > $3) AND ($4::boolean IS NULL OR r.active = $4) ORDER BY r.code LIMIT $5",
        *visibility.parameters,
        after,
        active,
        limit + 1,
    )
    return [Project(**dict(row)) for row in rows]
