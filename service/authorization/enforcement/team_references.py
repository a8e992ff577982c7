"""How requests name a team: by its id or its name, which no other team has. Postgres owns teams.

As for people (`person_references`), only a reader of the directory learns that there is no such team.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

from service.authorization.enforcement.person_references import or_nobody
from service.errors import InvalidField
from service.places import FieldError
from service.policy.nearest_word import MAX_KNOWN, nearest

if TYPE_CHECKING:
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection

NamedTeam: TypeAlias = UUID | str


async def find_team(connection: Connection, team: NamedTeam, field: str) -> UUID:
    """The id of the team, for a caller who may know which teams there are. Raises InvalidField that names `field`."""
    if isinstance(team, UUID):
        return team
    # By the unique index on names.
    found: UUID | None = await connection.fetchval("SELECT id FROM team WHERE name = $1", team)
    if found is None:
        # Of more teams, none is suggested.
        names = await connection.fetch("SELECT name FROM team LIMIT $1", MAX_KNOWN + 1)
        hint = nearest(team, [row["name"] for row in names])
        raise InvalidField(FieldError(field, "names no team in the directory" + (f"; {hint}" if hint else "")))
    return found


async def find_listed_team(
    visibility: Visibility, connection: Connection, team: NamedTeam | None, field: str
) -> UUID | None:
    """The id of a team whose rows a list is about, None if it is about all. Raises InvalidField that names `field`."""
    return None if team is None else await or_nobody(visibility, find_team(connection, team, field))
