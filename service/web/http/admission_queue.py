"""Which requests are worked on, which wait, and which are refused because they would wait too long, in one process.

At most `max_working` requests are worked on. The others wait in one queue for each address, and addresses take turns,
so that a flood from one address does not delay the others. The expected wait is the number of turns ahead times the
recent average time of a turn (Little's law). A standing queue adds delay without throughput, so after a refusal the
allowed wait is shorter, until nothing was refused for a while (as in CoDel, RFC 8289, and Maurer, "Fail at scale", ACM
Queue 13).
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

# The share of the maximum wait that is allowed while requests are being refused.
STANDING_SHARE: Final = 0.25
# The time of a turn is averaged over this many turns.
MAX_TURNS_AVERAGED: Final = 100
INITIAL_TURNS: Final = 10
MAX_WAITING_REQUESTS: Final = 1_000


@dataclass(slots=True, eq=False)
class _WaitingRequest:
    """A request that waits since `since`; its future becomes True when it gets a slot, False when its time is over."""

    granted: asyncio.Future[bool]
    since: float


class AdmissionQueue:
    """At most `max_working` requests are worked on, and a request waits at most `max_wait` seconds for that. `lag` is
    how many seconds the event loop is late; it counts as waiting."""

    def __init__(self, max_working: int, max_wait: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_working, self.max_wait = max_working, max_wait
        self.working = self.waiting = self.lent = self.refused = 0
        # The number of the last request that the server's thread let pass, and of the last that the event loop began.
        self.passed = self.begun = self._passed_before = 0
        self.lag = 0.0
        self._lent_to: dict[str, int] = {}
        self._clock = clock
        self._queues: OrderedDict[str, deque[_WaitingRequest]] = OrderedDict()
        self._returning: deque[asyncio.Future[bool]] = deque()
        # The average time of a turn, and over how many turns. The initial turns count as taking no time, because the
        # first real ones say little.
        self._turn_seconds, self._turns = 0.0, INITIAL_TURNS
        # When a slot was last granted to a waiting request, or the first of them began to wait.
        self._granted_at = 0.0
        self._refused_at = float("-inf")

    def try_acquire(self) -> bool:
        """Take a free slot; False if there is none."""
        if self.working >= self.max_working:
            return False
        self.working += 1
        return True

    def is_late(self, address: str, arriving: int = 0) -> bool:
        """Whether a request from this address would wait too long, with so many others about to queue."""
        now = self._clock()
        own = self._queues.get(address)
        # Each address may have one request waiting, whatever others do.
        turns_of_address = len(self._queues) if own is None else len(own) * len(self._queues)
        turns = min(self.waiting, turns_of_address) + len(self._returning) + arriving + 1
        idle = now - self._granted_at if self.waiting or self._returning else 0.0
        is_standing = own is not None and now - self._refused_at < self.max_wait
        allowed = self.max_wait * STANDING_SHARE if is_standing else self.max_wait
        return self.waiting >= MAX_WAITING_REQUESTS or max(self.lag, idle) + turns * self._turn_seconds > allowed

    def lend(self, address: str) -> None:
        """Release a slot until the request from this address needs it again."""
        self.lent += 1
        self._lent_to[address] = self._lent_to.get(address, 0) + 1
        self.release()

    def end_loan(self, address: str) -> None:
        """The request from this address has a slot again, or needs none any more."""
        self.lent -= 1
        if left := self._lent_to.pop(address) - 1:
            self._lent_to[address] = left

    def can_lend(self, address: str, max_lent: int) -> bool:
        """Whether one more request from this address may lend its slot, of `max_lent` in all. No address holds more
        than is left for the others, so two greedy addresses leave a third of the slots (Choudhury and Hahne, "Dynamic
        queue length thresholds", IEEE/ACM Transactions on Networking 6, 1998)."""
        return self._lent_to.get(address, 0) < max_lent - self.lent

    def count_refusal(self) -> None:
        """Count a request that is refused."""
        self.refused += 1
        self._refused_at = self._clock()

    def wait(self, address: str, granted: asyncio.Future[bool]) -> None:
        """Queue for a slot. The future becomes True when the request has the slot, False when its time is over."""
        now = self._clock()
        self._note_start(now)
        self.waiting += 1
        self._queues.setdefault(address, deque()).append(_WaitingRequest(granted, now))

    def wait_again(self, granted: asyncio.Future[bool]) -> None:
        """Queue before all others, for a request that was admitted and lent its slot."""
        self._note_start(self._clock())
        self._returning.append(granted)

    def release(self) -> None:
        """Give a slot to the next waiting request, or free it."""
        granted = self._pop_next()
        if granted is None:
            self.working -= 1
            return
        now = self._clock()
        self._turns = min(self._turns + 1, MAX_TURNS_AVERAGED)
        self._turn_seconds += (now - self._granted_at - self._turn_seconds) / self._turns
        self._granted_at = now
        granted.set_result(True)

    def expire(self) -> None:
        """Refuse the requests that have waited for `max_wait`."""
        latest = self._clock() - self.max_wait
        for address, queue in (*self._queues.items(),):
            while queue and queue[0].since <= latest:
                expired = queue.popleft()
                self.waiting -= 1
                if not expired.granted.done():
                    self.count_refusal()
                    expired.granted.set_result(False)
            if not queue:
                del self._queues[address]

    def forget_lost(self) -> None:
        """Called regularly: requests that passed before the last call have begun since then, or never will."""
        self.begun, self._passed_before = max(self.begun, self._passed_before), self.passed

    def _note_start(self, now: float) -> None:
        if not self.waiting and not self._returning:
            self._granted_at = now

    def _pop_next(self) -> asyncio.Future[bool] | None:
        while self._returning:
            if not (granted := self._returning.popleft()).done():
                return granted
        while self._queues:
            address, queue = self._queues.popitem(last=False)
            waiting = queue.popleft()
            self.waiting -= 1
            if queue:
                self._queues[address] = queue
            # A request is cancelled when its caller's connection breaks.
            if not waiting.granted.done():
                return waiting.granted
        return None
