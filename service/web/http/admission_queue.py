"""Who is worked on, who waits, and who is refused because it would wait too long. Owns that, for one process.

At most `at_once` requests are worked on. The others wait in one queue for each address, and addresses take turns, so
that a flood from one delays nobody else. The expected wait is the number of turns ahead times the time that a turn took
lately (Little's law). A queue that stands gives no more throughput, only delay: so after a refusal the wait that is
allowed is shorter, until there was none for a while (as in CoDel, RFC 8289, and Maurer, "Fail at scale", ACM Queue 13).
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

# The part of the bound that a request may wait while requests are being refused.
STANDING_SHARE: Final = 0.25
# Over so many turns the time that a turn takes is averaged.
TURNS_REMEMBERED: Final = 100
FIRST_TURNS: Final = 10
MAX_WAITING: Final = 1_000


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request that waits since `since`; its future becomes True for its slot, False when its time is over."""

    granted: asyncio.Future[bool]
    since: float


class AdmissionQueue:
    """`at_once` requests are worked on; `bound` in seconds is the longest that one waits before that. `lag` in seconds
    is by how much the event loop is late, and counts as waiting."""

    def __init__(self, at_once: int, bound: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.at_once, self.bound = at_once, bound
        self.working = self.waiting = self.lent = self.refused = 0
        self.lag = 0.0
        self._lent_to: dict[str, int] = {}
        self._clock = clock
        self._queues: OrderedDict[str, deque[_Waiting]] = OrderedDict()
        self._returning: deque[asyncio.Future[bool]] = deque()
        # What a turn took lately, and how many turns that rests on. The first few say little: a start counts as free.
        self._turn_seconds, self._turns = 0.0, FIRST_TURNS
        # When a slot was last handed to a waiting request, or the first of them began to wait.
        self._handed_at = 0.0
        self._refused_at = float("-inf")

    def enter(self) -> bool:
        """Take a free slot; False if there is none."""
        if self.working >= self.at_once:
            return False
        self.working += 1
        return True

    def refuses(self, address: str) -> bool:
        """Whether a request of this address would wait too long; if so it counts as refused."""
        now = self._clock()
        own = self._queues.get(address)
        # Each address may have one request waiting, whatever others do.
        alone = len(self._queues) if own is None else len(own) * len(self._queues)
        turns = min(self.waiting, alone) + len(self._returning) + 1
        idle = now - self._handed_at if self.waiting or self._returning else 0.0
        standing = own is not None and now - self._refused_at < self.bound
        allowed = self.bound * STANDING_SHARE if standing else self.bound
        if self.waiting < MAX_WAITING and max(self.lag, idle) + turns * self._turn_seconds <= allowed:
            return False
        self.refuse(now)
        return True

    def lend(self, address: str) -> None:
        """Give a slot back until the request of this address needs it again."""
        self.lent += 1
        self._lent_to[address] = self._lent_to.get(address, 0) + 1
        self.leave()

    def end_loan(self, address: str) -> None:
        """The request of this address has its slot again, or needs none any more."""
        self.lent -= 1
        if left := self._lent_to.pop(address) - 1:
            self._lent_to[address] = left

    def may_lend(self, address: str, most: int) -> bool:
        """Whether one more request of this address may wait for its body while `most` slots are lent in all: none holds
        more than is left for others, so two that take all they can leave a third of it (Choudhury and Hahne, "Dynamic
        queue length thresholds", IEEE/ACM Transactions on Networking 6, 1998)."""
        return self._lent_to.get(address, 0) < most - self.lent

    def refuse(self, now: float | None = None) -> None:
        """Count a request that is refused."""
        self.refused += 1
        self._refused_at = self._clock() if now is None else now

    def wait(self, address: str, granted: asyncio.Future[bool]) -> None:
        """Queue for a slot. The future becomes True when the slot is this request's, False when its time is over."""
        now = self._clock()
        self._begin(now)
        self.waiting += 1
        self._queues.setdefault(address, deque()).append(_Waiting(granted, now))

    def wait_again(self, granted: asyncio.Future[bool]) -> None:
        """Queue for a slot before all others, for a request that was admitted and lent its slot."""
        self._begin(self._clock())
        self._returning.append(granted)

    def leave(self) -> None:
        """Give a slot back: to whose turn it is, or to whoever comes."""
        granted = self._next()
        if granted is None:
            self.working -= 1
            return
        now = self._clock()
        self._turns = min(self._turns + 1, TURNS_REMEMBERED)
        self._turn_seconds += (now - self._handed_at - self._turn_seconds) / self._turns
        self._handed_at = now
        granted.set_result(True)

    def expire(self) -> None:
        """Tell those whose time is over."""
        latest = self._clock() - self.bound
        for address, queue in (*self._queues.items(),):
            while queue and queue[0].since <= latest:
                expired = queue.popleft()
                self.waiting -= 1
                if not expired.granted.done():
                    self.refuse()
                    expired.granted.set_result(False)
            if not queue:
                del self._queues[address]

    def _begin(self, now: float) -> None:
        if not self.waiting and not self._returning:
            self._handed_at = now

    def _next(self) -> asyncio.Future[bool] | None:
        while self._returning:
            if not (granted := self._returning.popleft()).done():
                return granted
        while self._queues:
            address, queue = self._queues.popitem(last=False)
            waiting = queue.popleft()
            self.waiting -= 1
            if queue:
                self._queues[address] = queue
            # A request whose caller's connection broke may have been cancelled.
            if not waiting.granted.done():
                return waiting.granted
        return None
