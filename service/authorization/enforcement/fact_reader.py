"""Reads the facts of rows for many requests at once: those that wait at the same time share one statement.

Owns CONNECTIONS reserved connections, whose statements keep their plans, and the requests that wait for one. An idle
connection serves a request at once; a busy one takes all that wait when it is free. A request joins only a statement
that starts after it came, so its facts are read after the request began. Nothing is durable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

import asyncpg

from service.connectivity import TRANSIENT_ERRORS
from service.errors import DatabaseUnavailable, Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.database import Database

    Question = tuple[object, ...]
    Waiting = tuple[Question, asyncio.Future[asyncpg.Record]]

CONNECTIONS: Final = 2
MAX_QUESTIONS_PER_STATEMENT: Final = 32
MAX_WAITING: Final = 1_000
# Each table is read by its key, so planning anew, sequential scans and compiled plans are never right, whatever the
# statistics say.
SETTINGS: Final = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "jit": "off"}

# Errors about a question, not about the database.
STATEMENT_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError, TypeError, OverflowError)


class FactReader:
    """`statement` takes an array of each parameter and returns a row for each of their places, with its `place`.
    `timeout` in seconds bounds a wait. `lost` is called when a connection failed."""

    def __init__(self, database: Database, statement: str, *, timeout: float, lost: Callable[[], None]) -> None:
        self._database = database
        self._statement = statement
        self._timeout = timeout
        self._lost = lost
        self._idle = [_Connection() for _ in range(CONNECTIONS)]
        self._waiting: deque[Waiting] = deque()
        self._serving: set[asyncio.Task[None]] = set()

    async def read(self, question: Question) -> asyncpg.Record:
        """The row for one question. Raises Overloaded when too many wait, and DatabaseUnavailable."""
        if self._idle:
            connection = self._idle.pop()
            try:
                [row] = await self._run(connection, [question])
            finally:
                self._release(connection)
            return row
        if len(self._waiting) >= MAX_WAITING:
            raise Overloaded(cause="too many requests wait for their facts")
        answered: asyncio.Future[asyncpg.Record] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answered))
        try:
            async with asyncio.timeout(self._timeout):
                return await answered
        except TimeoutError as error:
            raise DatabaseUnavailable(cause="facts were not read in time") from error

    def _release(self, connection: _Connection) -> None:
        """Let the connection serve those who wait, or become idle."""
        if not self._waiting:
            self._idle.append(connection)
            return
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, connection: _Connection) -> None:
        try:
            while self._waiting:
                count = min(len(self._waiting), MAX_QUESTIONS_PER_STATEMENT)
                await self._answer(connection, [self._waiting.popleft() for _ in range(count)])
        finally:
            self._idle.append(connection)

    async def _answer(self, connection: _Connection, batch: Sequence[Waiting]) -> None:
        results: Sequence[asyncpg.Record | Exception]
        try:
            results = await self._run(connection, [question for question, _ in batch])
        except DatabaseUnavailable as error:
            results = [DatabaseUnavailable(cause=error.cause) for _ in batch]
        except STATEMENT_ERRORS as error:
            if len(batch) > 1:
                # The question at fault fails alone.
                for waiting in batch:
                    await self._answer(connection, [waiting])
                return
            results = [error]
        for result, (_, answered) in zip(results, batch, strict=True):
            # The request may have ended meanwhile.
            if answered.done():
                continue
            if isinstance(result, Exception):
                answered.set_exception(result)
            else:
                answered.set_result(result)

    async def _run(self, connection: _Connection, questions: Sequence[Question]) -> list[asyncpg.Record]:
        """The rows in the order of the questions."""
        try:
            if connection.open is None or connection.open.is_closed():
                self._disconnect(connection)
                connection.open = await self._database.reserve(SETTINGS)
            rows = await connection.open.fetch(self._statement, *zip(*questions, strict=True))
        except BaseException as error:
            self._disconnect(connection)
            if isinstance(error, TRANSIENT_ERRORS):
                raise DatabaseUnavailable(cause=f"facts: {type(error).__name__}") from error
            raise
        return sorted(rows, key=lambda row: row["place"]) if len(rows) > 1 else rows

    def _disconnect(self, connection: _Connection) -> None:
        if connection.open is not None:
            self._database.give_back(connection.open)
            connection.open = None
            self._lost()


class _Connection:
    """A place for a reserved connection, which is opened when it is needed."""

    __slots__ = ("open",)

    def __init__(self) -> None:
        self.open: asyncpg.Connection[asyncpg.Record] | None = None
