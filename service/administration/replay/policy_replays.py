"""Asking for recorded requests to be decided again, and reading what came of it: decided and recorded like all else.

Owns no state: jobs are rows (`replay_jobs`), and a keeper does them (`replay_work`).
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from service.administration.replay import replay_jobs
from service.administration.versions import policy_life
from service.authorization.enforcement.changes import Answer, Target, refused_under
from service.authorization.enforcement.decision_point import Resource
from service.errors import NotFound
from service.log.record import Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from service.administration.replay.replay_jobs import Job
    from service.authorization.enforcement.changes import Reading
    from service.authorization.enforcement.decision_record import Ask
    from service.authorization.enforcement.gate import Gate
    from service.database import Connection, Database
    from service.log.recorded import RecordSelection

POLICY, LOG = "policy", "log"
# The record of a job's beginning or end is no event: nobody's hours and nobody's rights change.
ASKED, CANCELLED = "policy.replay-asked", "policy.replay-cancelled"


class PolicyReplays:
    """`database` is that of requests: a redecision is queued after its decision is durable."""

    def __init__(self, gate: Gate, database: Database) -> None:
        self._gate = gate
        self._database = database

    async def replay(self, ask: Ask, number: int, wanted: RecordSelection) -> Answer[Job]:
        """Have recorded requests decided again under a version. Raises NotFound; Conflict when enough are waiting."""

        async def found(connection: Connection) -> int | None:
            return await policy_life.existing(connection, number)

        async with self._gate.change(ask, POLICY, "replay", Target(str(number), found, must_exist=True)) as change:
            job = await replay_jobs.add(change.permit, change.connection, number, wanted, **_by(ask))
            change.record(
                ASKED,
                Resource(POLICY, str(number)),
                before={},
                after={"replay": job.id, **asdict(wanted)},
                kind=Kind.SYSTEM,
            )
        return change.answer(job)

    async def redecide(self, ask: Ask, wanted: RecordSelection) -> Answer[Job]:
        """Have recorded requests decided again, each under the version that decided it. Raises Conflict."""
        async with self._when_recorded(ask) as (reading, connection):
            job = await replay_jobs.add(reading.permit, connection, None, wanted, **_by(ask))
        return reading.answer(job)

    async def cancel_replay(self, ask: Ask, job_id: UUID) -> Answer[Job]:
        """Stop a replay; whoever may have the version replayed may. Raises NotFound; Conflict when it has ended."""

        async def found(connection: Connection) -> int | None:
            return await replay_jobs.version_of(connection, job_id)

        async with self._gate.change(ask, POLICY, "replay", Target(str(job_id), found, must_exist=True)) as change:
            job = await replay_jobs.cancel(change.permit, change.connection, job_id, redecision=False)
            about = Resource(POLICY, str(job.version))
            change.record(CANCELLED, about, before={}, after={"replay": job.id}, kind=Kind.SYSTEM)
        return change.answer(job)

    async def cancel_redecision(self, ask: Ask, job_id: UUID) -> Answer[Job]:
        """Stop a redecision; whoever may read the log may. Raises NotFound; Conflict when it has ended."""
        async with self._when_recorded(ask, redecision=str(job_id)) as (reading, connection):
            job = await replay_jobs.cancel(reading.permit, connection, job_id, redecision=True)
        return reading.answer(job)

    async def list(self, ask: Ask, *, before: UUID | None, limit: int) -> Answer[Sequence[Job]]:
        """Replays, the newest first; those that ended are kept for a while."""
        async with self._gate.read(ask, POLICY, "read") as reading:
            jobs = await replay_jobs.listed(reading.connection, before=before, limit=limit)
        return reading.answer(jobs)

    async def replayed(self, ask: Ask, job_id: UUID) -> Answer[Job]:
        """How far a replay is, and what came of it. Raises NotFound."""
        return await self._job(ask, POLICY, job_id, Kind.DECISION)

    async def redecided(self, ask: Ask, job_id: UUID) -> Answer[Job]:
        """As `replayed`, for a redecision. Raises NotFound."""
        return await self._job(ask, LOG, job_id, Kind.ACCESS)

    @asynccontextmanager
    async def _when_recorded(self, ask: Ask, **noted: object) -> AsyncIterator[tuple[Reading, Connection]]:
        """A transaction for what an auditor asks for, begun once the access to the log is recorded."""
        async with self._gate.read(ask, LOG, "read", record_kind=Kind.ACCESS) as reading:
            reading.permit.note(**noted)
        with refused_under(reading.receipt):
            async with self._database.transaction() as connection:
                yield reading, connection

    async def _job(self, ask: Ask, kind: str, job_id: UUID, record_kind: Kind) -> Answer[Job]:
        async with self._gate.read(ask, kind, "read", record_kind=record_kind) as reading:
            job = await replay_jobs.job(reading.connection, job_id, redecision=kind == LOG)
        if job is None:
            with refused_under(reading.receipt):
                raise NotFound("There is no such replay")
        return reading.answer(job)


def _by(ask: Ask) -> replay_jobs.Author:
    return {"by_person": ask.principal.person, "by_client": ask.principal.client}
