"""Long work on the event loop, done in slices, so that every other request goes on meanwhile.

Time bounds a slice, not bytes or rows: a row may cost a microsecond or a millisecond. All long work of a process shares
the same slices, so four uploads at once delay other requests no more than one does. Owns, for each event loop, the
slice under way and the work that waits for the next one; nothing is durable.
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
# How long the loop belongs to everything else after a slice. A request passes through the loop many times, so to let
# only one turn of it pass would make the request wait for many slices.
PAUSE_SECONDS: Final = 0.001

T = TypeVar("T")


class Slices:
    """The slices of one event loop, which go to the work that asked first."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._ends: float | None = None

    def are_over(self) -> bool:
        """Whether long work has to rest before its next step. The first call begins a slice."""
        if self._ends is None:
            self._begin()
            return False
        return time.perf_counter() >= self._ends

    async def rest(self) -> None:
        """Let everything else go on until the next slice, if this one is over."""
        if self.are_over():
            turn = self._loop.create_future()
            self._waiting.append(turn)
            await turn

    def _begin(self) -> None:
        self._ends = time.perf_counter() + MAX_SLICE_SECONDS
        self._loop.call_later(MAX_SLICE_SECONDS + PAUSE_SECONDS, self._end)

    def _end(self) -> None:
        """Give the next slice to the work that waits longest. Without any, the next call of `are_over` begins one."""
        self._ends = None
        while self._waiting:
            turn = self._waiting.popleft()
            # Work that was cancelled meanwhile needs no slice.
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


async def paced(steps: Iterable[T]) -> AsyncIterator[T]:
    """The same items. Before each, the work on them rests if its slice is over."""
    shared = slices()
    remaining = iter(steps)
    while True:
        if shared.are_over():
            await shared.rest()
        try:
            step = next(remaining)
        except StopIteration:
            return
        yield step


async def finish(steps: Iterable[object]) -> None:
    """Do every step of some work, resting between them as in `paced`."""
    async for _ in paced(steps):
        pass
