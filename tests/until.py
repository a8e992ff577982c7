"""Waiting in tests for what another task, thread or process does: for the condition, never for a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

T = TypeVar("T")


async def until(what: Callable[[], Awaitable[T]], seconds: float = 30.0) -> T:
    """What it gives once it gives something true."""
    async with asyncio.timeout(seconds):
        while not (found := await what()):  # noqa: ASYNC110 — nobody sets an asyncio.Event for what others do
            await asyncio.sleep(0.01)
    return found


async def lock_is_waited_for(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Until somebody in this connection's database, or in its cluster, waits for a lock."""

    async def waits() -> bool:
        return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))

    await until(waits)
