"""Wait until another task, thread or process has done something: for a condition, never for a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

T = TypeVar("T")
# The bound of every wait. It ends a test that hangs; it claims nothing about speed, because the machine may be busy.
PATIENCE_SECONDS = 180.0


async def until(what: Callable[[], Awaitable[T]], seconds: float = PATIENCE_SECONDS) -> T:
    """Call `what` until it returns something true, and return that."""
    pause = 0.01
    async with asyncio.timeout(seconds):
        while not (found := await what()):
            await asyncio.sleep(pause)
            # A process that starts takes seconds, and asking it all the time would slow it down.
            pause = min(pause * 1.2, 0.2)
    return found


async def lock_is_waited_for(connection: asyncpg.Connection[asyncpg.Record], by: int = 1) -> None:
    """Wait until as many transactions of this server wait for a lock."""

    async def waits() -> bool:
        return bool(await connection.fetchval("SELECT count(*) >= $1 FROM pg_locks WHERE NOT granted", by))

    await until(waits)
