"""Starting, listing, reading and cancelling replays; each step is decided by the policy and recorded.

A replay evaluates recorded requests again: under one policy version, or, without a version, each request under the
version that decided it. The first kind is for policy authors and decided on the policy, the second is for auditors and
decided on the log. Jobs are rows in Postgres (`jobs`), and a keeper does them (`worker`).
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from service.administration.replay import jobs
from service.administration.replay.jobs import LOG, POLICY, START
from service.administration.versions import version_store
from service.authorization.enforcement.changes import Answer, Target, refused_under
from service.authorization.enforcement.decision_point import Resource
from service.authorization.enforcement.names import load_names_of_change, load_names_of_row
from service.errors import NotFound
from service.log.record import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from service.administration.replay.jobs import Job
    from service.authorization.enforcement.changes import Caller
    from service.authorization.enforcement.gate import Gate
    from service.database import Database
    from service.log.log import Receipt
    from service.log.recorded_decisions import DecisionSelection

# Recorded, but not published: a replay changes no hours and no rights.
STARTED, CANCELLED = "policy.replay-asked", "policy.replay-cancelled"


class Replays:
    """The use cases of replays."""

    def __init__(self, gate: Gate, database: Database) -> None:
        self._gate = gate
        self._database = database

    async def start(self, caller: Caller, selection: DecisionSelection, version: int | None = None) -> Answer[Job]:
        """Queue a replay. Raises Denied, NotFound for an unknown version, Conflict when too many are waiting."""
        kind, target = LOG, Target()
        if version is not None:
            find = partial(version_store.find_number, number=version)
            kind, target = POLICY, Target(str(version), find, must_exist=True)
        async with self._gate.change(caller, kind, START[kind], target) as change:
            by = caller.principal
            job = await jobs.add(
                change.permit, change.connection, version, selection, by_person=by.person, by_client=by.client
            )
            change.record(
                STARTED, _resource(job), before={}, after={"replay": job.id, **asdict(selection)}, kind=Kind.SYSTEM
            )
            change.names = await load_names_of_change(change, job.people)
        return change.answer(job)

    async def list(
        self, caller: Caller, *, before: UUID | None, limit: int, with_names: bool = False
    ) -> Answer[Sequence[Job]]:
        """Replays that the caller may read, newest first, and the names in them if they are asked for. Each kind that
        they may read takes a decision of its own; the receipt is that of the last one. Raises Denied."""
        found: list[Job] = []
        names: dict[str, str] = {}
        receipts: list[Receipt] = []
        for kind in await self._readable(caller):
            async with self._gate.read(caller, kind, "read") as reading:
                of_kind = await jobs.load_page(reading.connection, kind, before=before, limit=limit)
                if with_names:
                    names |= await load_names_of_row(reading, [person for job in of_kind for person in job.asker])
            found += of_kind
            receipts.append(reading.receipt)
        newest = sorted(found, key=lambda job: job.id, reverse=True)[:limit]
        return Answer(newest, receipts[-1], names if with_names else None)

    async def read(self, caller: Caller, job_id: UUID, *, with_names: bool = False) -> Answer[Job]:
        """A replay with its progress and its result so far, and the names in it if they are asked for. Raises Denied,
        NotFound."""
        kind = await self._kind_of(caller, job_id)
        async with self._gate.read(caller, kind, "read") as reading:
            job = await jobs.load(reading.connection, kind, job_id)
            names = await load_names_of_row(reading, job.people) if with_names and job is not None else None
        if job is None:
            with refused_under(reading.receipt):
                raise NotFound("There is no such replay")
        return Answer(job, reading.receipt, names)

    async def cancel(self, caller: Caller, job_id: UUID) -> Answer[Job]:
        """Stop a replay; this takes the same permission as starting it. Raises Denied, NotFound, and Conflict when it
        has ended."""
        kind, target = await self._kind_of(caller, job_id), Target()
        if kind == POLICY:
            target = Target(str(job_id), partial(jobs.find_version, job_id=job_id), must_exist=True)
        async with self._gate.change(caller, kind, START[kind], target) as change:
            job = await jobs.cancel(change.permit, change.connection, job_id)
            change.record(CANCELLED, _resource(job), before={}, after={"replay": job.id}, kind=Kind.SYSTEM)
            change.names = await load_names_of_change(change, job.people)
        return change.answer(job)

    async def _kind_of(self, caller: Caller, job_id: UUID) -> str:
        """The kind that a replay is decided on. For a replay that the caller may not read, it is the one that it would
        be for an unknown id, so that the answer does not tell the two apart."""
        async with self._database.connection() as connection:
            kind = await jobs.find_kind(connection, job_id)
        readable = await self._readable(caller)
        return kind if kind is not None and kind in readable else readable[0]

    async def _readable(self, caller: Caller) -> Sequence[str]:
        """The kinds whose replays the caller may read; if there are none, the one whose refusal they get."""
        kinds = [kind for kind in (LOG, POLICY) if await self._gate.would_allow(caller, kind, "read")]
        return kinds or [next((kind for kind in (LOG, POLICY) if self._gate.could_allow(caller, kind, "read")), POLICY)]


def _resource(job: Job) -> Resource:
    return Resource(job.kind, None if job.version is None else str(job.version))
