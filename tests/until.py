"""Waiting in tests for what another task, thread or process does: for the condition, never for a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

T = TypeVar("T")
# How long a test waits for what should happen at once. It ends a test that hangs and claims nothing: beside other load,
# everything may take many times as long.
PATIENCE_SECONDS = 180.0


async def until(what: Callable[[], Awaitable[T]], seconds: float = PATIENCE_SECONDS) -> T:
    """What it gives once it gives something true."""
    pause = 0.01
    async with asyncio.timeout(seconds):
        while not (found := await what()):
            await asyncio.sleep(pause)
            # A process that starts takes seconds, and asking it all the time would slow it down.
            pause = min(pause * 1.2, 0.2)
    return found


async def lock_is_waited_for(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Until somebody in this connection's database, or in its cluster, waits for a lock."""

    async def waits() -> bool:
        return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))

    await until(waits)
