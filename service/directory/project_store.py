"""SQL of projects. Postgres owns them; they are switched off, never deleted."""

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


async def add(permit: Permit, connection: Connection, one: Project) -> None:
    """Raises Conflict for a code that is taken, also in other capitals."""
    permit.covers(store.KIND, MANAGE)
    # By the index on lower(code).
    if await connection.fetchval("SELECT true FROM project WHERE lower(code) = lower($1) LIMIT 1", one.code):
        raise Conflict("There is a project of that code already, perhaps in other capitals")
    with constraints():
        # A new project.
        await connection.execute(
            "INSERT INTO project (code, name, active) VALUES ($1, $2, $3)", one.code, one.name, one.active
        )


async def replace(
    permit: Permit, connection: Connection, one: Project, expect: Expect = store.anything
) -> tuple[Project, Project]:
    """The project as it was and as it is. Raises NotFound."""
    permit.covers(store.KIND, MANAGE)
    # One project by its code; changes of the directory go one by one, so it stays as it is read.
    row = await connection.fetchrow(f"SELECT {COLUMNS} FROM project WHERE code = $1", one.code)
    if row is None:
        raise NotFound("There is no such project")
    was = Project(**dict(row))
    expect(was.version)
    # What it is called, and whether it takes hours.
    version = await connection.fetchval(
        "UPDATE project SET name = $2, active = $3 WHERE code = $1 RETURNING version", one.code, one.name, one.active
    )
    return was, dataclasses.replace(one, version=version)


async def project(visibility: Visibility, connection: Connection, code: str) -> Project | None:
    """One project by its code, if it may be seen."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    # One row by its primary key.
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM project AS r WHERE {visibility.condition} AND r.code = $3",
        *visibility.parameters,
        code,
    )
    return Project(**dict(row)) if row is not None else None


async def page(
    visibility: Visibility, connection: Connection, *, active: bool | None, after: str | None, limit: int
) -> list[Project]:
    """By code, from behind `after`; one more than `limit` tells that there are more."""
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
