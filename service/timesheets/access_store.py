"""SQL of candidates for access to a timesheet, with their relations and facts. Postgres owns the rows.

Relations and facts use the same expressions as decisions, with the candidate in place of the caller.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.enforcement.attribute_sql import complete_asker
from service.authorization.enforcement.caller_values import CLIENT
from service.authorization.enforcement.caller_values import KIND as KIND_OF_CALLER
from service.authorization.enforcement.declared_facts import facts_under
from service.authorization.enforcement.fact_lookup import relation_words
from service.authorization.enforcement.merged_people import all_ids, canonical_id, former_ids
from service.authorization.enforcement.path_sql import now
from service.timesheets.relations import KIND, TIMESHEET_FACTS, find_clients, find_people

if TYPE_CHECKING:
    from uuid import UUID

    from service.authorization.enforcement.access import Named
    from service.authorization.enforcement.changes import Permit
    from service.authorization.enforcement.fact_statements import KindFacts
    from service.database import Connection

_OWNER = canonical_id("r.owner_id")
_CANDIDATE = {
    "person": "candidate.person",
    "ids": all_ids("candidate.person"),
    "former": former_ids("candidate.person"),
    "client": "candidate.client",
    "app": "candidate.client",
    "asker": "asker.value",
}
# Nobody knows what their token will say, but for this.
_TOKEN = f"""
    jsonb_strip_nulls(jsonb_build_object('{CLIENT}', candidate.client,
        '{KIND_OF_CALLER}', CASE WHEN candidate.client IS NULL THEN 'user' ELSE 'client' END))
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
    """The owner, everybody with a relation, holders of roles, members of groups, and the people and clients that rules
    name, in order of `key`, after the key `after`."""
    permit.covers(KIND, "read")
    vocabulary, facts = permit.snapshot.vocabulary, facts_under(TIMESHEET_FACTS, permit.snapshot)
    people = "".join(f" UNION SELECT id, NULL FROM ({found}) AS found" for found in find_people(vocabulary).values())
    clients = "".join(f" UNION SELECT NULL, id FROM ({found}) AS found" for found in find_clients(vocabulary))
    columns, joins = _columns(facts)
    # Candidates by the indexes on teams, grants, roles and groups; relations and facts for those of the page only.
    rows = await connection.fetch(
        f"""
        WITH candidates AS (
            SELECT found.person, found.client, coalesce('person:' || found.person, 'client:' || found.client) AS key
            FROM timesheet AS r CROSS JOIN LATERAL (
                  SELECT {_OWNER} AS person, NULL::text AS client{people}{clients}
                  UNION SELECT has.person_id, NULL FROM person_role AS has WHERE has.role = ANY($2) AND {now("has")}
                  UNION SELECT held.person_id, NULL FROM group_member AS held
                  WHERE held.group_name = ANY($7) AND {now("held")}
                  UNION SELECT {canonical_id("person.id")}, NULL FROM person WHERE person.id = ANY($3::text[]::uuid[])
                  UNION SELECT NULL, client FROM unnest($4::text[]) AS client) AS found
            WHERE r.id = $1)
        SELECT candidate.*, {columns}, {all_ids("candidate.person")} AS ids,
               {former_ids("candidate.person")} AS former_ids,
               ARRAY(SELECT has.role FROM person_role AS has
                     WHERE has.person_id = candidate.person AND {now("has")}) AS roles,
               ARRAY(SELECT held.group_name FROM group_member AS held
                     WHERE held.person_id = candidate.person AND {now("held")}) AS groups
        FROM (SELECT * FROM candidates WHERE key > $5 ORDER BY key LIMIT $6) AS candidate
        JOIN timesheet AS r ON r.id = $1{joins}
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
            relation_words(facts.relations, row, "word"),
            {name: row[f"word_{name}"] for name in facts.facts},
            frozenset(person for person in row["ids"] if person is not None),
            frozenset(row["former_ids"]),
        )
        for row in rows
    ]


async def facts_of_stranger(permit: Permit, connection: Connection, sheet_id: UUID) -> dict[str, bool | None]:
    """The facts of a sheet for a caller of whom nothing is known."""
    permit.covers(KIND, "read")
    facts = facts_under(TIMESHEET_FACTS, permit.snapshot)
    columns, joins = _columns(facts)
    # One sheet by its primary key.
    row = await connection.fetchrow(
        f"SELECT {columns} FROM (SELECT NULL::uuid AS person, NULL::text AS client) AS candidate"
        f" JOIN timesheet AS r ON r.id = $1{joins}",
        sheet_id,
    )
    return {name: row[f"word_{name}"] if row else None for name in facts.facts}


def _columns(facts: KindFacts) -> tuple[str, str]:
    """The relations and facts of a row `r` to a `candidate` as columns, and the joins that they need."""
    words = {**facts.relations, **facts.facts}
    columns = ", ".join(
        f"({re.sub(':(person|ids|former|client|app|asker)', lambda found: _CANDIDATE[found[1]], sql)}) AS word_{name}"
        for name, sql in words.items()
    )
    asker = complete_asker(_TOKEN, facts.asked, "candidate.person")
    joins = f" CROSS JOIN LATERAL ({asker}) AS asker" if facts.asked else ""
    return columns, joins + facts.join_sources(columns)
