"""Keeps the threads of a worker that run Python code on one processor core, and lets others finish. Only on Linux.

Python runs one of them at a time. To pass its lock to a thread on another core, that core must first wake up, which
costs a busy worker a tenth of its requests and more (docs/decisions/0067). Where others keep the core busy, the threads
move to another. Owns the affinity and the scheduling of these threads; nothing is durable.
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

# How long the threads stay on a core at least.
STAY_SECONDS: Final = 1.0
# They move if the event loop waited for the core for so many nanoseconds, and for so large a part of the time that it
# ran. Two workers on one core wait for each other as long as they run; alone, a busy one waited for a third of it.
MIN_WAIT: Final = 200_000_000
MIN_WAIT_SHARE: Final = 0.5
# The cores of this process when it started.
CORES: Final = frozenset(os.sched_getaffinity(0)) if sys.platform == "linux" else frozenset[int]()


class SharedCore:
    """The core of the worker of this number, of so many `workers`. `start` keeps the thread of the event loop and those
    that `add_thread` names there."""

    def __init__(self, number: int, workers: int) -> None:
        # If every core has a worker, only the system can make room for what else runs.
        self._is_kept = workers < len(CORES)
        self.core = sorted(CORES)[number % len(CORES)] if CORES else -1
        self._threads: set[int] = set()
        self._has_started = False

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin, in the thread of the event loop. Does nothing unless there are more cores than workers, and an account
        of waiting."""
        times = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        if self._is_kept and times.exists():
            self._has_started = True
            self.add_thread()
            loop.call_later(STAY_SECONDS, self._check, loop, times, *read_times(times))

    def add_thread(self) -> None:
        """The calling thread runs Python code, too. It moves to the core after `start`."""
        self._threads.add(threading.get_native_id())
        if self._has_started:
            self._gather()

    def _check(self, loop: asyncio.AbstractEventLoop, times: Path, ran_before: int, waited_before: int) -> None:
        ran, waited = read_times(times)
        if is_crowded(ran - ran_before, waited - waited_before):
            self.core = random.choice(sorted(CORES - {self.core}))  # noqa: S311 - no secret
        # Also where they were: a thread that was in `every_core` during a move has come back to the old core.
        self._gather()
        loop.call_later(STAY_SECONDS, self._check, loop, times, ran, waited)

    def _gather(self) -> None:
        for thread in (*self._threads,):
            if not _allow(thread, {self.core}):
                # It has ended, or the core was taken from this process.
                self._threads.discard(thread)


def never_interrupt() -> None:
    """From now on, threads of this process that wake up let the running ones finish instead of interrupting them
    (SCHED_BATCH, sched(7); docs/decisions/0068). The threads and processes that it starts inherit this."""
    # Another schedule than the usual one was chosen by the operator.
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER:
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


@contextmanager
def every_core() -> Iterator[None]:
    """A process that the calling thread starts in the block may run on every core."""
    before = os.sched_getaffinity(0) if CORES else frozenset[int]()
    _allow(0, CORES)
    try:
        yield
    finally:
        _allow(0, before)


def _allow(thread: int, cores: Collection[int]) -> bool:
    """Let a thread, 0 for the calling one, run on these cores only. False if that is not possible."""
    if cores:
        with suppress(OSError):
            os.sched_setaffinity(thread, cores)
            return True
    return False


def read_times(times: Path) -> tuple[int, int]:
    """For how many nanoseconds a thread ran and waited for its core (Linux: Documentation/scheduler/sched-stats)."""
    ran, waited, _ = times.read_text().split()
    return int(ran), int(waited)


def is_crowded(ran: int, waited: int) -> bool:
    """Whether a thread that ran and waited for so many nanoseconds should move to another core."""
    return waited > MIN_WAIT and waited > MIN_WAIT_SHARE * ran
