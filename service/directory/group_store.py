"""SQL of groups, which are never deleted. Postgres owns them; `holder_store` has the SQL of their members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.authorization.enforcement.person_references import find_listed_person
from service.directory.store import KIND, MANAGE
from service.errors import Conflict

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Permit
    from service.authorization.enforcement.person_references import NamedPerson
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection


async def add_group(permit: Permit, connection: Connection, name: str) -> None:
    """Insert a group. Raises Conflict for a name that is taken."""
    permit.covers(KIND, MANAGE)
    # A new group, unless there is one of this name.
    made = await connection.fetchval(
        "INSERT INTO person_group (name) VALUES ($1) ON CONFLICT DO NOTHING RETURNING true", name
    )
    if not made:
        raise Conflict("That name is already taken")


async def list_groups(
    visibility: Visibility, connection: Connection, person: NamedPerson | None, after: str | None, limit: int
) -> list[str]:
    """Visible groups by name, after the name `after`: all, or those that a person is in now; `limit` + 1 if there are
    more."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    person = await find_listed_person(visibility, connection, person, "query.person")
    # Visible groups in the order of their key; those of a person by the index on people.
    rows = await connection.fetch(
        f"SELECT name FROM person_group AS r WHERE {visibility.condition} AND ($3::text IS NULL OR r.name > $3)"
        " AND ($4::uuid IS NULL OR EXISTS (SELECT FROM group_member AS held WHERE held.person_id = $4"
        "     AND held.group_name = r.name AND held.valid_from <= statement_timestamp()"
        "     AND statement_timestamp() < held.valid_to)) ORDER BY r.name LIMIT $5",
        *visibility.parameters,
        after,
        person,
        limit + 1,
    )
    return [row["name"] for row in rows]
