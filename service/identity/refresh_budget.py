"""How often unknown key ids may make us fetch an issuer's keys: seldom, and no client at the cost of others.

Whoever sends tokens can name any key id and any client. So a key id that was looked for in vain starts nothing for a
while; there is a small common budget, which a flood uses up; and each client whose tokens were verified before has one
refresh in each cool-down that nobody else can take, unless by naming that very client. In memory, bounded.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

MAX_ABSENT = 1000
MAX_CLIENTS = 1000


class RefreshBudget:
    """The budget of one issuer. `cool_down`: seconds in which the common budget, `burst` at most, grows by one."""

    def __init__(
        self, cool_down: float, *, burst: int, absent_for: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cool_down = cool_down
        self._burst = burst
        self._absent_for = absent_for
        self._clock = clock
        self._left = float(burst)
        self._counted_at = clock()
        self._absent: OrderedDict[Hashable, float] = OrderedDict()
        self._own: OrderedDict[str, float] = OrderedDict()

    def take(self, wanted: Hashable, client: str) -> bool:
        """Whether a refresh may be made now to look for `wanted`; it then counts. `client` is whom the token claims."""
        now = self._clock()
        if self.is_absent(wanted):
            return False
        if self._take_common(now):
            return True
        if client not in self._own or now < self._own[client]:
            return False
        self._own[client] = now + self._cool_down
        return True

    def remember_absent(self, wanted: Hashable) -> None:
        """A fresh answer of the issuer did not hold what was wanted: looking again is of no use for a while."""
        _bounded(self._absent, MAX_ABSENT)
        self._absent[wanted] = self._clock() + self._absent_for

    def is_absent(self, wanted: Hashable) -> bool:
        """Whether a recent answer of the issuer is known not to have held it."""
        return self._clock() < self._absent.get(wanted, float("-inf"))

    def vouch(self, client: str) -> None:
        """A token of this client was verified just now."""
        if client in self._own:
            self._own.move_to_end(client)
            return
        _bounded(self._own, MAX_CLIENTS)
        self._own[client] = self._clock()

    def _take_common(self, now: float) -> bool:
        grown = (now - self._counted_at) / self._cool_down if self._cool_down else self._burst
        self._left = min(self._burst, self._left + grown)
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _bounded(held: OrderedDict[str, float] | OrderedDict[Hashable, float], most: int) -> None:
    while len(held) >= most:
        held.popitem(last=False)
