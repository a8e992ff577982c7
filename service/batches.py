"""Lets questions that come while others are being answered share the next round trip.

Owns, for each Batches, the questions that wait. One batch is answered at a time. While none is, a question is answered
at once in the task of its asker; if the last batch had several, it first waits for those that come in the same turn of
the loop. When a batch ends, all that wait are the next. So a question joins only a batch that starts after it came.
Nothing is durable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Q = TypeVar("Q")
R = TypeVar("R")


class Batches(Generic[Q, R]):
    """`answer` returns a result or an error for each question, in their order; a batch has at most `size` questions.
    `timeout` in seconds bounds the wait for a batch to be answered."""

    def __init__(
        self,
        answer: Callable[[Sequence[Q]], Awaitable[Sequence[R | Exception]]],
        *,
        size: int,
        timeout: float | None = None,
    ) -> None:
        self._answer = answer
        self._size = size
        self._timeout = None if timeout is None else SharedTimeout(timeout)
        self._is_busy = False
        # Among many, the first of those that come at once waits for the others.
        self._last_size = 1
        self._waiting: deque[tuple[Q, asyncio.Future[R]]] = deque()
        self._serving: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many questions wait for a batch."""
        return len(self._waiting)

    async def ask(self, question: Q) -> R:
        """The result for one question. Raises its error, or TimeoutError."""
        if self._is_busy or self._last_size > 1:
            answered: asyncio.Future[R] = asyncio.get_running_loop().create_future()
            self._waiting.append((question, answered))
            if not self._is_busy:
                # The task starts in the loop's next turn, so all questions of this turn join its first batch.
                self._start_serving()
            return await (answered if self._timeout is None else self._timeout.wait(answered))
        self._is_busy = True
        try:
            [result] = await self._answer([question])
        finally:
            self._is_busy = False
            if self._waiting:
                self._start_serving()
        if isinstance(result, Exception):
            raise result
        return result

    def fail_waiting(self, error: Exception) -> None:
        """Raise the error for all questions that wait."""
        while self._waiting:
            _settle(self._waiting.popleft()[1], error)

    def _start_serving(self) -> None:
        self._is_busy = True
        self._serving = asyncio.get_running_loop().create_task(self._serve())

    async def _serve(self) -> None:
        try:
            while batch := self._take_batch():
                self._last_size = len(batch)
                results: Sequence[R | Exception]
                try:
                    results = await self._answer([question for question, _ in batch])
                except Exception as error:  # noqa: BLE001 — those who ask are told
                    results = [error] * len(batch)
                for result, (_, answered) in zip(results, batch, strict=True):
                    _settle(answered, result)
        finally:
            self._is_busy = False

    def _take_batch(self) -> list[tuple[Q, asyncio.Future[R]]]:
        """The next questions, without those of requests that have ended."""
        batch: list[tuple[Q, asyncio.Future[R]]] = []
        while self._waiting and len(batch) < self._size:
            waiting = self._waiting.popleft()
            if not waiting[1].done():
                batch.append(waiting)
        return batch


class SharedTimeout:
    """Bounds many waits by a few timers: one for each costs 5 us. A wait ends with TimeoutError after `seconds`, or up
    to a tenth of them earlier."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # The futures whose waits end together, and until when others join them.
        self._rounds: deque[tuple[float, set[asyncio.Future[Any]]]] = deque()

    async def wait(self, future: asyncio.Future[R]) -> R:
        """The result of the future. Raises TimeoutError."""
        waiting = self._find_round()
        waiting.add(future)
        try:
            return await future
        finally:
            waiting.discard(future)

    def _find_round(self) -> set[asyncio.Future[Any]]:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._rounds or now >= self._rounds[-1][0]:
            self._rounds.append((now + self._seconds / 10, set()))
            loop.call_at(now + self._seconds, self._end_round)
        return self._rounds[-1][1]

    def _end_round(self) -> None:
        _, waiting = self._rounds.popleft()
        for future in waiting:
            if not future.done():
                future.set_exception(TimeoutError())


def _settle(answered: asyncio.Future[R], result: R | Exception) -> None:
    # The request may have ended meanwhile.
    if answered.done():
        return
    if isinstance(result, Exception):
        answered.set_exception(result)
    else:
        answered.set_result(result)
