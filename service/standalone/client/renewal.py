"""The renewal of tokens, which goes on when its caller is cancelled. Owns at most one task.

A server that rotates refresh tokens accepts each once. Its answer has the next one, and must not be lost.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# For a whole renewal: two requests of up to ten seconds, where the server demands a nonce.
LIMIT_SECONDS = 20.0


class AsyncRenewal:
    """Runs `renew` in a task of its own, for all callers."""

    def __init__(self, renew: Callable[[], Awaitable[None]]) -> None:
        self._renew = renew
        self._task: asyncio.Task[None] | None = None

    async def join(self) -> None:
        """Renew, or wait for the renewal that an earlier caller left. Raises what `renew` raises; httpx2.ReadTimeout
        after LIMIT_SECONDS."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="renew tokens")
            # Reads the error, which asyncio would report if every caller had left.
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())
        # A caller who is cancelled here does not cancel the task. From Python 3.14 on, asyncio.shield would report an
        # error of the task afterwards.
        await asyncio.wait([self._task])
        self._task.result()

    async def finish(self) -> None:
        """Wait for a renewal that is running."""
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                await self._renew()
        except TimeoutError as error:
            raise httpx2.ReadTimeout("the authorization server did not answer in time") from error


class Renewal:
    """The form of the sync client, which needs no task: its callers cannot be cancelled."""

    def __init__(self, renew: Callable[[], None]) -> None:
        self.join = renew

    def finish(self) -> None:
        """Nothing is running: `join` has waited."""
