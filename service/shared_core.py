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

# How long the threads stay on a core at least, also when they moved there in vain.
STAY_SECONDS: Final = 1.0
MAX_STAY_SECONDS: Final = 64.0
# They move if the event loop waited for the core for so many nanoseconds, and for so large a part of the time that it
# ran. Two workers on one core wait for each other as long as they run; alone, a busy one waited for a third of it.
MIN_WAIT: Final = 200_000_000
MIN_WAIT_SHARE: Final = 0.5
# The cores of this process when it started.
CORES: Final = frozenset(os.sched_getaffinity(0)) if sys.platform == "linux" else frozenset[int]()


class SharedCore:
    """The core of the worker of this number, of so many `workers`. `start` keeps the thread of the event loop and those
    that `add_thread` names there, and with them the threads that they start later."""

    def __init__(self, number: int, workers: int) -> None:
        # If every core has a worker, only the system can make room for what else runs.
        self._is_kept = workers < len(CORES)
        self.core = sorted(CORES)[number % len(CORES)] if CORES else -1
        self._early_threads: list[int] = []
        self._stay = STAY_SECONDS

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin, in the thread of the event loop. Does nothing unless there are more cores than workers, and an account
        of waiting."""
        global _current  # noqa: PLW0603 - a process is one worker
        times = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._is_kept = self._is_kept and times.exists()
        if self._is_kept:
            before = read_times(times)
            _current = self
            for thread in (threading.get_native_id(), *self._early_threads):
                _allow(thread, {self.core})
            loop.call_later(self._stay, self._check, loop, times, before)

    def add_thread(self) -> None:
        """The calling thread runs Python code, too. It moves to the core after `start`."""
        if _current is self:
            _allow(0, {self.core})
        elif self._is_kept:
            self._early_threads.append(threading.get_native_id())

    def _check(self, loop: asyncio.AbstractEventLoop, times: Path, before: tuple[int, int]) -> None:
        global _current
        if os.sched_getaffinity(0) not in ({self.core}, CORES):
            # An operator chose other cores meanwhile (`taskset`): from now on, that is respected.
            self._move(os.sched_getaffinity(0))
            _current, self._is_kept = None, False
            return
        now = before
        # Out of file descriptors, say.
        with suppress(OSError):
            now = read_times(times)
        if is_crowded(now[0] - before[0], now[1] - before[1]):
            core = random.choice(sorted(CORES - {self.core}))  # noqa: S311 - no secret
            self._move({core})
            self.core = core
            # Where moving does not help, as under a quota of processor time, it is done ever more rarely.
            self._stay = min(2 * self._stay, MAX_STAY_SECONDS)
        else:
            self._stay = STAY_SECONDS
        loop.call_later(self._stay, self._check, loop, times, now)

    def _move(self, cores: Collection[int]) -> None:
        """Move all threads that are on the core, also those that were started there."""
        for folder in Path("/proc/self/task").iterdir():
            thread = int(folder.name)
            with suppress(OSError):
                if os.sched_getaffinity(thread) == {self.core}:
                    os.sched_setaffinity(thread, cores)


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
    if _current is None:
        yield
        return
    _allow(0, CORES)
    try:
        yield
    finally:
        _allow(0, _own_cores())


def _own_cores() -> Collection[int]:
    """The cores on which the event loop may run."""
    return CORES if _current is None else {_current.core}


def _allow(thread: int, cores: Collection[int]) -> None:
    """Let a thread, 0 for the calling one, run on these cores only. Nothing changes if it has ended, or if the cores
    were taken from this process."""
    with suppress(OSError):
        os.sched_setaffinity(thread, cores)


def read_times(times: Path) -> tuple[int, int]:
    """For how many nanoseconds a thread ran and waited for its core (Linux: Documentation/scheduler/sched-stats)."""
    ran, waited, _ = times.read_text().split()
    return int(ran), int(waited)


def is_crowded(ran: int, waited: int) -> bool:
    """Whether a thread that ran and waited for so many nanoseconds should move to another core."""
    return waited > MIN_WAIT and waited > MIN_WAIT_SHARE * ran
