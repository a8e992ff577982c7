"""Limits how often unknown key ids cause a fetch of an issuer's keys, without letting one client starve the others.

A sender of tokens can name any key id and any client. So a key id that the issuer does not have causes no fetch for a
while. A small common budget serves everybody, and a flood may use it up. Each client whose tokens were verified before
has one refresh per cool-down of its own, which only senders that name this client can use. In memory, bounded.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

MAX_ABSENT_KEYS = 1000
MAX_CLIENTS = 1000


class RefreshBudget:
    """The budget of one issuer. The common budget is at most `burst` and grows by one per `cool_down` seconds."""

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
        self._clients: OrderedDict[str, float] = OrderedDict()

    def take(self, key: Hashable, client: str) -> bool:
        """Whether a refresh may be made now to find `key`; it then counts. `client` is the one that the token
        claims."""
        now = self._clock()
        if self.is_absent(key):
            return False
        if self._take_common(now):
            return True
        if client not in self._clients or now < self._clients[client]:
            return False
        self._clients[client] = now + self._cool_down
        return True

    def remember_absent(self, key: Hashable) -> None:
        """The issuer does not have this key: cause no refresh for it for a while."""
        _drop_oldest(self._absent, MAX_ABSENT_KEYS)
        self._absent[key] = self._clock() + self._absent_for

    def is_absent(self, key: Hashable) -> bool:
        """Whether a recent answer of the issuer did not have this key."""
        return self._clock() < self._absent.get(key, float("-inf"))

    def note_verified(self, client: str) -> None:
        """A token of this client was verified."""
        if client in self._clients:
            self._clients.move_to_end(client)
            return
        _drop_oldest(self._clients, MAX_CLIENTS)
        self._clients[client] = self._clock()

    def _take_common(self, now: float) -> bool:
        grown = (now - self._counted_at) / self._cool_down if self._cool_down else self._burst
        self._left = min(self._burst, self._left + grown)
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _drop_oldest(entries: OrderedDict[str, float] | OrderedDict[Hashable, float], max_entries: int) -> None:
    while len(entries) >= max_entries:
        entries.popitem(last=False)
