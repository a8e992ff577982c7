"""Which API processes live, which words their code knows, and by which version each decides. Postgres owns the rows.

A row says what a process said of itself: nothing is decided by it, but that a version with words that a live process
does not know is not activated. A process that stopped without a word is left out soon, and its row is swept later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg

from service.authorization.active.versions import hold_active_version
from service.errors import Misconfigured, PolicyRejected
from service.places import Complaint
from service.policy import known_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet
    from datetime import datetime
    from uuid import UUID

    from service.database import Connection
    from service.policy.access_request import Vocabulary

HEARTBEAT: Final = 5.0
# Three heartbeats: one may be lost, and one may wait behind a slow database.
ALIVE_SECONDS: Final = 3 * HEARTBEAT
SWEPT_SECONDS: Final = 3600.0
MAX_LISTED: Final = 500


@dataclass(frozen=True, slots=True)
class Replica:
    """An API process as it last spoke. `policy_version` is None while it starts."""

    id: UUID
    policy_version: int | None
    started_at: datetime
    seen_at: datetime
    alive: bool


def words_of_code() -> frozenset[str]:
    """Every word that this code can supply, as `dimension kind.word`."""
    return frozenset(
        _spelled(
            known_words.ACTIONS,
            known_words.STATES,
            known_words.RELATIONS,
            known_words.FACTS,
            known_words.REQUEST_FACTS,
        )
    )


def words_of(vocabulary: Vocabulary) -> frozenset[str]:
    """Every word of a vocabulary that code must supply: a fact with a `max_age` and a scope need none."""
    asked = vocabulary.request_facts - vocabulary.thresholds.keys()
    tables = (vocabulary.actions, vocabulary.states, vocabulary.relations, vocabulary.facts)
    return frozenset(_spelled(*tables, asked))


async def register(connection: Connection, replica: UUID) -> None:
    """Be known from now on, before any policy is loaded: an activation either sees these words, or is over when the
    policy is loaded. Raises Misconfigured when the database's schema is older than this code."""
    async with connection.transaction():
        await hold_active_version(connection)
        try:
            # Processes that died long ago.
            await connection.execute(
                "DELETE FROM api_replica WHERE seen_at < clock_timestamp() - make_interval(secs => $1)", SWEPT_SECONDS
            )
            # This process, with what its code knows.
            await connection.execute(
                "INSERT INTO api_replica (id, words) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
                replica,
                sorted(words_of_code()),
            )
        except asyncpg.UndefinedTableError as error:
            raise Misconfigured(
                "The database is older than this version of the service: run `timewarden migrate`"
            ) from error


async def beat(connection: Connection, replica: UUID, version: int) -> int | None:
    """Say that this process lives and decides by `version`; the version that is active. None when its row was swept."""
    # The row of this process by its primary key.
    active: int | None = await connection.fetchval(
        "UPDATE api_replica SET policy_version = $2, seen_at = clock_timestamp() WHERE id = $1"
        " RETURNING (SELECT active FROM policy_head)",
        replica,
        version,
    )
    return active


async def leave(connection: Connection, replica: UUID) -> None:
    """Be known no longer."""
    # The row of this process by its primary key.
    await connection.execute("DELETE FROM api_replica WHERE id = $1", replica)


async def listed(connection: Connection) -> list[Replica]:
    """The processes that spoke within the last hour, the newest first, some hundreds at most."""
    # A small table: a row for each API process that runs or ran within the hour.
    rows = await connection.fetch(
        "SELECT id, policy_version, started_at, seen_at,"
        " seen_at > clock_timestamp() - make_interval(secs => $1) AS alive"
        " FROM api_replica ORDER BY started_at DESC, id LIMIT $2",
        ALIVE_SECONDS,
        MAX_LISTED,
    )
    return [Replica(**dict(row)) for row in rows]


async def check_words(connection: Connection, vocabulary: Vocabulary) -> None:
    """Raise PolicyRejected when a live process does not know a word of this vocabulary: it could not decide by it."""
    # Each word that some live process lacks, with how many lack it.
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


def _spelled(
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
