"""SQL of who could do something to one timesheet: candidates, and what each is to it. Postgres owns the rows.

Relations and facts are the very expressions that single decisions read, with the candidate in the place of the asker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.enforcement.one_person import former_ids, ids, survivor
from service.authorization.enforcement.relationships import words_of
from service.timesheets.relations import KIND, TIMESHEET_FACTS, now

if TYPE_CHECKING:
    from uuid import UUID

    from service.authorization.enforcement.access import Named
    from service.authorization.enforcement.permit import Permit
    from service.database import Connection

_WORDS = {**TIMESHEET_FACTS.relations, **TIMESHEET_FACTS.facts}
_COLUMNS = ", ".join(
    f"({sql.replace(':person', 'one.person').replace(':client', 'one.client').replace(':app', 'one.client')})"
    f" AS word_{name}"
    for name, sql in _WORDS.items()
)
# The teams that the owner of sheet $1 belongs to, and those above.
_OWNER = survivor("r.owner_id")
_ABOVE = f"""
    SELECT above.ancestor_id AS team_id FROM timesheet AS r
    JOIN membership AS belongs ON belongs.person_id = {_OWNER} AND {now("belongs")}
    JOIN team_path AS above ON above.descendant_id = belongs.team_id WHERE r.id = $1
"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A person or a client for itself, with their directory roles, relations and facts, and all ids of the person, also
    the `former_ids`, from before an erasure; `key` orders candidates. A relation that holds through one of these is
    told by its former word. Which app a person would use is not known."""

    key: str
    person: UUID | None
    client: str | None
    roles: frozenset[str]
    relations: frozenset[str]
    facts: dict[str, bool | None]
    ids: frozenset[UUID]
    former_ids: frozenset[UUID]


async def candidates(
    permit: Permit, connection: Connection, sheet_id: UUID, named: Named, *, after: str, limit: int
) -> list[Candidate]:
    """The owner, leads of their teams and above, their delegates, fallback approvers, importers, holders of roles and
    whoever else rules name, from behind the key `after`."""
    permit.covers(KIND, "read")
    # Candidates by the indexes on teams, grants and roles, and what each of a page is to the one sheet.
    rows = await connection.fetch(
        f"""
        WITH above AS MATERIALIZED ({_ABOVE}), one AS (
            SELECT found.person, found.client, coalesce('person:' || found.person, 'client:' || found.client) AS key
            FROM (SELECT {_OWNER} AS person, NULL::text AS client FROM timesheet AS r WHERE r.id = $1
                  UNION SELECT over.person_id, NULL FROM above
                  JOIN membership AS over ON over.team_id = above.team_id AND over.part = 'lead' AND {now("over")}
                  UNION SELECT delegation.delegate_id, NULL FROM above
                  JOIN membership AS over ON over.team_id = above.team_id AND over.part = 'lead' AND {now("over")}
                  JOIN delegation ON delegation.delegator_id = over.person_id AND {now("delegation")}
                  UNION SELECT named.person_id, NULL FROM fallback_approver AS named WHERE {now("named")}
                      AND (named.team_id IS NULL OR named.team_id IN (SELECT team_id FROM above))
                  UNION SELECT NULL, over.client_id FROM above
                  JOIN importer_grant AS over ON over.team_id = above.team_id AND {now("over")}
                  UNION SELECT has.person_id, NULL FROM person_role AS has WHERE has.role = ANY($2) AND {now("has")}
                  UNION SELECT {survivor("person.id")}, NULL FROM person WHERE person.id = ANY($3::text[]::uuid[])
                  UNION SELECT NULL, client FROM unnest($4::text[]) AS client) AS found)
        SELECT one.*, {_COLUMNS}, {ids("one.person")} AS ids, {former_ids("one.person")} AS former_ids,
               ARRAY(SELECT has.role FROM person_role AS has WHERE has.person_id = one.person AND {now("has")}) AS roles
        FROM (SELECT * FROM one WHERE one.key > $5 ORDER BY one.key LIMIT $6) AS one JOIN timesheet AS r ON r.id = $1
        ORDER BY one.key
        """,
        sheet_id,
        list(named.roles),
        list(named.persons),
        list(named.clients),
        after,
        limit,
    )
    return [
        Candidate(
            row["key"],
            row["person"],
            row["client"],
            frozenset(row["roles"]),
            words_of(TIMESHEET_FACTS.relations, row, "word"),
            {name: row[f"word_{name}"] for name in TIMESHEET_FACTS.facts},
            frozenset(one for one in row["ids"] if one is not None),
            frozenset(row["former_ids"]),
        )
        for row in rows
    ]
