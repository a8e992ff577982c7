"""Group commit: appends that wait at the same time share one commit. A record is durable once its waiter is released.

One flush runs at a time, on one reserved connection. New appends join the next batch, which starts one turn of the
event loop after the connection is free; there is no timer. The flusher is the only task here and lives while appends
wait. Even if it fails, every waiter gets a result or LogUnavailable within its time limit. While appends come one by
one, each commits in its caller's own task, which spares a task, a future and a timer.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
import structlog

from service import metrics
from service.batches import SharedTimeout
from service.connectivity import Connectivity
from service.database import PLANS_BY_KEY
from service.errors import DatabaseUnavailable, LogUnavailable
from service.log import insert
from service.log.packing import OLDEST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.database import Connection, Database
    from service.log.record import Record

    Reserved = asyncpg.Connection[asyncpg.Record]

# Errors about a row, not about the database: SQLSTATE classes 22, 23 and 54, and asyncpg's errors while encoding.
ROW_ERRORS = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    TypeError,
    ValueError,
    OverflowError,
)
DATABASE_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
# Errors after which the connection may be gone: SQLSTATE classes 08 and 57.
LOST_ERRORS = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError)
MAX_RECORDS_PER_BATCH = 1_000
MAX_INBOX_BYTES = 16 * 2**20
# After an append had to wait for another, the log is not calm for so long.
CALM_SECONDS = 0.1
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.05, 1.0
log = structlog.get_logger("log")


@dataclass(frozen=True, slots=True)
class LogState:
    """The state for readiness: how many records wait to be flushed, why the last flush failed (None if it did not), and
    how many seconds ago that was."""

    waiting: int
    failing: str | None
    age: float


@dataclass(slots=True, eq=False)
class _Group:
    """The records of one append, which are committed together or not at all, and the future of its waiter."""

    records: Sequence[Record]
    size: int
    done: asyncio.Future[None]
    deadline: float

    def resolve(self) -> None:
        # The waiter may have been cancelled meanwhile.
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, cause: str) -> None:
        if not self.done.done():
            self.done.set_exception(LogUnavailable(cause=f"append: {cause}"))


class GroupCommit:
    """`patience` in seconds bounds a flush and a wait. `inbox` is how many records may wait beside those being flushed;
    a larger append is accepted only while nothing else waits."""

    def __init__(self, database: Database, *, patience: float = 5.0, inbox: int = 4_096) -> None:
        self._database = database
        self._patience = patience
        self._timeout = SharedTimeout(patience)
        self._inbox = inbox
        self._open: deque[_Group] = deque()
        self._waiting = 0
        self._bytes = 0
        self._flusher: asyncio.Task[None] | None = None
        # Done when the caller that commits its own record has finished.
        self._alone: asyncio.Future[None] | None = None
        self._last_batch = 1
        # When an append last had to wait, by the event loop's clock.
        self._waited_at = -CALM_SECONDS
        self._connection: Reserved | None = None
        # The dictionary that packs records, read with each new connection.
        self.packing = OLDEST
        self._pause = 0.0
        self._failed: tuple[str, float] | None = None
        self._closed = False

    async def commit(self, records: Sequence[Record], meanwhile: Callable[[], object] | None = None) -> None:
        """Append `records`: durable when this returns. Raises LogUnavailable when they were refused or not written in
        time, and when it is unknown whether they were written. If the waiting task is cancelled, they may still be.

        `meanwhile` is called while Postgres writes, if nothing else waits for the log.
        """
        if not records:
            return
        if self._closed:
            raise LogUnavailable(cause="append: the log is closed")
        connection = self._idle_connection()
        if connection is not None and len(records) == 1 and not records[0].texts:
            try:
                await self._commit_alone(connection, records[0], None, meanwhile)
            except ROW_ERRORS as error:
                raise LogUnavailable(cause=f"append: {type(error).__name__}") from error
        else:
            await self._join_batch(records)

    @property
    def is_calm(self) -> bool:
        """Whether a record would be committed at once, and no other had to wait lately."""
        if self._closed or self._idle_connection() is None:
            return False
        return asyncio.get_running_loop().time() - self._waited_at > CALM_SECONDS

    async def commit_if(
        self, condition: insert.ConditionalInsert, record: Record, meanwhile: Callable[[], object] | None = None
    ) -> bool:
        """As `commit`, for a record without texts, if the condition is true and nothing else waits for the log. False
        if nothing was written, also where Postgres could not find out."""
        connection = self._idle_connection()
        if connection is None or record.texts:
            return False
        try:
            return await self._commit_alone(connection, record, condition, meanwhile)
        except (*ROW_ERRORS, asyncpg.PostgresError):
            return False

    def _idle_connection(self) -> Reserved | None:
        """The connection, if nothing is in flight and the last batch was a single append: among many, the first of
        those that come at once waits for the others instead."""
        is_idle = self._flusher is None and self._alone is None and self._last_batch == 1
        return None if not is_idle or self._connection is None or self._connection.is_closed() else self._connection

    async def _commit_alone(
        self,
        connection: Reserved,
        record: Record,
        condition: insert.ConditionalInsert | None,
        meanwhile: Callable[[], object] | None,
    ) -> bool:
        """Commit one record in the task of its caller, if the condition is true. If that task is cancelled, asyncpg
        cancels the statement. Raises ROW_ERRORS, and with a condition every error of Postgres that is about the
        statement: the condition reads other tables than the log's."""
        loop = asyncio.get_running_loop()
        if meanwhile is not None:
            # It runs in the loop's next turn; the statement is sent at the end of this one.
            loop.call_soon(meanwhile)
        self._alone = loop.create_future()
        started = time.perf_counter()
        try:
            done = await insert.commit_record(connection, record, self.packing, condition, timeout=self._patience)
        except ROW_ERRORS:
            raise
        except Exception as error:
            is_lost = isinstance(error, LOST_ERRORS) or connection.is_closed()
            if condition is not None and isinstance(error, asyncpg.PostgresError) and not is_lost:
                raise
            cause = _name_cause(error)
            self._note_failure(cause)
            raise LogUnavailable(cause=f"append: {cause}") from error
        else:
            if done:
                self._note_success(1, time.perf_counter() - started)
            return done
        finally:
            self._alone.set_result(None)
            self._alone = None
            if self._open:
                self._start_flusher()

    async def _join_batch(self, records: Sequence[Record]) -> None:
        size = sum(len(record.body) for record in records)
        if self._open and (self._waiting + len(records) > self._inbox or self._bytes + size > MAX_INBOX_BYTES):
            raise LogUnavailable(cause="append: the inbox is full")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        deadline = self._timeout.bound(done)
        # Now: `bound` added the patience.
        self._waited_at = deadline - self._patience
        self._open.append(_Group(records, size, done, deadline))
        self._waiting += len(records)
        self._bytes += size
        if self._flusher is None and self._alone is None:
            self._start_flusher()
        try:
            await done
        except TimeoutError as error:
            raise LogUnavailable(cause=f"append: not written within {self._patience:g} s") from error

    def state(self) -> LogState:
        """The state as known in this process, without a round trip."""
        reason, since = self._failed or (None, 0.0)
        return LogState(self._waiting, reason, asyncio.get_running_loop().time() - since if reason else 0.0)

    async def close(self) -> None:
        """Refuse new appends, flush the waiting ones within `patience`, and give the connection back."""
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                while running := self._flusher or self._alone:
                    await asyncio.wait({running})
        if self._flusher is not None:
            self._flusher.cancel()
            await asyncio.wait({self._flusher})
        if self._connection is not None:
            with suppress(asyncpg.InterfaceError, asyncpg.PostgresError, OSError):
                await self._connection.close(timeout=self._patience)
        self._disconnect()

    def _start_flusher(self) -> None:
        # The task starts in the loop's next turn, so all appends of this turn join its first batch.
        self._flusher = asyncio.get_running_loop().create_task(self._flush_until_empty())

    async def _flush_until_empty(self) -> None:
        try:
            while self._open:
                # The appends of one more turn join: at 4 to 64 connections that is 3 to 11 % more reads.
                await asyncio.sleep(0)
                batch = self._take_batch()
                if batch and (cause := await self._flush(batch)):
                    for group in batch:
                        group.fail(cause)
                    self._note_failure(cause)
                    await asyncio.sleep(self._pause)
        finally:
            # Groups still wait here only if the task was cancelled or failed: release them.
            for group in (*self._open,):
                group.fail("the log is closing")
            self._open.clear()
            self._waiting = self._bytes = 0
            self._flusher = None

    def _take_batch(self) -> list[_Group]:
        """The next batch: whole groups in order of arrival; groups past their deadline are dropped."""
        batch: list[_Group] = []
        count = 0
        now = asyncio.get_running_loop().time()
        while self._open and (not batch or count + len(self._open[0].records) <= MAX_RECORDS_PER_BATCH):
            group = self._open.popleft()
            self._waiting -= len(group.records)
            self._bytes -= group.size
            if group.deadline <= now:
                group.fail("waited too long")
            else:
                batch.append(group)
                count += len(group.records)
        return batch

    async def _flush(self, batch: Sequence[_Group]) -> str | None:
        """Commit the batch. Returns None, or the cause of a failure, after which it is unknown whether the batch was
        committed."""
        self._last_batch = len(batch)
        # The first has waited longest: one observation a commit, as the others would cost every request one.
        oldest = batch[0].deadline - self._patience
        metrics.COMMIT_WAIT.observe((), asyncio.get_running_loop().time() - oldest)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._patience):
                if self._connection is None or self._connection.is_closed():
                    self._disconnect()
                    self._connection = await self._database.reserve(PLANS_BY_KEY)
                    self.packing = await insert.load_packing(self._connection)
                keeps_plans = self._database.way is Connectivity.DIRECT
                await _commit(self._connection, batch, self.packing, keeps_plans=keeps_plans)
        except asyncio.CancelledError:
            for group in batch:
                group.fail("the log is closing")
            raise
        except Exception as error:  # noqa: BLE001 - its waiters are told
            return _name_cause(error)
        self._note_success(sum(len(group.records) for group in batch), time.perf_counter() - started)
        return None

    def _note_success(self, records: int, seconds: float) -> None:
        self._pause, self._failed = 0.0, None
        metrics.COMMIT_RECORDS.observe((), records)
        metrics.COMMIT_SECONDS.observe((), seconds)

    def _note_failure(self, cause: str) -> None:
        metrics.COMMITS_FAILED.add()
        self._failed = (cause, asyncio.get_running_loop().time())
        self._disconnect()
        self._pause = min(max(self._pause * 2, MIN_PAUSE_SECONDS), MAX_PAUSE_SECONDS)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._database.give_back(connection)


def _name_cause(error: Exception) -> str:
    """Why a flush failed, for the operator. An error that is not about the database is logged."""
    if isinstance(error, DatabaseUnavailable):
        return error.cause or error.slug
    if not isinstance(error, DATABASE_ERRORS):
        log.error("flush failed", exc_info=error)
    return type(error).__name__


async def _commit(connection: Connection, groups: Sequence[_Group], packing: int, *, keeps_plans: bool) -> None:
    """Commit all groups in one statement. If a row is refused, commit each half, down to the group at fault."""
    records = [record for group in groups for record in group.records]
    try:
        await insert.commit_records(connection, records, packing, keeps_plans=keeps_plans)
    except ROW_ERRORS as error:
        if len(groups) == 1:
            groups[0].fail(type(error).__name__)
            return
        half = len(groups) // 2
        await _commit(connection, groups[:half], packing, keeps_plans=keeps_plans)
        await _commit(connection, groups[half:], packing, keeps_plans=keeps_plans)
    else:
        for group in groups:
            group.resolve()
