"""Runs replay jobs in the keeper: streams the log, evaluates it in parallel processes, stores the tally and cursor.

Owns the worker processes of the running job, and the directory with the texts of its versions. The job's row is the
only durable state: after a crash another keeper continues from its cursor.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from service import metrics
from service.administration.replay import jobs
from service.administration.replay.batches import Versions, begin, tally_here
from service.authorization.active.versions import load_texts
from service.errors import DatabaseUnavailable, NotFound, Overloaded, PolicyUnavailable, TryLater
from service.ids import make_id
from service.log import recorded_decisions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from uuid import UUID

    from service.administration.replay.jobs import Job
    from service.administration.replay.tally import Tally
    from service.database import Database

BATCH: Final = 1_000
# Seconds between two commits of progress, between two looks for a job, and between two looks at writers of the log.
COMMIT_EVERY: Final = 0.5
LOOK_EVERY: Final = 1.0
WRITERS_EVERY: Final = 0.05
log = structlog.get_logger("replay")


class _Lost(Exception):
    """The job was cancelled, or another keeper has claimed it."""


class ReplayWorker:
    """Runs one job at a time in `processes` worker processes. `database` needs two connections."""

    def __init__(self, database: Database, *, processes: int = 2, batch: int = BATCH) -> None:
        self._database = database
        self._processes = processes
        self._batch = batch
        self._me = make_id()
        # The claimed job that could not go on because the database was busy or away.
        self._interrupted: UUID | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Run jobs until `stop`. If the database is away, waits for it."""
        while not stop.is_set():
            done = False
            try:
                done = await self.once(stop)
            except TryLater as error:
                # The database is busy or away: the next look, or another keeper, continues after the cursor.
                log.warning("a replay waits for the database", cause=error.cause)
            except Exception as error:
                # The claim counts as an attempt.
                log.exception("a replay went wrong", problem=type(error).__name__)
            if not done:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY):
                        await stop.wait()

    async def once(self, stop: asyncio.Event) -> bool:
        """Run the next job until its end or `stop`. False if no job is waiting."""
        async with self._database.connection() as connection:
            job = await jobs.claim(connection, self._me, self._interrupted)
        if job is None:
            return False
        self._interrupted = None
        try:
            return await self._run_claimed(job, stop)
        except (DatabaseUnavailable, Overloaded):
            # A locked table, a time limit or a lost connection. No process died, so this claim is no attempt.
            self._interrupted = job.id
            raise

    async def _run_claimed(self, job: Job, stop: asyncio.Event) -> bool:
        """Run a job until its end or `stop`. False if one of its processes died."""
        log.info("replay begins", job=str(job.id), version=job.version, cursor=job.cursor)
        problem = None
        try:
            ended = await self._run_job(job, stop)
        except BrokenProcessPool:
            # The claim counts as an attempt, so a record that kills its process does not do so for ever.
            log.warning("a replay's process died", job=str(job.id))
            return False
        except _Lost:
            log.info("replay was cancelled or lost", job=str(job.id))
            return True
        except NotFound:
            ended, problem = True, "There is no such policy version"
        if ended:
            async with self._database.connection() as connection:
                await jobs.end(connection, self._me, job.id, problem)
            log.info("replay ended", job=str(job.id), problem=problem)
        return True

    async def _run_job(self, job: Job, stop: asyncio.Event) -> bool:
        """Evaluate the log after the job's cursor. False if stopped before the end."""
        span = await self._find_span(job, stop)
        if span is None:
            return False
        first, last, cursor = span
        with tempfile.TemporaryDirectory(prefix="timewarden-replay-") as name:
            texts = _Texts(self._database, Versions(Path(name)))
            if job.version is not None:
                await texts.write(job.version)
            pool = ProcessPoolExecutor(
                self._processes, multiprocessing.get_context("spawn"), initializer=begin, initargs=(Path(name),)
            )
            try:
                return await self._stream(job, pool, texts, max(first, cursor), last, stop)
            finally:
                # In a thread: a running batch may take seconds, and the sealer in this process must not wait.
                await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)

    async def _find_span(self, job: Job, stop: asyncio.Event) -> tuple[int, int, int] | None:
        """The first and last id of the log, and the cursor; None if stopped before they are known."""
        if job.first_id is not None and job.last_id is not None and job.cursor is not None:
            return job.first_id, job.last_id, job.cursor
        async with self._database.connection() as connection:
            first, last = await recorded_decisions.find_span(connection, job.selection)
            # In a later statement: a writer that has an id up to the last and has not committed is among them.
            writing = await recorded_decisions.list_writers(connection)
        if not await self._wait_for_writers(job, writing, stop):
            return None
        async with self._database.connection() as connection:
            if not await jobs.set_span(connection, self._me, job.id, first, last):
                raise _Lost
        return first, last, first

    async def _wait_for_writers(self, job: Job, writing: frozenset[str], stop: asyncio.Event) -> bool:
        """Wait for these writers, because a decision that they commit later would be missed. They take no longer than a
        request's transaction may. False if stopped."""
        renewed = time.monotonic()
        while writing and not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(WRITERS_EVERY):
                    await stop.wait()
            async with self._database.connection() as connection:
                writing &= await recorded_decisions.list_writers(connection)
                if time.monotonic() - renewed >= jobs.LEASE / 3:
                    renewed = time.monotonic()
                    if not await jobs.renew(connection, self._me, job.id):
                        raise _Lost
        return not writing

    async def _stream(
        self, job: Job, pool: ProcessPoolExecutor, texts: _Texts, after: int, last: int, stop: asyncio.Event
    ) -> bool:
        """Read batches ahead of the processes and merge their tallies in the order of the log, so that the cursor says
        which records are counted."""
        totals, committed = job.totals, time.monotonic()
        waiting: deque[tuple[int, Future[Tally] | None]] = deque()
        while after < last or waiting:
            while after < last and len(waiting) <= self._processes + 1:
                async with self._database.connection() as connection:
                    found = await recorded_decisions.read_window(
                        connection, job.selection, after=after, last=last, limit=self._batch
                    )
                after = found.until
                bodies = [body for _, body in found.decisions]
                await texts.write_all([number for number, _ in found.decisions])
                waiting.append((after, pool.submit(tally_here, job.version, bodies, found.texts) if bodies else None))
            cursor, future = waiting.popleft()
            if future is not None:
                tally = await self._wait_for_tally(job, future)
                metrics.RECORDS_REPLAYED.add(amount=tally.records)
                totals.merge(tally)
            ends = cursor >= last or stop.is_set()
            if ends or time.monotonic() - committed >= COMMIT_EVERY:
                async with self._database.connection() as connection:
                    if not await jobs.advance(connection, self._me, job.id, cursor, totals):
                        raise _Lost
                committed = time.monotonic()
            if stop.is_set():
                return cursor >= last
        return True

    async def _wait_for_tally(self, job: Job, future: Future[Tally]) -> Tally:
        """The tally of a batch. The claim is renewed while it runs."""
        batch = asyncio.wrap_future(future)
        while True:
            await asyncio.wait([batch], timeout=jobs.LEASE / 3)
            if batch.done():
                return batch.result()
            async with self._database.connection() as connection:
                if not await jobs.renew(connection, self._me, job.id):
                    raise _Lost


class _Texts:
    """Writes the texts of versions for the worker processes."""

    def __init__(self, database: Database, versions: Versions) -> None:
        self._database = database
        self._versions = versions
        self._written: set[int] = set()

    async def write(self, number: int) -> None:
        """Raises NotFound, and PolicyUnavailable for altered texts."""
        async with self._database.connection() as connection:
            texts = await load_texts(connection, number)
        # Not inside the block, which would take a full disk for a database that is away.
        self._versions.put(number, texts)
        self._written.add(number)

    async def write_all(self, numbers: Sequence[int]) -> None:
        """As `write`. The records of an unknown or altered version are undecidable."""
        for number in sorted(set(numbers) - self._written):
            with suppress(NotFound, PolicyUnavailable):
                await self.write(number)
            self._written.add(number)
