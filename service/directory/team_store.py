"""SQL of the tree of teams. Postgres owns it; every change of the directory holds one row (store.advance), so the
closure stays right whoever else changes the tree."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from service.directory.entities import Team
from service.directory.store import KIND, MANAGE, anything, constraints, one, page
from service.errors import InvalidField, NotFound
from service.places import FieldError

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.changes import Expect, Permit
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection

COLUMNS: Final = "r.id, name, parent_id, version"


async def add_team(permit: Permit, connection: Connection, team: Team) -> None:
    """Raises Conflict for a name that is taken, InvalidField for an unknown parent."""
    permit.covers(KIND, MANAGE)
    with constraints():
        # A new team.
        await connection.execute(
            "INSERT INTO team (id, name, parent_id) VALUES ($1, $2, $3)", team.id, team.name, team.parent
        )
        # It lies below itself and below everything that its parent lies below.
        await connection.execute(
            "INSERT INTO team_path (ancestor_id, descendant_id, depth) SELECT $1::uuid, $1::uuid, 0 UNION ALL"
            " SELECT ancestor_id, $1::uuid, depth + 1 FROM team_path WHERE descendant_id = $2::uuid",
            team.id,
            team.parent,
        )


async def replace_team(
    permit: Permit, connection: Connection, team: Team, expect: Expect = anything
) -> tuple[Team, Team]:
    """Give a team another name and another place in the tree, with all below it: as it was and as it is. Raises
    NotFound, Conflict for a name that is taken, InvalidField for a parent that is unknown, the team itself or below
    it."""
    permit.covers(KIND, MANAGE)
    # One team by its primary key.
    row = await connection.fetchrow(f"SELECT {COLUMNS} FROM team AS r WHERE r.id = $1", team.id)
    if row is None:
        raise NotFound("There is no such team")
    was = _team(row)
    expect(was.version)
    # Whether the new parent is the team itself or lies below it.
    if await connection.fetchval(
        "SELECT true FROM team_path WHERE ancestor_id = $1 AND descendant_id = $2", team.id, team.parent
    ):
        raise InvalidField(FieldError("parent", "is this team, or lies below it"))
    with constraints():
        # Its name and its place.
        version = await connection.fetchval(
            "UPDATE team SET name = $2, parent_id = $3 WHERE id = $1 RETURNING version", team.id, team.name, team.parent
        )
    if was.parent != team.parent:
        await _hang(connection, team.id, team.parent)
    return was, replace(team, version=version)


async def teams(visibility: Visibility, connection: Connection, after: UUID | str | None, limit: int) -> list[Team]:
    """Oldest first, from behind `after`; one more than `limit` tells that there are more."""
    return [_team(row) for row in await page(visibility, connection, "team", COLUMNS, after, limit)]


async def team(visibility: Visibility, connection: Connection, team_id: UUID) -> Team | None:
    """One team, if it may be seen."""
    row = await one(visibility, connection, "team", COLUMNS, team_id)
    return _team(row) if row is not None else None


def _team(row: asyncpg.Record) -> Team:
    return Team(row["id"], row["name"], row["parent_id"], row["version"])


async def _hang(connection: Connection, team: UUID, parent: UUID | None) -> None:
    """Hang a team with all below it under a parent, or at the top."""
    # Nothing above it is above it any longer, nor above anything below it.
    await connection.execute(
        "DELETE FROM team_path USING team_path AS below WHERE below.ancestor_id = $1"
        " AND team_path.descendant_id = below.descendant_id AND NOT EXISTS (SELECT FROM team_path AS inside"
        " WHERE inside.ancestor_id = $1 AND inside.descendant_id = team_path.ancestor_id)",
        team,
    )
    # It and all below it lie below the parent and everything above that.
    await connection.execute(
        "INSERT INTO team_path (ancestor_id, descendant_id, depth)"
        " SELECT above.ancestor_id, below.descendant_id, above.depth + below.depth + 1"
        " FROM team_path AS above CROSS JOIN team_path AS below"
        " WHERE above.descendant_id = $2 AND below.ancestor_id = $1",
        team,
        parent,
    )
