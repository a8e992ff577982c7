"""The admission slot of a request, and how it is lent to others while the request waits.

A request holds a slot from its admission (`web.http.admission`) until its response leaves. Code that waits for a body
or for an authorization server does so inside `slot_free()`.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Slot(Protocol):
    """The slot of one admitted request."""

    def lend(self) -> None:
        """Lend the slot to other requests, unless it is already lent or released."""

    async def take_back(self) -> None:
        """Wait until the slot is back, if it is lent."""


HELD: ContextVar[Slot | None] = ContextVar("slot", default=None)


@asynccontextmanager
async def slot_free(after: float = 0.0) -> AsyncIterator[None]:
    """Lend the request's slot to others inside the block, once `after` seconds have passed. Does nothing outside a
    request."""
    slot = HELD.get()
    if slot is None:
        yield
        return
    if after:
        timer = asyncio.get_running_loop().call_later(after, slot.lend)
    else:
        timer = None
        slot.lend()
    try:
        yield
    except asyncio.CancelledError:
        # The request ends here and needs no slot.
        raise
    except BaseException:
        await _take_back(slot, timer)
        raise
    else:
        await _take_back(slot, timer)


async def _take_back(slot: Slot, timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
    await slot.take_back()
