"""Keeps the threads of a worker that run Python code on one processor core, and lets others finish. Only on Linux.

Python runs one of them at a time. To pass its lock to a thread on another core, that core must first wake up, which
costs a busy worker a tenth of its requests and more (docs/decisions/0067). Where others keep the core busy, the threads
move to another, unless every core has a worker (docs/decisions/0078). Owns the affinity and the scheduling of these
threads; nothing is durable.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection, Iterator

# How long the threads stay on a core at least, also when they moved there in vain.
STAY_SECONDS: Final = 1.0
MAX_STAY_SECONDS: Final = 64.0
# They move if the event loop waited for the core for so many nanoseconds of each second, and for so large a part of the
# time that it ran. Two workers on one core wait for each other as long as they run; alone, a busy one waited a third of
# it.
MIN_WAIT: Final = 200_000_000
MIN_WAIT_SHARE: Final = 0.5
# The cores of this process when it started.
CORES: Final = frozenset(os.sched_getaffinity(0)) if sys.platform == "linux" else frozenset[int]()


class SharedCore:
    """The core of the worker of this number, of so many `workers`. `start` keeps the thread of the event loop and those
    that `add_thread` names there, and with them the threads that they start later."""

    def __init__(self, number: int, workers: int) -> None:
        # Of more workers, two would have the same core.
        self._is_kept = workers <= len(CORES)
        # If every core has a worker, no other core is better.
        self._may_move = workers < len(CORES)
        self.core = sorted(CORES)[number % len(CORES)] if CORES else -1
        # In how many blocks of `every_core` the event loop is.
        self.lent = 0
        self._early_threads: set[int] = set()
        self._stay = STAY_SECONDS

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin, in the thread of the event loop. Does nothing if there are more workers than cores, or no account
        of waiting."""
        global _current  # noqa: PLW0603 - a process is one worker
        times = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._is_kept = self._is_kept and times.exists()
        if self._is_kept:
            before = read_times(times)
            _current = self
            for thread in (threading.get_native_id(), *self._early_threads):
                _allow(thread, {self.core})
            loop.call_later(self._stay, self._check, loop, times, before, loop.time())

    def add_thread(self) -> None:
        """The calling thread runs Python code, too. It moves to the core after `start`."""
        thread = threading.get_native_id()
        # First noted, then looked: `start` may come in between.
        if self._is_kept:
            self._early_threads.add(thread)
        if _current is self:
            self._early_threads.discard(thread)
            _allow(thread, {self.core})

    def _check(self, loop: asyncio.AbstractEventLoop, times: Path, before: tuple[int, int], since: float) -> None:
        """`before`: what was read at the time `since`."""
        if not self.lent and (chosen := os.sched_getaffinity(0)) != {self.core}:
            # An operator chose other cores meanwhile (`taskset`): from now on, that is respected.
            self._end(chosen)
            return
        # Out of file descriptors, the next check reads what went on since then.
        with suppress(OSError):
            (ran, waited), now = read_times(times), loop.time()
            crowded = self._may_move and is_crowded(ran - before[0], waited - before[1], now - since)
            before, since = (ran, waited), now
            # Where moving does not help, as under a quota of processor time, it is done ever more rarely.
            self._stay = min(2 * self._stay, MAX_STAY_SECONDS) if crowded else STAY_SECONDS
            if crowded:
                self._move(random.choice(sorted(CORES - {self.core})))  # noqa: S311 - no secret
        loop.call_later(self._stay, self._check, loop, times, before, since)

    def _move(self, core: int) -> None:
        """Move all threads that are on the core, also those that were started there. Raises OSError, with none of them
        moved, if the other core was taken from this process."""
        others = _threads()
        os.sched_setaffinity(0, {core})
        for thread in others:
            _follow(thread, self.core, {core})
        self.core = core

    def _end(self, chosen: Collection[int]) -> None:
        """Let all threads that are on the core run on the chosen cores."""
        global _current
        _current, self._is_kept = None, False
        with suppress(OSError):
            for thread in _threads():
                _follow(thread, self.core, chosen)


# The one of this process while it keeps threads on its core.
_current: SharedCore | None = None


def never_interrupt() -> None:
    """From now on, threads of this process that wake up let the running ones finish instead of interrupting them
    (SCHED_BATCH, sched(7); docs/decisions/0068). The threads and processes that it starts inherit this."""
    if sys.platform == "linux":
        # Some systems do not have it (musl), or do not allow it.
        with suppress(OSError):
            # Another schedule than the usual one was chosen by the operator.
            if os.sched_getscheduler(0) == os.SCHED_OTHER:
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


@contextmanager
def every_core() -> Iterator[None]:
    """A process that the event loop starts in the block may run on every core."""
    if (kept := _current) is None:
        yield
        return
    kept.lent += 1
    _allow(0, CORES)
    try:
        yield
    finally:
        kept.lent -= 1
        if _current is kept:
            _allow(0, {kept.core})


def _threads() -> list[int]:
    """Those of this process. Raises OSError."""
    return [int(folder.name) for folder in Path("/proc/self/task").iterdir()]


def _follow(thread: int, core: int, cores: Collection[int]) -> None:
    """Let a thread that may only run on this core run on these instead. It may have ended."""
    with suppress(OSError):
        if os.sched_getaffinity(thread) == {core}:
            os.sched_setaffinity(thread, cores)


def _allow(thread: int, cores: Collection[int]) -> None:
    """Let a thread, 0 for the calling one, run on these cores only. Nothing changes if it has ended, or if the cores
    were taken from this process."""
    with suppress(OSError):
        os.sched_setaffinity(thread, cores)


def read_times(times: Path) -> tuple[int, int]:
    """For how many nanoseconds a thread ran and waited for its core (Linux: Documentation/scheduler/sched-stats)."""
    ran, waited, _ = times.read_text().split()
    return int(ran), int(waited)


def is_crowded(ran: int, waited: int, seconds: float) -> bool:
    """Whether a thread that ran and waited for so many nanoseconds, of so many seconds, should move to another core."""
    return waited > MIN_WAIT * seconds and waited > MIN_WAIT_SHARE * ran
