"""Runs long work on the event loop in time slices, so that other requests go on meanwhile.

A slice is bounded by time, since a row may cost a microsecond or a millisecond. All long work of a process shares the
slices, so four uploads delay other requests no more than one. Owns, for each event loop, the current slice and the work
that waits for the next; nothing is durable.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

MAX_SLICE_SECONDS: Final = 0.002
# Time for everything else after a slice. A request takes many turns of the loop, so a pause of one turn would make it
# wait for many slices.
PAUSE_SECONDS: Final = 0.001
FREE_SECONDS: Final = 0.001

T = TypeVar("T")


class Slices:
    """The slices of one event loop, first come, first served."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._ends: float | None = None

    def are_over(self) -> bool:
        """Whether long work has to pause before its next step. The first call begins a slice."""
        if self._ends is None:
            self._begin()
            return False
        return time.perf_counter() >= self._ends

    async def rest(self) -> None:
        """If the slice is over, pause until the next one."""
        if self.are_over():
            turn = self._loop.create_future()
            self._waiting.append(turn)
            await turn

    def _begin(self) -> None:
        self._ends = time.perf_counter() + MAX_SLICE_SECONDS
        self._loop.call_later(MAX_SLICE_SECONDS + PAUSE_SECONDS, self._end)

    def _end(self) -> None:
        """Give the next slice to the work that has waited longest. If none waits, the next call of `are_over` begins a
        slice."""
        self._ends = None
        while self._waiting:
            turn = self._waiting.popleft()
            # Skip work that was cancelled.
            if not turn.done():
                self._begin()
                turn.set_result(None)
                return


_SLICES: WeakKeyDictionary[asyncio.AbstractEventLoop, Slices] = WeakKeyDictionary()


def slices() -> Slices:
    """The slices of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _SLICES.get(loop)
    if found is None:
        found = _SLICES[loop] = Slices(loop)
    return found


def pace(steps: Iterable[T]) -> AsyncIterator[T]:
    """Yield the same items; before each, pause if the slice is over."""
    return _pace(steps, 0.0)


def pace_page(steps: Iterable[T]) -> AsyncIterator[T]:
    """As `pace`, for work that a request does once and that is mostly short: its first FREE_SECONDS need no slice.
    Waiting for a slice would take longer than a page, and many pages at once would wait for one another."""
    return _pace(steps, FREE_SECONDS)


async def _pace(steps: Iterable[T], free: float) -> AsyncIterator[T]:
    shared: Slices | None = None
    remaining = iter(steps)
    paced_from = time.perf_counter() + free
    while True:
        if time.perf_counter() >= paced_from:
            shared = shared or slices()
            if shared.are_over():
                await shared.rest()
        try:
            step = next(remaining)
        except StopIteration:
            return
        yield step


async def finish(steps: Iterable[object]) -> None:
    """Run every step, with pauses as in `pace`."""
    async for _ in pace(steps):
        pass
