"""Keeps one API process known to the others and up to date with the policy, beside the requests.

Owns the process's row in the registry, from its start to its end, and two tasks: a heartbeat, which also looks which
version is active, and an ear for hints, which makes it look at once. Neither decides anything.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg
import structlog
from uuid_utils.compat import uuid7

from service.authorization.active import replicas
from service.errors import TimewardenError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from uuid import UUID

    from service.authorization.active.versions import PolicyVersions
    from service.database import Database

    Listen = Callable[[Callable[[], object]], Awaitable[object]]

# However many hints come, the database is looked at no more often than this, in seconds.
SHORTEST = 0.1
# Before it listens again after what nobody expected.
LONGEST_SILENCE = 5.0
_log = structlog.get_logger(__name__)


class PolicyWatch:
    """`database`: a connection that requests do not wait for. `listen` calls back for each hint, without end."""

    def __init__(
        self,
        database: Database,
        policies: PolicyVersions,
        *,
        listen: Listen | None = None,
        interval: float = replicas.HEARTBEAT,
    ) -> None:
        self.id: UUID = uuid7()
        self._database = database
        self._policies = policies
        self._listen = listen
        self._interval = interval
        self._look = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Register, load the policy, and keep watch inside this block. Raises PolicyUnavailable when no policy can be
        loaded, Misconfigured when the database is too old."""
        async with self._database.connection() as connection:
            await replicas.register(connection, self.id)
        tasks: list[asyncio.Task[object]] = []
        try:
            await self._policies.start()
            tasks.append(asyncio.create_task(self._beat(), name="heartbeat"))
            if self._listen is not None:
                tasks.append(asyncio.create_task(_forever(self._listen, self._look.set), name="policy hints"))
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(TimewardenError):
                async with self._database.connection() as connection:
                    await replicas.leave(connection, self.id)

    async def _beat(self) -> None:
        while True:
            try:
                await self.look()
            except (TimewardenError, asyncpg.PostgresError) as error:
                _log.warning("heartbeat_missed", problem=type(error).__name__)
            except Exception as error:  # noqa: BLE001 — told, and the next beat comes
                # Until a beat succeeds, this process counts as not ready.
                self._policies.trouble = f"the heartbeat fails ({type(error).__name__})"
                _log.exception("heartbeat_failed", problem=type(error).__name__)
            await asyncio.sleep(SHORTEST)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval - SHORTEST):
                    await self._look.wait()
            self._look.clear()

    async def look(self) -> None:
        """Say that this process lives, learn which version is active, and load it. Raises TryLater."""
        async with self._database.connection() as connection:
            active = await replicas.beat(connection, self.id, self._policies.current().number)
            if active is None:
                await replicas.register(connection, self.id)
                return
        if active != self._policies.current().number or self._policies.trouble is not None:
            await self._policies.at(active)
            self._look.set()


async def _forever(listen: Listen, heard: Callable[[], object]) -> None:
    while True:
        try:
            await listen(heard)
        except Exception as error:  # noqa: BLE001 — told, and listened to again
            # Without hints the heartbeat learns of a version all the same, only later.
            _log.exception("policy_hints_failed", problem=type(error).__name__)
        await asyncio.sleep(LONGEST_SILENCE)
