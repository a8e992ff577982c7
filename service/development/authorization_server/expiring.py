"""A bounded in-memory store whose entries expire. For one event loop: no method awaits, so `take` returns an entry to
one caller only.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class ExpiringStore(Generic[T]):
    """Entries expire after `seconds`. Beyond `capacity` entries the oldest are dropped."""

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
        """The entry; None if it is unknown, taken or expired."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and entry[0] > self._clock() else None

    def take(self, key: str) -> T | None:
        """Remove and return the entry."""
        value = self.find(key)
        self._entries.pop(key, None)
        return value

    def __len__(self) -> int:
        return len(self._entries)

    def _drop_expired(self) -> None:
        # All entries have the same lifetime, so the order of insertion is the order of expiry.
        now = self._clock()
        while self._entries and next(iter(self._entries.values()))[0] <= now:
            self._entries.popitem(last=False)
