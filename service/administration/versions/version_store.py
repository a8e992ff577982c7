"""Policy versions in Postgres: their texts, which one is active, the history of activations, and rollbacks.

Postgres owns all of it. The row of a version never changes. An activation is a row of `policy_activation`, written by
the statement that changes the active version, so the two cannot differ.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.active.versions import PROPOSAL_LOCK
from service.authorization.enforcement.fact_statements import bind_parameters, fact_parameters
from service.authorization.enforcement.policy_relations import ACTIVE, PROPOSED, PROPOSER, VERSIONS
from service.errors import NotFound, PolicyUnavailable
from service.policy import known_words

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.names import Names
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.identity.principal import Principal
    from service.policy.policy_file import PolicyText

# A version with its last activation.
COLUMNS = """
    r.number, r.digest, r.parent, r.message, r.author_person, r.author_client, r.proposed_at, r.state,
    last.at AS activated_at, last.by_person AS activated_by, last.by_client AS activated_by_client
"""
LAST = """
    LEFT JOIN LATERAL (SELECT at, by_person, by_client FROM policy_activation AS a
                       WHERE a.number = r.number ORDER BY a.step DESC LIMIT 1) AS last ON true
"""


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """A version without its texts. `author_person` is None if a client proposed it for itself. `activated_*` are of the
    last activation, None if there was none. `activated_by` is None if a client activated it for itself, or if the
    database's owner did (client `system`). `names` are those of these people, None until they are asked for."""

    number: int
    digest: str
    parent: int | None
    message: str
    author_person: UUID | None
    author_client: str
    proposed_at: datetime
    state: str
    activated_at: datetime | None = None
    activated_by: UUID | None = None
    activated_by_client: str | None = None
    names: Names | None = None

    @property
    def people(self) -> list[str]:
        """The ids of the people who proposed and activated it."""
        return [str(person) for person in (self.author_person, self.activated_by) if person is not None]

    @property
    def active(self) -> bool:
        """Whether this is the active version."""
        return self.state == ACTIVE


@dataclass(frozen=True, slots=True)
class Activator:
    """Who activates a version: the person, or the client that acts for itself, and under which decision."""

    person: UUID | None
    client: str
    decision: UUID | None = None


SYSTEM = Activator(None, "system")


async def load_page(
    visibility: Visibility, connection: Connection, *, before: int | None, limit: int
) -> list[PolicyVersion]:
    """The versions that the caller may read, newest first, with a number below `before`."""
    # A page of versions; the primary key gives the order.
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM {VERSIONS} AS r {LAST}"
        f" WHERE ({visibility.condition}) AND ($3::integer IS NULL OR r.number < $3) ORDER BY r.number DESC LIMIT $4",
        *visibility.parameters,
        before,
        limit,
    )
    return [PolicyVersion(**dict(row)) for row in rows]


async def load_version(connection: Connection, number: int) -> PolicyVersion:
    """A version as it is now. Raises NotFound."""
    # One version by its primary key, with its last activation.
    row = await connection.fetchrow(f"SELECT {COLUMNS} FROM {VERSIONS} AS r {LAST} WHERE r.number = $1", number)
    if row is None:
        raise NotFound("There is no such policy version")
    return PolicyVersion(**dict(row))


async def find_number(connection: Connection, number: int) -> int | None:
    """The number if the version exists, otherwise None. Nothing is locked: a version's row never changes."""
    # One version by its primary key.
    found: int | None = await connection.fetchval("SELECT number FROM policy_version WHERE number = $1", number)
    return found


