"""The registry of API processes: the policy words that their code knows, and the version that each decides by.

Postgres owns the rows; each process writes its own. A version with a word that a live process does not know is not
activated. A process that stops without saying so soon counts as dead, and its row is deleted later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.authorization.active.versions import hold_active_version
from service.errors import PolicyRejected
from service.log.roles import check_schema
from service.places import Complaint
from service.policy import known_words
from service.policy.attributes import attributes_of_code
from service.policy.paths import all_edge_words, edge_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet
    from datetime import datetime
    from uuid import UUID

    from service.database import Connection
    from service.policy.access_request import Vocabulary

HEARTBEAT: Final = 5.0
# Three heartbeats: one may be lost, and another may wait for a slow database.
ALIVE_SECONDS: Final = 3 * HEARTBEAT
DELETED_AFTER_SECONDS: Final = 3600.0
MAX_REPLICAS_LISTED: Final = 500
# An older process reads no `is` of a fact.
SYNTAX: Final = frozenset({"syntax of expressions"})


@dataclass(frozen=True, slots=True)
class Replica:
    """An API process as of its last heartbeat. `policy_version` is None while it starts."""

    id: UUID
    policy_version: int | None
    started_at: datetime
    seen_at: datetime
    alive: bool


def words_of_code() -> frozenset[str]:
    """Every word that this code supports, as `dimension kind.word`."""
    words = _spell_words(
        known_words.ACTIONS,
        known_words.STATES,
        known_words.RELATIONS,
        known_words.FACTS,
        known_words.REQUEST_FACTS,
    )
    return frozenset(words) | _spell_edges(all_edge_words()) | _spell_attributes(attributes_of_code()) | SYNTAX


def words_of(vocabulary: Vocabulary) -> frozenset[str]:
    """Every word of a vocabulary that code must support. A scope and a fact with a `max_age` need no code; a relation
    with a path needs the code of its edges, and an expression that of its attributes."""
    defined = vocabulary.definitions
    asked = {word for word in vocabulary.request_facts - vocabulary.thresholds.keys() if ("", word) not in defined}
    facts = {kind: {word for word in words if (kind, word) not in defined} for kind, words in vocabulary.facts.items()}
    declared = {key: path for key, path in vocabulary.paths.items() if path.declared}
    relations = {
        kind: {word for word in words if (kind, word) not in declared} for kind, words in vocabulary.relations.items()
    }
    edges = frozenset[str]().union(*(edge_words(kind, path) for (kind, _), path in declared.items()))
    attributes = {name for expression in defined.values() for name in expression.attributes}
    words = frozenset(_spell_words(vocabulary.actions, vocabulary.states, relations, facts, asked))
    syntax = SYNTAX if defined else frozenset[str]()
    return words | _spell_edges(edges) | _spell_attributes(attributes & attributes_of_code()) | syntax


async def register(connection: Connection, replica: UUID) -> None:
    """Register a process before it loads a policy: an activation either sees its words, or ends before the policy is
    loaded. Raises Misconfigured if the database's schema is older than this code."""
    async with connection.transaction():
        await hold_active_version(connection)
        await check_schema(connection)
        # Processes that stopped long ago.
        await connection.execute(
            "DELETE FROM api_replica WHERE seen_at < clock_timestamp() - make_interval(secs => $1)",
            DELETED_AFTER_SECONDS,
        )
        # This process, with the words of its code.
        await connection.execute(
            "INSERT INTO api_replica (id, words) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
            replica,
            sorted(words_of_code()),
        )


async def beat(connection: Connection, replica: UUID, version: int | None) -> tuple[int, str] | None:
    """Record a heartbeat of a process that decides by `version`. Returns the active version's number and digest, or
    None if the row was deleted meanwhile."""
    # The row of this process and the active version, each by its primary key.
    row = await connection.fetchrow(
        "UPDATE api_replica SET policy_version = $2, seen_at = clock_timestamp() WHERE id = $1"
        " RETURNING (SELECT active FROM policy_head) AS active,"
        " (SELECT digest FROM policy_version WHERE number = (SELECT active FROM policy_head)) AS digest",
        replica,
        version,
    )
    return None if row is None or row["active"] is None else (row["active"], row["digest"])


async def leave(connection: Connection, replica: UUID) -> None:
    """Remove a process that stops."""
    # The row of this process by its primary key.
    await connection.execute("DELETE FROM api_replica WHERE id = $1", replica)


async def list_replicas(connection: Connection) -> list[Replica]:
    """The processes with a heartbeat in the last hour, newest first, up to MAX_REPLICAS_LISTED."""
    # A small table: a row for each API process of the last hour.
    rows = await connection.fetch(
        "SELECT id, policy_version, started_at, seen_at,"
        " seen_at > clock_timestamp() - make_interval(secs => $1) AS alive"
        " FROM api_replica ORDER BY started_at DESC, id LIMIT $2",
        ALIVE_SECONDS,
        MAX_REPLICAS_LISTED,
    )
    return [Replica(**dict(row)) for row in rows]


async def require_words(connection: Connection, vocabulary: Vocabulary) -> None:
    """Raise PolicyRejected if a live process does not know a word of this vocabulary: it could not decide by it."""
    # Each word that a live process does not know, with the number of such processes.
    rows = await connection.fetch(
        "SELECT word, count(*) AS lacking FROM unnest($1::text[]) AS wanted (word)"
        " JOIN api_replica ON seen_at > clock_timestamp() - make_interval(secs => $2) AND NOT word = ANY (words)"
        " GROUP BY word ORDER BY word LIMIT 100",
        sorted(words_of(vocabulary)),
        ALIVE_SECONDS,
    )
    complaints = [
        Complaint("vocabulary.toml", 0, 0, f"{row['lacking']} of the running replicas do not know the {row['word']}",
                  "bring every replica to this version of the service first")
        for row in rows
    ]  # fmt: skip
    if complaints:
        raise PolicyRejected(complaints)


def _spell_attributes(attributes: AbstractSet[str]) -> frozenset[str]:
    return frozenset(f"attribute {name}" for name in attributes)


def _spell_edges(edges: AbstractSet[str]) -> frozenset[str]:
    return frozenset(f"edge {edge}" for edge in edges)


def _spell_words(
    actions: Mapping[str, AbstractSet[str]],
    states: Mapping[str, AbstractSet[str]],
    relations: Mapping[str, AbstractSet[str]],
    facts: Mapping[str, AbstractSet[str]],
    request_facts: AbstractSet[str],
) -> Iterator[str]:
    yield from (f"kind {kind}" for kind in actions)
    for dimension, table in (("action", actions), ("state", states), ("relation", relations), ("fact", facts)):
        yield from (f"{dimension} {kind}.{word}" for kind, words in table.items() for word in words)
    yield from (f"fact of the sign-in {word}" for word in request_facts)
