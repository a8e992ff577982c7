"""A hint through Redis that the active policy version changed, so that other processes load it early.

Redis owns nothing here. A hint may be lost, late or false: a process that receives it reads the active version from
Postgres, and every decision learns it with its facts anyway. So nothing waits for Redis, and nothing fails with it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NoReturn

import structlog

from events.stream import REDIS_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis
    from redis.asyncio.client import PubSub

MAX_HINTS_IN_FLIGHT: Final = 16
SILENCE_SECONDS: Final = 15.0
LONGEST_PAUSE: Final = 30.0
PUBLISH_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)


class PolicyHint:
    """`channel` is the same for all processes of an installation."""

    def __init__(self, redis: Redis, channel: str) -> None:
        self._redis = redis
        self._channel = channel
        self._publishing: set[asyncio.Task[None]] = set()

    def publish(self, number: int) -> None:
        """Publish that a version became active, in the background: the response does not wait for it."""
        if len(self._publishing) >= MAX_HINTS_IN_FLIGHT:
            return
        task = asyncio.create_task(self._publish_in_time(number), name=f"hint of policy {number}")
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def listen(self, heard: Callable[[], object]) -> NoReturn:
        """Call `heard` for each hint until cancelled, and after each connecting, because a hint may have been missed.
        Reconnects when the connection is lost."""
        pause = 0.0
        while True:
            await asyncio.sleep(pause)
            pause = min(max(1.0, 2 * pause), LONGEST_PAUSE)
            try:
                # A Redis Cluster's client learns its nodes first.
                await self._redis.initialize()
                async with self._redis.pubsub() as subscription:
                    await subscription.subscribe(self._channel)
                    heard()
                    while await self._received_hint(subscription):
                        pause = 0.0
                        heard()
            except REDIS_ERRORS as error:
                _log.warning("policy_hint_lost", problem=type(error).__name__)

    async def _received_hint(self, subscription: PubSub) -> bool:
        """Wait for a hint. False if the connection is dead: a ping was not answered."""
        for _ in range(2):
            while (message := await subscription.get_message(timeout=SILENCE_SECONDS)) is not None:
                if message["type"] == "message":
                    return True
            await subscription.ping()
        return False

    async def close(self) -> None:
        """Close the connections and drop hints that were not published."""
        for task in tuple(self._publishing):
            task.cancel()
        await self._redis.aclose()

    async def _publish_in_time(self, number: int) -> None:
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self._redis.publish(self._channel, str(number))
        except REDIS_ERRORS as error:
            _log.warning("policy_hint_not_told", version=number, problem=type(error).__name__)
