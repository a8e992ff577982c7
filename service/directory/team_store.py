"""SQL of the team tree and its closure. Postgres owns it; changes of the directory are serialised (store.advance), so
the closure stays consistent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from service.directory.declared_attributes import check_values, replace_values
from service.directory.entities import Team
from service.directory.store import (
    KIND,
    MANAGE,
    any_version,
    constraints,
    load_page,
    load_row,
    read_attributes,
    write_attributes,
)
from service.errors import InvalidField, NotFound
from service.places import FieldError

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.changes import ExpectRow, Permit
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.directory.declared_attributes import GivenAttributes

COLUMNS: Final = "r.id, name, parent_id, version, attributes"


async def add_team(
    permit: Permit, connection: Connection, team: Team, attributes: GivenAttributes | None = None
) -> Team:
    """Insert a team. Raises Conflict for a name that is taken, InvalidField for an unknown parent and for attributes
    that the active policy does not declare."""
    permit.covers(KIND, MANAGE)
    team = replace(team, attributes=check_values(attributes or {}, permit.snapshot.vocabulary.teams))
    with constraints():
        # A new team.
        await connection.execute(
            "INSERT INTO team (id, name, parent_id, attributes) VALUES ($1, $2, $3, $4)",
            team.id,
            team.name,
            team.parent,
            write_attributes(team.attributes),
        )
        # Its ancestors are itself and those of its parent.
        await connection.execute(
            "INSERT INTO team_path (ancestor_id, descendant_id, depth) SELECT $1::uuid, $1::uuid, 0 UNION ALL"
            " SELECT ancestor_id, $1::uuid, depth + 1 FROM team_path WHERE descendant_id = $2::uuid",
            team.id,
            team.parent,
        )
    return team


async def replace_team(
    permit: Permit,
    connection: Connection,
    team: Team,
    expect: ExpectRow = any_version,
    attributes: GivenAttributes | None = None,
) -> tuple[Team, Team]:
    """Rename a team and move it, with all teams below it; returns it before and after. Raises NotFound, Conflict for a
    name that is taken, InvalidField for a parent that is unknown, the team itself or below it, and for attributes that
    the active policy does not declare."""
    permit.covers(KIND, MANAGE)
    # One team by its primary key.
    row = await connection.fetchrow(f"SELECT {COLUMNS} FROM team AS r WHERE r.id = $1", team.id)
    if row is None:
        raise NotFound("There is no such team")
    before = _team(row)
    expect(before.version, before.id)
    declared, values = permit.snapshot.vocabulary.teams, before.attributes
    team = replace(team, attributes=values if attributes is None else replace_values(attributes, declared, values))
    # Whether the new parent is the team itself or lies below it.
    if await connection.fetchval(
        "SELECT true FROM team_path WHERE ancestor_id = $1 AND descendant_id = $2", team.id, team.parent
    ):
        raise InvalidField(FieldError("parent", "is this team or a team below it"))
    with constraints():
        # Its name, its parent and its attributes.
        version = await connection.fetchval(
            "UPDATE team SET name = $2, parent_id = $3, attributes = $4 WHERE id = $1 RETURNING version",
            team.id,
            team.name,
            team.parent,
            write_attributes(team.attributes),
        )
    if before.parent != team.parent:
        await _move_subtree(connection, team.id, team.parent)
    return before, replace(team, version=version)


async def list_teams(
    visibility: Visibility, connection: Connection, after: UUID | str | None, limit: int
) -> list[Team]:
    """Visible teams after the id `after`, oldest first; `limit` + 1 rows if there are more."""
    return [_team(row) for row in await load_page(visibility, connection, "team", COLUMNS, after, limit)]


async def load_team(visibility: Visibility, connection: Connection, team_id: UUID) -> Team | None:
    """One team, if it is visible."""
    row = await load_row(visibility, connection, "team", COLUMNS, team_id)
    return _team(row) if row is not None else None


def _team(row: asyncpg.Record) -> Team:
    return Team(row["id"], row["name"], row["parent_id"], row["version"], read_attributes(row))


async def _move_subtree(connection: Connection, team: UUID, parent: UUID | None) -> None:
    """Update the closure after a team moved, with all teams below it."""
    # Remove the paths from teams outside the subtree to teams in it.
    await connection.execute(
        "DELETE FROM team_path USING team_path AS below WHERE below.ancestor_id = $1"
        " AND team_path.descendant_id = below.descendant_id AND NOT EXISTS (SELECT FROM team_path AS inside"
        " WHERE inside.ancestor_id = $1 AND inside.descendant_id = team_path.ancestor_id)",
        team,
    )
    # Add the paths from the parent and its ancestors to every team of the subtree.
    await connection.execute(
        "INSERT INTO team_path (ancestor_id, descendant_id, depth)"
        " SELECT above.ancestor_id, below.descendant_id, above.depth + below.depth + 1"
        " FROM team_path AS above CROSS JOIN team_path AS below"
        " WHERE above.descendant_id = $2 AND below.ancestor_id = $1",
        team,
        parent,
    )
