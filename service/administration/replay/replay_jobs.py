"""Jobs that decide recorded requests again: rows of policy_replay. The app inserts them, a keeper claims and does them.

Postgres owns a job, its cursor and its totals, which change together in one statement. A claim is a lease: a keeper
that falls silent loses the job to the next, which goes on behind the cursor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import msgspec
from uuid_utils.compat import uuid7

from service.administration.replay.replay_tally import Tally
from service.errors import Conflict, NotFound
from service.log.recorded import RecordSelection

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.permit import Permit
    from service.database import Connection

# For replays and for redecisions apart: authors and auditors do not stand in each other's way.
MAX_OPEN = 10
# Days for which an ended job can be read, and how many older ones a new one removes at the most.
KEPT_DAYS = 30
MAX_REMOVED = 100
# Seconds without a word after which a keeper has lost its claim.
LEASE = 15.0
# Claims without progress after which a job is given up.
MAX_ATTEMPTS = 5
QUEUE_LOCK = 0x74770010
WANTED = ("since", "until", "action", "resource_kind")
COLUMNS = (
    "id, version, since, until, action, resource_kind, state, by_person, by_client, asked_at, started_at, ended_at,"
    " first_id, last_id, cursor, totals, problem"
)


class Author(TypedDict):
    """Who asked: the person, if there is one, and the client."""

    by_person: UUID | None
    by_client: str


@dataclass(frozen=True, slots=True)
class Job:
    """`version` None: each record under the version that decided it. Ids are those of the log; None before it began."""

    id: UUID
    version: int | None
    wanted: RecordSelection
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
    def progress(self) -> float:
        """The part of the log that was gone through, from 0 to 1."""
        if self.state == "done":
            return 1.0
        if self.first_id is None or self.last_id is None or self.cursor is None:
            return 0.0
        return min(1.0, (self.cursor - self.first_id) / max(1, self.last_id - self.first_id))


async def add(
    permit: Permit,
    connection: Connection,
    version: int | None,
    wanted: RecordSelection,
    *,
    by_person: UUID | None,
    by_client: str,
) -> Job:
    """Queue a job, inside a transaction, and remove old ones. Raises Conflict when enough are waiting."""
    permit.covers(*(("log", "read") if version is None else ("policy", "replay")))
    # One at a time, so that the bound holds.
    await connection.execute("SELECT pg_advisory_xact_lock($1)", QUEUE_LOCK)
    # Some of those that ended long ago, the oldest first.
    await connection.execute(
        "DELETE FROM policy_replay WHERE id IN (SELECT id FROM policy_replay"
        " WHERE ended_at < clock_timestamp() - make_interval(days => $1) ORDER BY ended_at LIMIT $2)",
        KEPT_DAYS,
        MAX_REMOVED,
    )
    # A new job, unless too many of its sort are open.
    row = await connection.fetchrow(
        "INSERT INTO policy_replay (id, version, since, until, action, resource_kind, by_person, by_client)"
        " SELECT $1, $2, $3, $4, $5, $6, $7, $8"
        " WHERE (SELECT count(*) FROM policy_replay WHERE state IN ('queued', 'running')"
        "        AND (version IS NULL) = ($2::integer IS NULL)) < $9"
        f" RETURNING {COLUMNS}",
        uuid7(),
        version,
        wanted.since,
        wanted.until,
        wanted.action,
        wanted.resource_kind,
        by_person,
        by_client,
        MAX_OPEN,
    )
    if row is None:
        some = "redecisions" if version is None else "replays"
        raise Conflict(f"{MAX_OPEN} {some} are waiting or under way; ask again when one of them has ended")
    return _job(row)


async def job(connection: Connection, job_id: UUID, *, redecision: bool) -> Job | None:
    """A job of the one sort or the other."""
    # One job with what it found so far.
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM policy_replay WHERE id = $1 AND (version IS NULL) = $2", job_id, redecision
    )
    return _job(row) if row else None


async def listed(connection: Connection, *, before: UUID | None, limit: int) -> list[Job]:
    """Replays, the newest first, asked for before the one with the id `before`."""
    # A page of replays; ids begin with the time, so that the primary key gives the order.
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM policy_replay WHERE version IS NOT NULL AND ($1::uuid IS NULL OR id < $1)"
        " ORDER BY id DESC LIMIT $2",
        before,
        limit,
    )
    return [_job(row) for row in rows]


async def version_of(connection: Connection, job_id: UUID) -> int | None:
    """The version that a replay is about; None when there is no such replay."""
    # One replay by its key.
    found: int | None = await connection.fetchval("SELECT version FROM policy_replay WHERE id = $1", job_id)
    return found


async def cancel(permit: Permit, connection: Connection, job_id: UUID, *, redecision: bool) -> Job:
    """Stop a job, inside a transaction; its keeper notices with its next word. Raises NotFound, and Conflict when it
    has ended already."""
    permit.covers(*(("log", "read") if redecision else ("policy", "replay")))
    # Whatever was found so far stays.
    row = await connection.fetchrow(
        "UPDATE policy_replay SET state = 'cancelled', ended_at = clock_timestamp()"
        f" WHERE id = $1 AND (version IS NULL) = $2 AND state IN ('queued', 'running') RETURNING {COLUMNS}",
        job_id,
        redecision,
    )
    if row is not None:
        return _job(row)
    if await job(connection, job_id, redecision=redecision) is None:
        raise NotFound("There is no such replay")
    raise Conflict("It has ended already")


async def claim(connection: Connection, keeper: UUID) -> Job | None:
    """The oldest job that waits, or whose keeper fell silent; None when there is none. A job that was given up five
    times without progress fails."""
    # A job that nobody else is claiming at this moment.
    row = await connection.fetchrow(
        "UPDATE policy_replay SET state = CASE WHEN attempts < $3 THEN 'running' ELSE 'failed' END,"
        " ended_at = CASE WHEN attempts < $3 THEN NULL ELSE clock_timestamp() END,"
        " problem = CASE WHEN attempts < $3 THEN NULL ELSE 'It was begun again and again without getting further' END,"
        " attempts = attempts + 1, claimed_by = $1, claimed_at = clock_timestamp(),"
        " started_at = coalesce(started_at, clock_timestamp())"
        " WHERE id = (SELECT id FROM policy_replay WHERE state = 'queued' OR (state = 'running'"
        "             AND (claimed_by = $1 OR claimed_at < clock_timestamp() - make_interval(secs => $2)))"
        "             ORDER BY asked_at LIMIT 1 FOR UPDATE SKIP LOCKED)"
        f" RETURNING {COLUMNS}",
        keeper,
        LEASE,
        MAX_ATTEMPTS,
    )
    found = _job(row) if row else None
    return found if found and found.state == "running" else None


async def set_span(connection: Connection, keeper: UUID, job_id: UUID, first: int, last: int) -> bool:
    """Fix which part of the log the job goes through. False when the claim is lost."""
    # From where to where, once.
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
    """Keep how far it is and what was found until there, and the claim with it. False when the claim is lost."""
    # Cursor, totals and heartbeat in one.
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
    """Say that it is still being done, though there is no progress yet. False when the claim is lost."""
    # The heartbeat alone.
    done = await connection.fetchval(
        "UPDATE policy_replay SET claimed_at = clock_timestamp()"
        " WHERE id = $1 AND claimed_by = $2 AND state = 'running' RETURNING true",
        job_id,
        keeper,
    )
    return done is True


async def end(connection: Connection, keeper: UUID, job_id: UUID, problem: str | None = None) -> None:
    """Done, or failed with a sentence."""
    # The last word about a job.
    await connection.execute(
        "UPDATE policy_replay SET state = CASE WHEN $3::text IS NULL THEN 'done' ELSE 'failed' END, problem = $3,"
        " ended_at = clock_timestamp() WHERE id = $1 AND claimed_by = $2 AND state = 'running'",
        job_id,
        keeper,
        problem,
    )


def _job(row: asyncpg.Record) -> Job:
    members = dict(row)
    wanted = RecordSelection(**{name: members.pop(name) for name in WANTED})
    totals = msgspec.json.decode(members.pop("totals"), type=Tally)
    return Job(**members, wanted=wanted, totals=totals)
