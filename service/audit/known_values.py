"""The people, clients, rules and versions that a query of the log can name. Reads only; owns no state.

A query with a misspelt value would find nothing and look as if nothing had been done. So a search refuses unknown
values and suggests the nearest known one. Each lookup reads a few index entries, however long the log is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from service.database import Connection

# How many known values are read on each side of an unknown one.
MAX_NEIGHBOURS: Final = 50
RULE_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

# Walk along an index from $1 to the next distinct value, upwards and downwards: it reads one entry for each value, not
# for each row. If $1 itself is in the index, it is found.
NEIGHBOURS: Final = """
    WITH RECURSIVE above AS (
        (SELECT {value} AS word, 1 AS step FROM {table} WHERE {value} >= $1 ORDER BY {value} LIMIT 1)
        UNION ALL
        SELECT (SELECT {value} FROM {table} WHERE {value} > above.word ORDER BY {value} LIMIT 1), step + 1
        FROM above WHERE above.word IS NOT NULL AND step < $2),
    below AS (
        (SELECT {value} AS word, 1 AS step FROM {table} WHERE {value} < $1 ORDER BY {value} DESC LIMIT 1)
        UNION ALL
        SELECT (SELECT {value} FROM {table} WHERE {value} < below.word ORDER BY {value} DESC LIMIT 1), step + 1
        FROM below WHERE below.word IS NOT NULL AND step < $2)
    SELECT word FROM (SELECT word FROM above UNION ALL SELECT word FROM below) AS found WHERE word IS NOT NULL
"""
# These use audit_record_client, audit_record_actor, audit_record_rule, the primary key of person_link, and
# person_email.
CLIENTS: Final = NEIGHBOURS.format(value="client_id", table="audit_record")
ACTORS: Final = NEIGHBOURS.format(value="actors[1]", table="audit_record")
RULES: Final = NEIGHBOURS.format(value="rules[1]", table="audit_record")
ISSUERS: Final = NEIGHBOURS.format(value="issuer", table="person_link")
ADDRESSES: Final = NEIGHBOURS.format(value="lower(email)", table="person")

# In the directory by primary key, in the log by its indexes on persons and owners. `>=` with ORDER BY reads one index
# entry; `=` alone could be planned as a scan of the whole table.
PERSON: Final = """
    SELECT EXISTS (SELECT FROM person WHERE id = $1)
        OR (SELECT person_id FROM audit_record WHERE person_id >= $1 ORDER BY person_id LIMIT 1) = $1
        OR (SELECT owner_id FROM audit_record WHERE owner_id >= $1 AND owner_id IS DISTINCT FROM person_id
            ORDER BY owner_id LIMIT 1) = $1
"""
# By the index audit_record_actors. `cardinality` repeats its condition.
EARLIER_ACTOR: Final = """
    SELECT EXISTS (SELECT FROM audit_record WHERE actors[2:] @> ARRAY[$1] AND cardinality(actors) > 1)
"""
# The rules of the active policy version.
ACTIVE_RULES: Final = "SELECT rules FROM policy_version JOIN policy_head ON number = active"
# Whether any policy version has the rule. The first condition is cheap and excludes most versions.
RULE: Final = """
    SELECT EXISTS (SELECT FROM policy_version
        WHERE strpos(rules, $1) > 0 AND rules ~ ('(?n)^[ \\t]*p[ \\t]*,.*,[ \\t]*' || $1 || '[ \\t\\r]*$'))
"""
# By the index on importer_grant (client_id).
GRANTED: Final = "SELECT EXISTS (SELECT FROM importer_grant WHERE client_id = $1)"
# By primary key.
VERSION: Final = "SELECT EXISTS (SELECT FROM policy_version WHERE number = $1), max(number) FROM policy_version"


async def is_person(connection: Connection, person: UUID) -> bool:
    """Whether a person in the directory or in a record has this id."""
    found: bool | None = await connection.fetchval(PERSON, person)
    return bool(found)


async def suggest_addresses(connection: Connection, email: str) -> Sequence[str]:
    """The e-mail addresses in the directory next to this one, in alphabetical order."""
    return await _load_neighbours(connection, ADDRESSES, email.lower())


async def suggest_issuers(connection: Connection, issuer: str) -> Sequence[str]:
    """The issuers of people's tokens next to this one, including it if it is known."""
    return await _load_neighbours(connection, ISSUERS, issuer)


async def suggest_clients(connection: Connection, client: str) -> Sequence[str] | None:
    """None if a record or a grant names this client; otherwise the clients in the log next to it."""
    found = await _load_neighbours(connection, CLIENTS, client)
    if client in found or await connection.fetchval(GRANTED, client):
        return None
    return found


async def suggest_actors(connection: Connection, actor: str) -> Sequence[str] | None:
    """None if a record names this actor; otherwise the current actors in the log next to it."""
    found = await _load_neighbours(connection, ACTORS, actor)
    return None if actor in found or await connection.fetchval(EARLIER_ACTOR, actor) else found


async def suggest_rules(connection: Connection, rule: str) -> Sequence[str] | None:
    """None if a record or a policy version names this rule; otherwise the active rules, and the rules in the log next
    to it."""
    found = await _load_neighbours(connection, RULES, rule)
    if rule in found or (RULE_NAME.fullmatch(rule) and await connection.fetchval(RULE, rule)):
        return None
    active: str = await connection.fetchval(ACTIVE_RULES) or ""
    names = [line.rpartition(",")[2].strip() for line in active.splitlines() if line.lstrip().startswith("p")]
    return list(dict.fromkeys([*names, *found]))


async def newest_if_unknown(connection: Connection, number: int) -> int | None:
    """None if the policy version exists; otherwise the number of the newest."""
    known, newest = await connection.fetchrow(VERSION, number) or (False, 0)
    return None if known else newest or 0


async def _load_neighbours(connection: Connection, statement: str, word: str) -> Sequence[str]:
    return [row["word"] for row in await connection.fetch(statement, word, MAX_NEIGHBOURS)]
