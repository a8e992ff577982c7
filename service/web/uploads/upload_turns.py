"""Turns of clients that have files read: some at once for all, fewer for each, so that no client holds them all.

Owns who has a turn; it is gone with the process.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from service.database import Turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

AT_ONCE: Final = 4
AT_ONCE_EACH: Final = 2
# Seconds that a file waits for its turn.
WAITING: Final = 30.0
FULL: Final = "Too many files are read at once; send this one again in a moment"
FULL_FOR_ONE: Final = "This client has several files read already; send this one again when one of them is answered"


class UploadTurns:
    """`size` files at once, `each` of one client."""

    def __init__(self, size: int = AT_ONCE, *, each: int = AT_ONCE_EACH, timeout: float = WAITING) -> None:
        self._each, self._timeout = each, timeout
        self._all = Turns(size, timeout=timeout, full=FULL)
        # Somebody's turns are forgotten when nobody has or awaits one.
        self._own: WeakValueDictionary[str, Turns] = WeakValueDictionary()

    @asynccontextmanager
    async def one(self, client: str) -> AsyncIterator[None]:
        """Inside this block the client holds a turn. Raises TryLater when none came in time."""
        own = self._own.get(client) or Turns(self._each, timeout=self._timeout, full=FULL_FOR_ONE)
        self._own[client] = own
        async with own.one(), self._all.one():
            yield
