"""SQL of candidates for access to a timesheet, with their relations and facts. Postgres owns the rows.

Relations and facts use the same expressions as decisions, with the candidate in place of the caller.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.enforcement.merged_people import all_ids, canonical_id, former_ids
from service.authorization.enforcement.path_sql import now
from service.authorization.enforcement.relationships import relation_words
from service.timesheets.relations import KIND, TIMESHEET_FACTS

if TYPE_CHECKING:
    from uuid import UUID

    from service.authorization.enforcement.access import Named
    from service.authorization.enforcement.changes import Permit
    from service.database import Connection

_CANDIDATE = {
    "person": "candidate.person",
    "ids": all_ids("candidate.person"),
    "former": former_ids("candidate.person"),
    "client": "candidate.client",
    "app": "candidate.client",
}
_WORDS = {**TIMESHEET_FACTS.relations, **TIMESHEET_FACTS.facts}
_COLUMNS = ", ".join(
    f"({re.sub(':(person|ids|former|client|app)', lambda found: _CANDIDATE[found[1]], sql)}) AS word_{name}"
    for name, sql in _WORDS.items()
)
# The teams of the owner of sheet $1, and the teams above them.
_OWNER = canonical_id("r.owner_id")
_ABOVE = f"""
    SELECT above.ancestor_id AS team_id FROM timesheet AS r
    JOIN membership AS belongs ON belongs.person_id = {_OWNER} AND {now("belongs")}
    JOIN team_path AS above ON above.descendant_id = belongs.team_id WHERE r.id = $1
"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A person, or a client that acts for itself, with directory roles, groups, relations, facts, all ids of the
    person, and their `former_ids` from before an erasure; `key` orders candidates. A relation that holds through a
    former id has its former word. The app that a person would use is not known."""

    key: str
    person: UUID | None
    client: str | None
    roles: frozenset[str]
    groups: frozenset[str]
    relations: frozenset[str]
    facts: dict[str, bool | None]
    ids: frozenset[UUID]
    former_ids: frozenset[UUID]


async def candidates(
    permit: Permit, connection: Connection, sheet_id: UUID, named: Named, *, after: str, limit: int
) -> list[Candidate]:
    """The owner, leads of their teams and above, their delegates, fallback approvers, importers, holders of roles,
    members of groups, and the people and clients that rules name, in order of `key`, after the key `after`."""
    permit.covers(KIND, "read")
    # Candidates by the indexes on teams, grants, roles and groups; relations and facts for those of the page only.
    rows = await connection.fetch(
        f"""
        WITH above AS MATERIALIZED ({_ABOVE}), candidates AS (
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
                  UNION SELECT held.person_id, NULL FROM group_member AS held
                  WHERE held.group_name = ANY($7) AND {now("held")}
                  UNION SELECT {canonical_id("person.id")}, NULL FROM person WHERE person.id = ANY($3::text[]::uuid[])
                  UNION SELECT NULL, client FROM unnest($4::text[]) AS client) AS found)
        SELECT candidate.*, {_COLUMNS}, {all_ids("candidate.person")} AS ids,
               {former_ids("candidate.person")} AS former_ids,
               ARRAY(SELECT has.role FROM person_role AS has
                     WHERE has.person_id = candidate.person AND {now("has")}) AS roles,
               ARRAY(SELECT held.group_name FROM group_member AS held
                     WHERE held.person_id = candidate.person AND {now("held")}) AS groups
        FROM (SELECT * FROM candidates WHERE key > $5 ORDER BY key LIMIT $6) AS candidate
        JOIN timesheet AS r ON r.id = $1
        ORDER BY candidate.key
        """,
        sheet_id,
        list(named.roles),
        list(named.persons),
        list(named.clients),
        after,
        limit,
        list(named.groups),
    )
    return [
        Candidate(
            row["key"],
            row["person"],
            row["client"],
            frozenset(row["roles"]),
            frozenset(row["groups"]),
            relation_words(TIMESHEET_FACTS.relations, row, "word"),
            {name: row[f"word_{name}"] for name in TIMESHEET_FACTS.facts},
            frozenset(person for person in row["ids"] if person is not None),
            frozenset(row["former_ids"]),
        )
        for row in rows
    ]
