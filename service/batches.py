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
            if self._timeout is not None:
                self._timeout.bound(answered)
            return await answered
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
    """Bounds many waits by one timer: a timer for each costs 5 us."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # The waits by their ends, and the timer at the first of these.
        self._waits: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def bound(self, future: asyncio.Future[Any]) -> float:
        """Let the future fail with TimeoutError unless it is done in time. Returns its end, by the loop's clock."""
        waits, loop = self._waits, future.get_loop()
        while waits and waits[0][1].done():
            waits.popleft()
        end = loop.time() + self._seconds
        waits.append((end, future))
        if self._timer is None:
            self._timer = loop.call_at(waits[0][0], self._end_waits)
        return end

    def _end_waits(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._waits and (self._waits[0][0] <= now or self._waits[0][1].done()):
            _, future = self._waits.popleft()
            if not future.done():
                future.set_exception(TimeoutError())
        self._timer = loop.call_at(self._waits[0][0], self._end_waits) if self._waits else None


def _settle(answered: asyncio.Future[R], result: R | Exception) -> None:
    # The request may have ended meanwhile.
    if answered.done():
        return
    if isinstance(result, Exception):
        answered.set_exception(result)
    else:
        answered.set_result(result)