async def lock_proposals(connection: Connection) -> None:
    """Let other proposals wait until the end of the transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", PROPOSAL_LOCK)


async def find_waiting(connection: Connection, text: PolicyText) -> PolicyVersion | None:
    """The newest version, if it has these texts and no version was activated since it was proposed. After an activation
    the same texts are a new proposal, because four eyes apply to it. The transaction holds `lock_proposals`."""
    # The newest version by the primary key, read after the lock.
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM {VERSIONS} AS r {LAST}"
        " WHERE r.number = (SELECT max(number) FROM policy_version) AND r.digest = $1 AND r.state = $2"
        " AND r.proposed_at > (SELECT activated_at FROM policy_head)",
        text.digest(),
        PROPOSED,
    )
    return None if row is None else PolicyVersion(**dict(row))


async def insert(
    connection: Connection, text: PolicyText, *, message: str, author_person: UUID | None, author_client: str
) -> PolicyVersion:
    """Store a proposal under the next number, with the active version as parent. The transaction holds
    `lock_proposals`, so numbers have no gaps."""
    # The next number; the active version is the parent.
    row = await connection.fetchrow(
        "INSERT INTO policy_version (number, digest, parent, model, rules, vocabulary, cases, message, author_person,"
        " author_client) SELECT coalesce(max(number), 0) + 1, $1, (SELECT active FROM policy_head), $2, $3, $4, $5, $6,"
        " $7, $8 FROM policy_version"
        " RETURNING number, digest, parent, message, author_person, author_client, proposed_at",
        text.digest(),
        text.model,
        text.rules,
        text.vocabulary,
        json.dumps(dict(text.cases)),
        message,
        author_person,
        author_client,
    )
    return _parse_proposed(row)


async def move_head(
    connection: Connection, number: int, *, expected: int, by: Activator = SYSTEM, back: bool = False
) -> bool:
    """Make a version active and add the activation to the history, if `expected` is still active; otherwise False.
    `back`: a rollback to the version that `find_rollback_target` named; the next rollback continues from there."""
    # Compare and swap: the row changes only from the expected version, and the history grows in the same statement.
    step = await connection.fetchval(
        "WITH moved AS (UPDATE policy_head SET active = $1, activated_at = clock_timestamp() WHERE active = $2"
        " RETURNING active), last AS (SELECT step, returns_to FROM policy_activation ORDER BY step DESC LIMIT 1)"
        " INSERT INTO policy_activation (step, number, previous, way, returns_to, by_person, by_client, decision_uid)"
        " SELECT last.step + 1, $1, $2, CASE WHEN $6 THEN 'rollback' ELSE 'activate' END,"
        " CASE WHEN $6 THEN (SELECT below.returns_to FROM policy_activation AS below"
        "                    WHERE below.step = last.returns_to)"
        " ELSE last.step END, $3, $4, $5 FROM moved, last RETURNING step",
        number,
        expected,
        by.person,
        by.client,
        by.decision,
        back,
    )
    return step is not None


async def create_head(connection: Connection, number: int) -> None:
    """Make the first version active (bootstrap, as the owner of the database). Fails if a version is active."""
    # The single row that names the active version.
    await connection.execute("INSERT INTO policy_head (active) VALUES ($1)", number)
    # The first activation of the history.
    await connection.execute(
        "INSERT INTO policy_activation (step, number, way, by_client) VALUES (1, $1, 'first', 'system')", number
    )


async def find_rollback_target(connection: Connection) -> int | None:
    """The version that a rollback would make active: the previous one, or None for the first. Two rollbacks go back two
    versions."""
    # The step that the last step returns to.
    found: int | None = await connection.fetchval(
        "SELECT below.number FROM policy_activation AS below"
        " WHERE below.step = (SELECT returns_to FROM policy_activation ORDER BY step DESC LIMIT 1)"
    )
    return found


async def find_left_behind(connection: Connection, number: int, principal: Principal) -> list[int]:
    """The versions that were left without a newer version taking their place: every later activation was of a version
    proposed before they became active. Empty unless the caller proposed `number`, perhaps before an erasure. Only
    versions with a rule about proposers; without the active version and `number` itself."""
    # Each step of the history, with the time of the newest proposal that was activated after it.
    rows = await connection.fetch(
        "SELECT DISTINCT step.number FROM (SELECT a.number, a.at, max(was.proposed_at) OVER (ORDER BY a.step DESC"
        "          ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS newest"
        "      FROM policy_activation AS a JOIN policy_version AS was ON was.number = a.number) AS step"
        " JOIN policy_version AS v ON v.number = step.number"
        " WHERE EXISTS (SELECT FROM policy_version AS r"
        f"              WHERE r.number = $3 AND ({bind_parameters(PROPOSER)}) IS NOT FALSE)"
        " AND step.newest <= step.at AND step.number NOT IN (SELECT active FROM policy_head UNION SELECT $3)"
        f" AND position('{known_words.PROPOSER}' IN v.rules) > 0 ORDER BY step.number",
        *fact_parameters(principal),
        number,
    )
    return [row["number"] for row in rows]


def _parse_proposed(row: asyncpg.Record | None) -> PolicyVersion:
    if row is None:
        raise PolicyUnavailable(cause="an INSERT returned no row")
    return PolicyVersion(**dict(row), state=PROPOSED)
