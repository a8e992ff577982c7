"""How requests name a team: by its id or its name, which no other team has. Postgres owns teams.

The name of a team is known to readers of the directory, to the people in it or in a team below it, and to the leads of
it or of a team above it. To everybody else it is a name that no team has, so it tells neither which teams there are nor
who is in them. As for people (`person_references`), only a reader of the directory learns that there is no such team.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

from service.authorization.enforcement.decision_point import Resource, evaluate
from service.authorization.enforcement.path_sql import now
from service.authorization.enforcement.person_references import DIRECTORY, NOBODY
from service.errors import InvalidField
from service.places import FieldError
from service.policy.nearest_word import MAX_KNOWN, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection

NamedTeam: TypeAlias = UUID | str
# Whether the person whose ids are $2 may know `team`: by their few memberships and the primary key of team_path.
_IS_KNOWN: Final = f"""
    EXISTS (SELECT FROM membership AS mine JOIN team_path AS path
                ON path.ancestor_id = team.id AND path.descendant_id = mine.team_id
            WHERE mine.person_id = ANY ($2::uuid[]) AND {now("mine")})
    OR EXISTS (SELECT FROM membership AS mine JOIN team_path AS path
                   ON path.ancestor_id = mine.team_id AND path.descendant_id = team.id
               WHERE mine.person_id = ANY ($2::uuid[]) AND mine.part = 'lead' AND {now("mine")})
"""


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
    """The id of a team whose rows a list is about, None if it is about all. A name that no team has, and that of a team
    which the caller may not know, is NOBODY, whom no row is about. A caller who may read the directory gets the
    InvalidField of `find_team`."""
    if team is None or isinstance(team, UUID):
        return team
    if _may_read_directory(visibility):
        return await find_team(connection, team, field)
    # By the unique index on names.
    found: UUID | None = await connection.fetchval(
        f"SELECT team.id FROM team WHERE team.name = $1 AND ({_IS_KNOWN})", team, list(visibility.lookup.ids)
    )
    return NOBODY if found is None else found


async def load_team_names(visibility: Visibility, connection: Connection, teams: Iterable[UUID]) -> Mapping[str, str]:
    """The present names, by id, of those of the teams that the caller may know."""
    known = "true" if _may_read_directory(visibility) else _IS_KNOWN
    # By the primary key. Readers of the directory need no second parameter, but Postgres has to know its type.
    rows = await connection.fetch(
        "SELECT team.id, team.name FROM team"
        f" WHERE team.id = ANY ($1::uuid[]) AND $2::uuid[] IS NOT NULL AND ({known})",
        list(teams),
        list(visibility.lookup.ids),
    )
    return {str(row["id"]): row["name"] for row in rows}


def _may_read_directory(visibility: Visibility) -> bool:
    return evaluate(visibility.snapshot, visibility.principal, "read", Resource(DIRECTORY), visibility.lookup).allowed
