"""Replay jobs: rows of `policy_replay`. The API inserts them, a keeper claims and does them.

Postgres owns a job, its cursor and its totals; one statement changes cursor and totals together. A claim is a lease: a
keeper that stops renewing it loses the job to another keeper, which continues after the cursor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from service.administration.replay.tally import Tally
from service.errors import Conflict, NotFound
from service.ids import make_id
from service.log.recorded_decisions import DecisionSelection

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.changes import Permit
    from service.database import Connection

# The resource kind that a replay is decided on, and the action on it that starts and cancels one: the policy for a
# replay under one version, the log for a replay under the versions that decided.
POLICY, LOG = "policy", "log"
START: Final = {POLICY: "replay", LOG: "read"}
# Each of the two kinds has its own bound, so that authors and auditors do not keep each other waiting.
MAX_OPEN_JOBS_PER_KIND: Final = 10
# Days for which an ended job can be read, and how many older ones a new one removes.
KEPT_DAYS: Final = 30
MAX_JOBS_REMOVED_AT_ONCE: Final = 100
# Seconds after which a keeper that has not renewed its claim loses it.
LEASE = 15.0
# Claims without progress after which a job fails. A claim after which the database was busy or away does not count.
MAX_ATTEMPTS: Final = 5
# Whether a claim counts as an attempt, as 1 or 0.
COUNTED: Final = "CASE WHEN id = $4::uuid AND claimed_by = $1 THEN 0 ELSE 1 END"
QUEUE_LOCK: Final = 0x74770010
SELECTION: Final = ("since", "until", "action", "resource_kind")
COLUMNS: Final = (
    "id, version, since, until, action, resource_kind, state, by_person, by_client, asked_at, started_at, ended_at,"
    " first_id, last_id, cursor, totals, problem"
)


@dataclass(frozen=True, slots=True)
class Job:
    """A replay. `version` None: each record is evaluated under the version that decided it. `first_id`, `last_id` and
    `cursor` are ids of the log, None before the job starts."""

    id: UUID
    version: int | None
    selection: DecisionSelection
    state: str
    by_person: UUID | None
    by_client: str
    asked_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    first_id: int | None
    last_id: int | None
    cursor: int | None
    totals: Tally
    problem: str | None

    @property
    def kind(self) -> str:
        """The resource kind that this replay is decided on."""
        return LOG if self.version is None else POLICY

    @property
    def asker(self) -> list[str]:
        """The id of the person who started it."""
        return [] if self.by_person is None else [str(self.by_person)]

    @property
    def people(self) -> list[str]:
        """The ids of the person who started it and of the people in its result."""
        return list(dict.fromkeys([*self.asker, *self.totals.subjects()]))

    @property
    def progress(self) -> float:
        """The part of the log that is done, from 0 to 1."""
        if self.state == "done":
            return 1.0
        if self.first_id is None or self.last_id is None or self.cursor is None:
            return 0.0
        return min(1.0, (self.cursor - self.first_id) / max(1, self.last_id - self.first_id))


async def add(
    permit: Permit,
    connection: Connection,
    version: int | None,
    selection: DecisionSelection,
    *,
    by_person: UUID | None,
    by_client: str,
) -> Job:
    """Queue a job, inside a transaction, and remove old ones. Raises Conflict when too many of its kind are open."""
    kind = LOG if version is None else POLICY
    permit.covers(kind, START[kind])
    # One at a time, so that the bound holds.
    await connection.execute("SELECT pg_advisory_xact_lock($1)", QUEUE_LOCK)
    # The jobs that ended longest ago.
    await connection.execute(
        "DELETE FROM policy_replay WHERE id IN (SELECT id FROM policy_replay"
        " WHERE ended_at < clock_timestamp() - make_interval(days => $1) ORDER BY ended_at LIMIT $2)",
        KEPT_DAYS,
        MAX_JOBS_REMOVED_AT_ONCE,
    )
    # A new job, unless too many of its kind are open.
    row = await connection.fetchrow(
        "INSERT INTO policy_replay (id, version, since, until, action, resource_kind, by_person, by_client)"
        " SELECT $1, $2, $3, $4, $5, $6, $7, $8"
        " WHERE (SELECT count(*) FROM policy_replay WHERE state IN ('queued', 'running')"
        "        AND (version IS NULL) = ($2::integer IS NULL)) < $9"
        f" RETURNING {COLUMNS}",
        make_id(),
        version,
        selection.since,
        selection.until,
        selection.action,
        selection.resource_kind,
        by_person,
        by_client,
        MAX_OPEN_JOBS_PER_KIND,
    )
    if row is None:
        raise Conflict(f"{MAX_OPEN_JOBS_PER_KIND} replays are waiting or running; ask again when one of them has ended")
    return _parse_row(row)


async def load(connection: Connection, kind: str, job_id: UUID) -> Job | None:
    """A job of this kind, with its result so far."""
    # One job by its primary key.
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM policy_replay WHERE id = $1 AND (version IS NULL) = $2", job_id, kind == LOG
    )
    return _parse_row(row) if row else None


async def load_page(connection: Connection, kind: str, *, before: UUID | None, limit: int) -> list[Job]:
    """Jobs of this kind, newest first, older than the one with the id `before`."""
    # A page of jobs. Ids begin with the time, so the primary key gives the order.
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM policy_replay WHERE (version IS NULL) = $1 AND ($2::uuid IS NULL OR id < $2)"
        " ORDER BY id DESC LIMIT $3",
        kind == LOG,
        before,
        limit,
    )
    return [_parse_row(row) for row in rows]


async def find_kind(connection: Connection, job_id: UUID) -> str | None:
    """The kind of a job; None for an unknown id."""
    # One job by its primary key.
    row = await connection.fetchrow("SELECT version FROM policy_replay WHERE id = $1", job_id)
    if row is None:
        return None
    return LOG if row["version"] is None else POLICY


async def find_version(connection: Connection, job_id: UUID) -> int | None:
    """The version of a replay; None for an unknown id, and for a replay without a version."""
    # One job by its primary key.
    version: int | None = await connection.fetchval("SELECT version FROM policy_replay WHERE id = $1", job_id)
    return version


async def cancel(permit: Permit, connection: Connection, job_id: UUID) -> Job:
    """Stop a job of the permitted kind, inside a transaction; its keeper learns of it when it next renews its claim.
    The results so far stay. Raises NotFound, and Conflict when the job has ended."""
    kind = permit.decision.request.resource.kind
    permit.covers(kind, START[kind])
    # One job by its primary key.
    row = await connection.fetchrow(
        "UPDATE policy_replay SET state = 'cancelled', ended_at = clock_timestamp()"
        f" WHERE id = $1 AND (version IS NULL) = $2 AND state IN ('queued', 'running') RETURNING {COLUMNS}",
        job_id,
        kind == LOG,
    )
    if row is not None:
        return _parse_row(row)
    if await load(connection, kind, job_id) is None:
        raise NotFound("There is no such replay")
    raise Conflict("It has ended already")


async def count_open(connection: Connection) -> dict[str, int]:
    """How many jobs are queued and running."""
    # At most twice MAX_OPEN_JOBS_PER_KIND rows.
    found = await connection.fetch(
        "SELECT state, count(*) AS jobs FROM policy_replay WHERE state IN ('queued', 'running') GROUP BY state"
    )
    return {"queued": 0, "running": 0, **{row["state"]: row["jobs"] for row in found}}


async def claim(connection: Connection, keeper: UUID, interrupted: UUID | None = None) -> Job | None:
    """Claim the oldest job that is queued or whose keeper lost its claim; None when there is none. A job that was
    claimed MAX_ATTEMPTS times without progress fails. If this keeper still holds the claim of the job `interrupted`,
    to claim that job again is no attempt."""
    # A job that no other keeper is claiming at this moment.
    row = await connection.fetchrow(
        f"UPDATE policy_replay SET state = CASE WHEN attempts + {COUNTED} <= $3 THEN 'running' ELSE 'failed' END,"
        f" ended_at = CASE WHEN attempts + {COUNTED} <= $3 THEN NULL ELSE clock_timestamp() END,"
        f" problem = CASE WHEN attempts + {COUNTED} <= $3 THEN NULL"
        "                ELSE 'It was started several times and made no progress' END,"
        f" attempts = attempts + {COUNTED}, claimed_by = $1, claimed_at = clock_timestamp(),"
        " started_at = coalesce(started_at, clock_timestamp())"
        " WHERE id = (SELECT id FROM policy_replay WHERE state = 'queued' OR (state = 'running'"
        "             AND (claimed_by = $1 OR claimed_at < clock_timestamp() - make_interval(secs => $2)))"
        "             ORDER BY asked_at LIMIT 1 FOR UPDATE SKIP LOCKED)"
        f" RETURNING {COLUMNS}",
        keeper,
        LEASE,
        MAX_ATTEMPTS,
        interrupted,
    )
    job = _parse_row(row) if row else None
    return job if job and job.state == "running" else None


async def set_span(connection: Connection, keeper: UUID, job_id: UUID, first: int, last: int) -> bool:
    """Store which ids of the log the job covers. False when the claim is lost."""
    # One job by its primary key.
    done = await connection.fetchval(
        "UPDATE policy_replay SET first_id = $3, last_id = $4, cursor = $3"
        " WHERE id = $1 AND claimed_by = $2 AND state = 'running' RETURNING true",
        job_id,
        keeper,
        first,
        last,
    )
    return done is True


async def advance(connection: Connection, keeper: UUID, job_id: UUID, cursor: int, totals: Tally) -> bool:
    """Store the cursor with the totals up to it, and renew the claim. False when the claim is lost."""
    # One job by its primary key; progress resets the attempts.
    done = await connection.fetchval(
        "UPDATE policy_replay SET attempts = CASE WHEN $3 > cursor THEN 0 ELSE attempts END, cursor = $3, totals = $4,"
        " claimed_at = clock_timestamp() WHERE id = $1 AND claimed_by = $2 AND state = 'running' RETURNING true",
        job_id,
        keeper,
        cursor,
        msgspec.json.encode(totals).decode(),
    )
    return done is True


async def renew(connection: Connection, keeper: UUID, job_id: UUID) -> bool:
    """Renew the claim of a job without progress. False when the claim is lost."""
    # One job by its primary key.
    done = await connection.fetchval(
        "UPDATE policy_replay SET claimed_at = clock_timestamp()"
        " WHERE id = $1 AND claimed_by = $2 AND state = 'running' RETURNING true",
        job_id,
        keeper,
    )
    return done is True


async def end(connection: Connection, keeper: UUID, job_id: UUID, problem: str | None = None) -> None:
    """End a job: done, or failed with a sentence."""
    # One job by its primary key.
    await connection.execute(
        "UPDATE policy_replay SET state = CASE WHEN $3::text IS NULL THEN 'done' ELSE 'failed' END, problem = $3,"
        " ended_at = clock_timestamp() WHERE id = $1 AND claimed_by = $2 AND state = 'running'",
        job_id,
        keeper,
        problem,
    )


def _parse_row(row: asyncpg.Record) -> Job:
    members = dict(row)
    selection = DecisionSelection(**{name: members.pop(name) for name in SELECTION})
    totals = msgspec.json.decode(members.pop("totals"), type=Tally)
    return Job(**members, selection=selection, totals=totals)
