"""A request's slot among those that are worked on, and how it is free while the request waits for others.

A slot belongs to one request of this process, from its admission (`web.http.admission`) until its answer leaves. Code
that waits for a caller's body or for an authorization server does so inside `slot_free()`.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Slot(Protocol):
    """What one request holds while it is worked on."""

    def lend(self) -> None:
        """Let others work meanwhile, unless it is lent already or given back."""

    async def take_back(self) -> None:
        """Wait until this request is worked on again, if its slot is lent."""


HELD: ContextVar[Slot | None] = ContextVar("slot", default=None)


@asynccontextmanager
async def slot_free(after: float = 0.0) -> AsyncIterator[None]:
    """Inside this block the request's slot is free for others, once `after` seconds are over. Outside any request it
    does nothing."""
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
        # This request ends here: it needs no slot any more.
        raise
    except BaseException:
        await _back(slot, timer)
        raise
    else:
        await _back(slot, timer)


async def _back(slot: Slot, timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
    await slot.take_back()
