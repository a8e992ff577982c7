"""Asking for recorded requests to be decided again, and reading what came of it: decided and recorded like all else.

Owns no state: jobs are rows (`replay_jobs`), and a keeper does them (`replay_work`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from service.administration.replay import replay_jobs
from service.administration.versions import policy_life
from service.authorization.enforcement.changes import Answer, Target, refused_under
from service.authorization.enforcement.decision_point import Resource
from service.errors import NotFound
from service.log.record import Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from service.administration.replay.replay_jobs import Job
    from service.authorization.enforcement.changes import Change
    from service.authorization.enforcement.decision_record import Ask
    from service.authorization.enforcement.enforcement import Enforcement
    from service.authorization.enforcement.permit import Permit
    from service.authorization.enforcement.relationships import Seen
    from service.database import Connection, Database
    from service.log.recorded import Wanted

POLICY, LOG = "policy", "log"
# The record of a job's beginning or end is no event: nobody's hours and nobody's rights change.
ASKED, CANCELLED = "policy.replay-asked", "policy.replay-cancelled"


class PolicyReplays:
    """`database` is that of requests: a redecision is queued after its decision is durable."""

    def __init__(self, enforcement: Enforcement, database: Database) -> None:
        self._enforcement = enforcement
        self._database = database

    async def replay(self, ask: Ask, number: int, wanted: Wanted) -> Answer[Job]:
        """Have recorded requests decided again under a version. Raises NotFound; Conflict when enough are waiting."""

        async def found(connection: Connection) -> int | None:
            return await policy_life.existing(connection, number)

        async def work(change: Change) -> Job:
            job = await replay_jobs.add(change.permit, change.connection, number, wanted, **_by(ask))
            change.record(
                ASKED,
                Resource(POLICY, str(number)),
                before={},
                after={"replay": job.id, **asdict(wanted)},
                kind=Kind.SYSTEM,
            )
            return job

        return await self._enforcement.change(ask, POLICY, "replay", Target(str(number), found, must_exist=True), work)

    async def redecide(self, ask: Ask, wanted: Wanted) -> Answer[Job]:
        """Have recorded requests decided again, each under the version that decided it. Raises Conflict."""

        async def work(permit: Permit, connection: Connection) -> Job:
            return await replay_jobs.add(permit, connection, None, wanted, **_by(ask))

        return await self._when_recorded(ask, work)

    async def cancel_replay(self, ask: Ask, job_id: UUID) -> Answer[Job]:
        """Stop a replay; whoever may have the version replayed may. Raises NotFound; Conflict when it has ended."""

        async def found(connection: Connection) -> int | None:
            return await replay_jobs.version_of(connection, job_id)

        async def work(change: Change) -> Job:
            job = await replay_jobs.cancel(change.permit, change.connection, job_id, redecision=False)
            about = Resource(POLICY, str(job.version))
            change.record(CANCELLED, about, before={}, after={"replay": job.id}, kind=Kind.SYSTEM)
            return job

        return await self._enforcement.change(ask, POLICY, "replay", Target(str(job_id), found, must_exist=True), work)

    async def cancel_redecision(self, ask: Ask, job_id: UUID) -> Answer[Job]:
        """Stop a redecision; whoever may read the log may. Raises NotFound; Conflict when it has ended."""

        async def work(permit: Permit, connection: Connection) -> Job:
            return await replay_jobs.cancel(permit, connection, job_id, redecision=True)

        return await self._when_recorded(ask, work, redecision=str(job_id))

    async def list(self, ask: Ask, *, before: UUID | None, limit: int) -> Answer[Sequence[Job]]:
        """Replays, the newest first; those that ended are kept for a while."""

        async def load(_permit: Permit, _seen: Seen, connection: Connection) -> tuple[Sequence[Job], list[str]]:
            return await replay_jobs.listed(connection, before=before, limit=limit), []

        return await self._enforcement.read(ask, POLICY, "read", load)

    async def replayed(self, ask: Ask, job_id: UUID) -> Answer[Job]:
        """How far a replay is, and what came of it. Raises NotFound."""
        return await self._job(ask, POLICY, job_id, Kind.DECISION)

    async def redecided(self, ask: Ask, job_id: UUID) -> Answer[Job]:
        """As `replayed`, for a redecision. Raises NotFound."""
        return await self._job(ask, LOG, job_id, Kind.ACCESS)

    async def _when_recorded(
        self, ask: Ask, work: Callable[[Permit, Connection], Awaitable[Job]], **noted: object
    ) -> Answer[Job]:
        """Do what an auditor asks, once the access to the log that it is has been recorded."""

        async def load(permit: Permit, _seen: Seen, _connection: Connection) -> tuple[Permit, list[str]]:
            if noted:
                permit.note(**noted)
            return permit, []

        answer = await self._enforcement.read(ask, LOG, "read", load, record_kind=Kind.ACCESS)
        with refused_under(answer.receipt):
            async with self._database.transaction() as connection:
                job = await work(answer.value, connection)
        return Answer(job, answer.receipt)

    async def _job(self, ask: Ask, kind: str, job_id: UUID, record_kind: Kind) -> Answer[Job]:
        async def load(_permit: Permit, _seen: Seen, connection: Connection) -> tuple[Job | None, list[str]]:
            return await replay_jobs.job(connection, job_id, redecision=kind == LOG), []

        answer = await self._enforcement.read(ask, kind, "read", load, record_kind=record_kind)
        if answer.value is None:
            with refused_under(answer.receipt):
                raise NotFound("There is no such replay")
        return Answer(answer.value, answer.receipt)


def _by(ask: Ask) -> replay_jobs.Author:
    return {"by_person": ask.principal.person, "by_client": ask.principal.client}
