"""A small store in memory whose entries expire and whose size is bounded. Its owner decides what it holds; nothing of
it is durable, and it is meant for one event loop: no method awaits, so `take` gives an entry to one caller only.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class ExpiringStore(Generic[T]):
    """Entries live `seconds`; when more than `capacity` are held, the oldest go first."""

    def __init__(self, *, seconds: float, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._capacity = capacity
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, T]] = OrderedDict()

    def put(self, key: str, value: T) -> None:
        self._entries.pop(key, None)
        self._entries[key] = (self._clock() + self._seconds, value)
        self._drop_expired()
        while len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def find(self, key: str) -> T | None:
        """The entry, or None if it never was, was taken, or has expired."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and entry[0] > self._clock() else None

    def take(self, key: str) -> T | None:
        """The entry, which is gone afterwards."""
        value = self.find(key)
        self._entries.pop(key, None)
        return value

    def __len__(self) -> int:
        return len(self._entries)

    def _drop_expired(self) -> None:
        # Every entry lives equally long, so the order of insertion is the order of expiry.
        now = self._clock()
        while self._entries and next(iter(self._entries.values()))[0] <= now:
            self._entries.popitem(last=False)
