"""Which people, clients, rules and versions a question to the log can name. Reads only; owns no state.

An unknown value finds nothing, which would say that nothing was done, so a search refuses it and names the nearest
known one. Each look-up reads a few entries of an index, however long the log is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from service.database import Connection

# Values on each side of an unknown one that are looked at for the nearest.
MAX_NEIGHBOURS: Final = 50
RULE_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

# A walk along an index from one value to the next, upwards and downwards from $1: it reads one entry for each value,
# not one for each row. The walk finds $1 itself when it is there.
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
# By audit_record_client, audit_record_rule, the primary key of person_link, and person_email.
CLIENTS: Final = NEIGHBOURS.format(value="client_id", table="audit_record")
RULES: Final = NEIGHBOURS.format(value="rules[1]", table="audit_record")
ISSUERS: Final = NEIGHBOURS.format(value="issuer", table="person_link")
ADDRESSES: Final = NEIGHBOURS.format(value="lower(email)", table="person")

# In the directory by primary key; in the log by its indexes on persons and owners. `>=` with an order reads one entry,
# where `=` alone could be planned as a walk through the whole table.
PERSON: Final = """
    SELECT EXISTS (SELECT FROM person WHERE id = $1)
        OR (SELECT person_id FROM audit_record WHERE person_id >= $1 ORDER BY person_id LIMIT 1) = $1
        OR (SELECT owner_id FROM audit_record WHERE owner_id >= $1 AND owner_id IS DISTINCT FROM person_id
            ORDER BY owner_id LIMIT 1) = $1
"""
# The rules of the version that decides now.
ACTIVE_RULES: Final = "SELECT rules FROM policy_version JOIN policy_head ON number = active"
# Whether any version ever had the rule. Versions are few beside records; the first condition spares most the second.
RULE: Final = """
    SELECT EXISTS (SELECT FROM policy_version
        WHERE strpos(rules, $1) > 0 AND rules ~ ('(?n)^[ \\t]*p[ \\t]*,.*,[ \\t]*' || $1 || '[ \\t\\r]*$'))
"""
# By the index on importer_grant (client_id).
GRANTED: Final = "SELECT EXISTS (SELECT FROM importer_grant WHERE client_id = $1)"
# Both by primary key.
VERSION: Final = "SELECT EXISTS (SELECT FROM policy_version WHERE number = $1), max(number) FROM policy_version"


async def is_person(connection: Connection, person: UUID) -> bool:
    """Whether somebody has or had this id, in the directory or in a record."""
    found: bool | None = await connection.fetchval(PERSON, person)
    return bool(found)


async def addresses_near(connection: Connection, email: str) -> Sequence[str]:
    """E-mail addresses in the directory that stand next to this one."""
    return await _neighbours(connection, ADDRESSES, email.lower())


async def issuers_near(connection: Connection, issuer: str) -> Sequence[str]:
    """Issuers of people's tokens next to this one, and this one if there is such an issuer."""
    return await _neighbours(connection, ISSUERS, issuer)


async def clients_near(connection: Connection, client: str) -> Sequence[str] | None:
    """None when a record or a grant names this client; otherwise the clients in the log that stand next to it."""
    found = await _neighbours(connection, CLIENTS, client)
    if client in found or await connection.fetchval(GRANTED, client):
        return None
    return found


async def rules_near(connection: Connection, rule: str) -> Sequence[str] | None:
    """None when a record or a policy version names this rule; otherwise the rules that decide now, and those in the log
    that stand next to it."""
    found = await _neighbours(connection, RULES, rule)
    if rule in found or (RULE_NAME.fullmatch(rule) and await connection.fetchval(RULE, rule)):
        return None
    active: str = await connection.fetchval(ACTIVE_RULES) or ""
    names = [line.rpartition(",")[2].strip() for line in active.splitlines() if line.lstrip().startswith("p")]
    return list(dict.fromkeys([*names, *found]))


async def newest_version(connection: Connection, number: int) -> int | None:
    """None when there is a policy version of this number; otherwise the newest there is."""
    known, newest = await connection.fetchrow(VERSION, number) or (False, 0)
    return None if known else newest or 0


async def _neighbours(connection: Connection, statement: str, word: str) -> Sequence[str]:
    return [row["word"] for row in await connection.fetch(statement, word, MAX_NEIGHBOURS)]
