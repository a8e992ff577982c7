"""SQL of projects. Postgres owns them; they are closed, never deleted."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from service.directory import store
from service.directory.declared_attributes import check_values, replace_values
from service.directory.entities import Project, check_project
from service.directory.store import MANAGE, constraints, read_attributes, write_attributes
from service.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable

    import asyncpg

    from service.authorization.enforcement.changes import Expect, Permit
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.directory.declared_attributes import GivenAttributes

KIND: Final = "project"
COLUMNS: Final = "code, name, active, kind, billable, activities, version, attributes"


async def add(
    permit: Permit, connection: Connection, project: Project, attributes: GivenAttributes | None = None
) -> Project:
    """Insert a project. Raises Conflict for a code that is taken, in any case, and InvalidField for attributes that the
    active policy does not declare."""
    permit.covers(store.KIND, MANAGE)
    # By the index on lower(code).
    if await connection.fetchval("SELECT true FROM project WHERE lower(code) = lower($1) LIMIT 1", project.code):
        raise Conflict("That code is already taken, perhaps in another case")
    values = check_values(attributes or {}, permit.snapshot.vocabulary.projects)
    with constraints():
        # A new project.
        await connection.execute(
            "INSERT INTO project (code, name, active, attributes, kind, billable, activities)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7)",
            project.code,
            project.name,
            project.active,
            write_attributes(values),
            project.kind,
            project.billable,
            project.activities,
        )
    return dataclasses.replace(project, attributes=values)


async def replace(
    permit: Permit,
    connection: Connection,
    project: Project,
    expect: Expect = store.any_version,
    attributes: GivenAttributes | None = None,
    kept: Iterable[str] = (),
) -> tuple[Project, Project]:
    """Change a project but for the fields that are `kept`, and replace its attributes if some are given; returns it
    before and after. Raises NotFound, and InvalidField for attributes that the active policy does not declare."""
    permit.covers(store.KIND, MANAGE)
    # One project by its code; changes of the directory are serialised, so it cannot change meanwhile.
    row = await connection.fetchrow(f"SELECT {COLUMNS} FROM project WHERE code = $1", project.code)
    if row is None:
        raise NotFound("There is no such project")
    before = project_of(row)
    expect(before.version)
    project = dataclasses.replace(project, **{name: getattr(before, name) for name in kept})
    check_project(project)
    declared, values = permit.snapshot.vocabulary.projects, before.attributes
    values = values if attributes is None else replace_values(attributes, declared, values)
    with constraints():
        # All but its code.
        version = await connection.fetchval(
            "UPDATE project SET name = $2, active = $3, attributes = $4, kind = $5, billable = $6, activities = $7"
            " WHERE code = $1 RETURNING version",
            project.code,
            project.name,
            project.active,
            write_attributes(values),
            project.kind,
            project.billable,
            project.activities,
        )
    return before, dataclasses.replace(project, version=version, attributes=values)


def project_of(row: asyncpg.Record) -> Project:
    """The project in a row with COLUMNS."""
    return Project(**{**dict(row), "activities": tuple(row["activities"]), "attributes": read_attributes(row)})


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
    return project_of(row) if row is not None else None


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
    return [project_of(row) for row in rows]
