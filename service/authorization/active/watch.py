"""Registers an API process among the replicas and keeps its policy up to date in the background.

Owns the process's row in the registry and two tasks: a heartbeat, which also reads the active version's number and
digest, and a listener for hints, which makes the heartbeat come at once.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg
import structlog

from service.authorization.active import replicas
from service.errors import TimewardenError
from service.ids import make_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from uuid import UUID

    from service.authorization.active.versions import PolicyVersions
    from service.database import Database

    Listen = Callable[[Callable[[], object]], Awaitable[object]]

# Seconds between two heartbeats, at least, however many hints come.
SHORTEST = 0.1
# Seconds before listening again after an unexpected error.
LONGEST_SILENCE = 5.0
_log = structlog.get_logger(__name__)


class PolicyWatch:
    """`database` has a connection of its own, for which requests do not wait. `listen` calls back for each hint."""

    def __init__(
        self,
        database: Database,
        policies: PolicyVersions,
        *,
        listen: Listen | None = None,
        interval: float = replicas.HEARTBEAT,
    ) -> None:
        self.id: UUID = make_id()
        self._database = database
        self._policies = policies
        self._listen = listen
        self._interval = interval
        self._look = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Register, load the policy, and run the tasks inside this block. Raises PolicyUnavailable if no policy can be
        loaded, Misconfigured if the database is too old."""
        async with self._database.connection() as connection:
            await replicas.register(connection, self.id)
        tasks: list[asyncio.Task[object]] = []
        try:
            await self._policies.start()
            tasks.append(asyncio.create_task(self._beat(), name="heartbeat"))
            if self._listen is not None:
                tasks.append(asyncio.create_task(_listen_forever(self._listen, self._look.set), name="policy hints"))
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
            except Exception as error:  # noqa: BLE001 — logged, and the next beat comes
                # Until a beat succeeds, this process is not ready.
                self._policies.trouble = f"the heartbeat fails ({type(error).__name__})"
                _log.exception("heartbeat_failed", problem=type(error).__name__)
            await asyncio.sleep(SHORTEST)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval - SHORTEST):
                    await self._look.wait()
            self._look.clear()

    async def look(self) -> None:
        """Send a heartbeat, read the active version and load it if it is another one. Raises TryLater."""
        loaded = self._policies.loaded
        async with self._database.connection() as connection:
            active = await replicas.beat(connection, self.id, None if loaded is None else loaded.number)
            if active is None:
                await replicas.register(connection, self.id)
                return
        number, digest = active
        loaded = self._policies.loaded
        if loaded is not None and loaded.number == number and loaded.digest != digest:
            # A restore has lost the loaded version, and its number was given to other texts. The facts of a decision
            # name only the number, so requests are decided by the lost texts until this heartbeat, but no longer.
            _log.warning("policy_texts_replaced", version=number)
            self._policies.drop_current()
            loaded = None
        if loaded is None or loaded.number != number or self._policies.trouble is not None:
            await self._policies.switch_to(number)
            self._look.set()


async def _listen_forever(listen: Listen, heard: Callable[[], object]) -> None:
    while True:
        try:
            await listen(heard)
        except Exception as error:  # noqa: BLE001 — logged, and listened again
            # Without hints the heartbeat learns of a version later.
            _log.exception("policy_hints_failed", problem=type(error).__name__)
        await asyncio.sleep(LONGEST_SILENCE)
