"""Limits how many files are read at once: in all, and fewer for each client, so that no client takes all turns.

Owns the turns of this process.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from service.database import Turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MAX_FILES: Final = 4
MAX_FILES_PER_CLIENT: Final = 2
MAX_WAIT_SECONDS: Final = 30.0
FULL: Final = "Too many files are being read; send this one again in a moment"
FULL_FOR_ONE: Final = "Other files of this client are being read; send this one again after one of them has finished"


class UploadTurns:
    """At most `size` files at once, and `each` of one client."""

    def __init__(
        self, size: int = MAX_FILES, *, each: int = MAX_FILES_PER_CLIENT, timeout: float = MAX_WAIT_SECONDS
    ) -> None:
        self._each, self._timeout = each, timeout
        self._all = Turns(size, timeout=timeout, full=FULL)
        # The turns of a client are dropped once no request holds or awaits one.
        self._own: WeakValueDictionary[str, Turns] = WeakValueDictionary()

    @asynccontextmanager
    async def take(self, client: str) -> AsyncIterator[None]:
        """Hold a turn of this client inside the block. Raises TryLater if none is free in time."""
        own = self._own.get(client) or Turns(self._each, timeout=self._timeout, full=FULL_FOR_ONE)
        self._own[client] = own
        async with own.take(), self._all.take():
            yield
