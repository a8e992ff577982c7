"""The metrics of a keeper process: how far the log is sealed, signed and published, and how many replays wait.

They are about the log and the stream, so every keeper gives the same numbers. They are read every few seconds, not for
each request for metrics. Numbers that cannot be read now are left out. Owns nothing durable.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import asyncpg

from events.stream import BEFORE_ALL, REDIS_ERRORS
from service import metrics
from service.administration.replay.jobs import count_open
from service.errors import TimewardenError
from service.log.keeper_status import read_progress, read_status
from service.metric_families import CONTENT_TYPE, format_text, take_snapshot
from service.standard_error import standard_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from events.upkeep import StreamState
    from service.database import Database
    from service.log.feed import ChangeFeed
    from service.metric_families import Gauge

COLLECT_SECONDS: Final = 5.0
# Groups of consumers beyond these, in the order of their names, are left out.
MAX_GROUPS: Final = 50
# ValueError: the stream holds ids that no relay wrote.
_STREAM_ERRORS: Final[tuple[type[Exception], ...]] = (*REDIS_ERRORS, ValueError)
# PostgresError: a restore takes tables and rights away for a while.
_LOG_ERRORS: Final[tuple[type[Exception], ...]] = (TimewardenError, asyncpg.PostgresError)
_FROM_POSTGRES: Final = (
    metrics.LOG_SIZE,
    metrics.UNSEALED_SECONDS,
    metrics.CHECKPOINT_SIZE,
    metrics.CHECKPOINT_AGE,
    metrics.UNSIGNED_SECONDS,
    metrics.PART_READY,
    metrics.REPLAYS,
)
_FROM_REDIS: Final = (
    metrics.STREAM_POSITION,
    metrics.STREAM_LENGTH,
    metrics.STREAM_DEAD,
    metrics.GROUP_BEHIND,
    metrics.GROUP_PENDING,
)


class KeeperMetrics:
    """`feed` reads the log for the relay's lag, with a memory of its own. `replays` is the pool of replays."""

    def __init__(
        self,
        feed: ChangeFeed,
        database: Database,
        replays: Database,
        read_stream: Callable[[], Awaitable[StreamState]],
    ) -> None:
        self._feed, self._database, self._replays = feed, database, replays
        self._read_stream = read_stream

    async def run(self, stop: asyncio.Event) -> None:
        """Collect every COLLECT_SECONDS until `stop`."""
        while not stop.is_set():
            await self.collect()
            with suppress(TimeoutError):
                async with asyncio.timeout(COLLECT_SECONDS):
                    await stop.wait()

    async def collect(self) -> None:
        """Read every number once. The numbers before stay until they are replaced or cannot be read, because alerts
        begin to wait anew when a scrape does not find their metric."""
        position: int | None = None
        try:
            position = await self._collect_stream()
        except _STREAM_ERRORS:
            _leave_out(*_FROM_REDIS, metrics.RELAY_LAG)
            metrics.COLLECTED.set(0, ("redis",))
        else:
            metrics.COLLECTED.set(1, ("redis",))
        try:
            await self._collect_log()
            if position is not None:
                metrics.RELAY_LAG.set(await self._find_lag(position))
        except _LOG_ERRORS:
            _leave_out(*_FROM_POSTGRES, metrics.RELAY_LAG)
            metrics.COLLECTED.set(0, ("postgres",))
        else:
            metrics.COLLECTED.set(1, ("postgres",))

    async def _collect_stream(self) -> int:
        """Returns the position of the newest event."""
        state = await self._read_stream()
        _leave_out(*_FROM_REDIS)
        metrics.STREAM_LENGTH.set(state.length)
        metrics.STREAM_DEAD.set(state.dead)
        if state.position != BEFORE_ALL:
            metrics.STREAM_POSITION.set(state.position)
        for group in state.groups[:MAX_GROUPS]:
            metrics.GROUP_BEHIND.set(group.behind, (group.name,))
            metrics.GROUP_PENDING.set(group.pending, (group.name,))
        return state.position

    async def _collect_log(self) -> None:
        async with self._database.connection() as connection:
            progress = await read_progress(connection)
            statuses = await read_status(connection, progress)
            replays = await count_open(connection)
        _leave_out(*_FROM_POSTGRES)
        metrics.LOG_SIZE.set(progress.size)
        metrics.UNSEALED_SECONDS.set(progress.unsealed)
        metrics.UNSIGNED_SECONDS.set(progress.unsigned)
        metrics.CHECKPOINT_SIZE.set(progress.signed)
        if progress.checkpoint_age is not None:
            metrics.CHECKPOINT_AGE.set(progress.checkpoint_age)
        for status in statuses:
            metrics.PART_READY.set(status.ready, (status.part,))
        for state, count in replays.items():
            metrics.REPLAYS.set(count, (state,))
        for pool in (self._database, self._replays):
            pool.measure()

    async def _find_lag(self, position: int) -> float:
        """How many seconds ago the first change after this position was made."""
        waiting = await self._feed.read_changes(position, 1)
        return max(0.0, (datetime.now(UTC) - waiting[0].time).total_seconds()) if waiting else 0.0


def _leave_out(*families: Gauge) -> None:
    """Forget the numbers of these gauges."""
    for family in families:
        family.series.clear()


def respond_metrics() -> tuple[HTTPStatus, str, bytes]:
    """The answer of the management address."""
    metrics.measure_process(dropped_lines=standard_error().dropped)
    return HTTPStatus.OK, CONTENT_TYPE, format_text(metrics.FAMILIES, take_snapshot(metrics.FAMILIES))
