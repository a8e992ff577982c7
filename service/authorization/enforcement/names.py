"""Names beside ids in answers, for requests that ask for them. Postgres owns the names; this module owns no state.

The policy decides whose names a caller sees: by the rules for `see_names` on what the answer is about. They are
evaluated on the facts of each row, like allowed actions. A caller who may not see names gets ids alone. An e-mail
address is never a name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import UUID

from service.authorization.enforcement import allowed_actions
from service.authorization.enforcement.decision_point import Resource, evaluate
from service.authorization.enforcement.merged_people import canonical_id
from service.policy.known_words import SEE_NAMES
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from service.authorization.enforcement.changes import Change, Reading
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection

    Names = Mapping[str, str]

# The id of a row: a policy version has a number.
Key = TypeVar("Key", UUID, int)
_UUID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def load_names_of_row(reading: Reading, ids: Collection[str]) -> Names:
    """The names of the `ids` in what an allowed read is about; none if the caller may not see them."""
    may_see = bool(allowed_actions.of_row(reading.permit, (SEE_NAMES,)))
    return await load_names(reading.connection, ids) if may_see else {}


async def load_names_of_change(change: Change, ids: Collection[str], state: str | None = None) -> Names | None:
    """The names of the `ids` in the result of a change; none if the caller may not see them, None if they did not ask.
    The rules are evaluated on the facts that decided the change, and on the `state` that it led to."""
    if not change.caller.names:
        return None
    snapshot, request = change.permit.snapshot, change.decision.request
    resource = request.resource if state is None else replace(request.resource, state=state)
    if SEE_NAMES not in snapshot.vocabulary.actions.get(resource.kind, ()):
        return {}
    may_see = evaluate(snapshot, request.principal, SEE_NAMES, resource, request.lookup).allowed
    return await load_names(change.connection, ids) if may_see else {}


async def find_named_rows(visibility: Visibility, connection: Connection, rows: Collection[Key]) -> frozenset[Key]:
    """Those of these rows of a list in which the caller may see names: all or none for a kind without rows."""
    snapshot, facts = visibility.snapshot, visibility.facts
    if SEE_NAMES not in snapshot.vocabulary.actions.get(visibility.kind, ()) or not rows:
        return frozenset()
    if not facts.table:
        resource = Resource(visibility.kind)
        allowed = evaluate(snapshot, visibility.principal, SEE_NAMES, resource, visibility.lookup).allowed
        return frozenset(rows) if allowed else frozenset()
    named = visibility.of_action(SEE_NAMES)
    # The rows by their primary key; the condition is the one that a list of such rows would have.
    found = await connection.fetch(
        f"SELECT r.id FROM {facts.table} AS r WHERE r.id = ANY($3) AND {named.condition}", *named.parameters, [*rows]
    )
    return frozenset(row["id"] for row in found)


async def load_names(connection: Connection, ids: Iterable[str]) -> Names:
    """The present names of people and teams with these ids and of projects with these codes. An id without a name, such
    as that of a client or of an erased person, is left out."""
    keys = list(dict.fromkeys(ids))
    people_and_teams = [UUID(key) for key in keys if _UUID.fullmatch(key)]
    # By primary keys; for a merged person, the name under the canonical id.
    rows = await connection.fetch(
        f"""
        SELECT asked.id::text AS key, person.display_name AS name
        FROM unnest($1::uuid[]) AS asked (id) JOIN person ON person.id = {canonical_id("asked.id")}
        WHERE person.display_name IS NOT NULL
        UNION ALL SELECT team.id::text, team.name FROM team WHERE team.id = ANY ($1::uuid[])
        UNION ALL SELECT project.code, project.name FROM project WHERE project.code = ANY ($2::text[])
        """,
        people_and_teams,
        keys,
    )
    return {row["key"]: row["name"] for row in rows}


async def load_names_of_rows(
    visibility: Visibility, connection: Connection, ids: Mapping[Key, Collection[str]]
) -> dict[Key, Names]:
    """For each row of a list, by its id, the names of the `ids` in it: two statements, however many rows there are."""
    named = await find_named_rows(visibility, connection, ids.keys())
    names = await load_names(connection, (key for row in named for key in ids[row])) if named else {}
    return {row: select_names(names, keys) if row in named else {} for row, keys in ids.items()}


def select_names(names: Names, ids: Iterable[str]) -> Names:
    """The names of these ids."""
    return {key: names[key] for key in ids if key in names}
