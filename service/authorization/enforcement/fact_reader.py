"""Reads the facts of rows for many requests at once: those that wait at the same time share one statement.

Owns a reserved connection, whose statement keeps its plan. A request joins only a statement that starts after it came,
so its facts are read after the request began. A second connection only made the batches smaller: 420 us of CPU for a
read instead of 535, at 32 connections. A row that is read alone comes with a digest, by which it can be expected again
(docs/decisions/0077). Nothing is durable.
"""

from __future__ import annotations

import time
from datetime import timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Final

import asyncpg

from service.batches import Batches
from service.database import PLANS_BY_KEY, ReservedConnection
from service.errors import DatabaseUnavailable, Overloaded
from service.values import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from service.authorization.enforcement.fact_statements import FactStatements
    from service.database import Database

MAX_QUESTIONS_PER_STATEMENT: Final = 32
MAX_WAITING: Final = 1_000
# For so long after the database told the time, its time is estimated. Clocks of two machines drift apart by less than a
# millisecond meanwhile.
MAX_ESTIMATE_SECONDS: Final = 10.0
# An estimate is earlier than the next statement by about a round trip. From so long a trip on, there is none.
MAX_TRIP_SECONDS: Final = 0.004
# Errors about a question, not about the database.
STATEMENT_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError, TypeError, OverflowError)


class Question(Struct, frozen=True):
    """The parameters of a question, and whether the short statements suffice for it."""

    parameters: tuple[object, ...]
    is_short: bool


class FactReader:
    """Answers by the `short` statements if they suffice for all questions that wait, else by the `whole` ones. A short
    question that is alone is answered by `with_digest`, if given. `timeout` in seconds bounds a wait. `lost` is called
    when a connection failed."""

    def __init__(
        self,
        database: Database,
        whole: FactStatements,
        short: FactStatements,
        with_digest: str | None = None,
        *,
        timeout: float,
        lost: Callable[[], None],
    ) -> None:
        self._whole, self._short, self._with_digest = whole, short, with_digest
        # A time that the database told, and when its answer came, by `perf_counter`. None if the answer came late.
        self._clock: tuple[datetime, float] | None = None
        self._connection = ReservedConnection(database, PLANS_BY_KEY, lost)
        self._batches: Batches[Question, asyncpg.Record] = Batches(
            self._answer, size=MAX_QUESTIONS_PER_STATEMENT, timeout=timeout
        )

    async def read(self, question: Question) -> asyncpg.Record:
        """The row for one question. Raises Overloaded when too many wait, and DatabaseUnavailable."""
        if self._batches.waiting >= MAX_WAITING:
            raise Overloaded(cause="too many requests wait for their facts")
        try:
            return await self._batches.ask(question)
        except TimeoutError as error:
            raise DatabaseUnavailable(cause="facts were not read in time") from error

    def estimate_time(self) -> datetime | None:
        """The database's time now, or a little earlier; None if it told its time too long ago, or is too far away."""
        if self._clock is None:
            return None
        told, came = self._clock
        passed = time.perf_counter() - came
        return told + timedelta(seconds=passed) if passed < MAX_ESTIMATE_SECONDS else None

    def close(self) -> None:
        """Give the connection back. Requests that read after this take one for their statement alone."""
        self._connection.close()

    async def _answer(self, questions: Sequence[Question]) -> Sequence[asyncpg.Record | Exception]:
        try:
            return await self._run(questions)
        except DatabaseUnavailable as error:
            return [DatabaseUnavailable(cause=error.cause) for _ in questions]
        except STATEMENT_ERRORS as error:
            if len(questions) == 1:
                return [error]
            # The question at fault fails alone.
            return [result for question in questions for result in await self._answer([question])]

    async def _run(self, questions: Sequence[Question]) -> list[asyncpg.Record]:
        """The rows in the order of the questions."""
        statements = self._short if all([question.is_short for question in questions]) else self._whole  # noqa: C419 - half the time of a generator
        parameters = [question.parameters[: statements.parameters] for question in questions]
        if len(questions) == 1:
            if statements is not self._short or self._with_digest is None:
                return await self._connection.fetch(statements.alone, *parameters[0])
            sent = time.perf_counter()
            rows = await self._connection.fetch(self._with_digest, *parameters[0])
            came = time.perf_counter()
            self._clock = (rows[0]["lookup_at"], came) if came - sent < MAX_TRIP_SECONDS else None
            return rows
        rows = await self._connection.fetch(statements.of_many, *zip(*parameters, strict=True))
        return sorted(rows, key=itemgetter("place"))
