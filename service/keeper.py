"""The composition root of a keeper process: sealer, signer, heartbeat, relay of events, and replays. Any number of
keepers may run; one leads.

It owns its pools and its Redis connection; everything durable is in Postgres and the anchor file.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog

from events.relay import Relay
from events.stream import open_redis, stream_name
from events.upkeep import Trimmer, read_state
from service.administration.replay.worker import ReplayWorker
from service.authorization.enforcement.stored_responses import ResponseSweeper
from service.backoff import backoff_seconds
from service.connectivity import TAKEN_AWAY, name_absence
from service.database import Database
from service.directory import erased_store
from service.errors import DatabaseUnavailable, TimewardenError
from service.keeper_metrics import KeeperMetrics, respond_metrics
from service.listeners import listen
from service.log.anchor import Anchor
from service.log.archive import Archiver, open_store
from service.log.feed import ChangeFeed
from service.log.heartbeat import Heartbeat
from service.log.keeper_status import KeeperStatus
from service.log.key_files import read_keys
from service.log.roles import check_role, check_server
from service.log.sealing import Sealer
from service.log.signing import CheckpointSigner
from service.log.witness import HttpWitness
from service.management import serve_management
from service.settings import split_address
from service.tracing import check_tracing, start_tracing, trace_events

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from service.settings import Settings

# Until a part that failed runs again; less than a report of it lasts.
RETRY_SECONDS: Final = 5.0
_log = structlog.get_logger(__name__)


async def keep(settings: Settings, stop: asyncio.Event) -> None:
    """Run every part until `stop`. While Postgres is unavailable, or lacks tables or rights as
    during a restore, retry with backoff. Raises Misconfigured, also
    without a key: an unsigned log proves nothing."""
    settings.need("database_url", "redis_url", "log_origin", "log_key_file", "log_anchor_file")
    signers = read_keys([Path(path) for path in settings.split("log_key_file")], settings.log_origin)
    witnesses = [HttpWitness.parse(text) for text in settings.split("log_witnesses")]
    if settings.traces:
        check_tracing()
        start_tracing()
    store = open_store(settings.archive_url, settings.log_origin) if settings.archive_url else None
    timeout = settings.database_timeout
    database = Database(settings.database_url, size=6, timeout=timeout, name="keeper", fresh_plans=True)
    replays = Database(settings.database_url, size=2, timeout=timeout, name="replay", fresh_plans=True)
    async with AsyncExitStack() as opened:
        if settings.keeper_address:
            address = split_address(settings.keeper_address)
            listener = opened.enter_context(listen(*address, setting="TIMEWARDEN_KEEPER_ADDRESS"))
            await opened.enter_async_context(serve_management(listener, {"/metrics": respond_metrics}))
        for pool in (database, replays):
            opened.push_async_callback(pool.close)
        for witness in witnesses:
            opened.push_async_callback(witness.close)
        feed = ChangeFeed(database)
        epoch = await _open(database, replays, feed, stop)
        if epoch is None:
            return
        redis = open_redis(settings.redis_url)
        opened.push_async_callback(redis.aclose)
        stream = stream_name(settings.event_stream, epoch)
        relay = Relay(
            redis,
            stream,
            settings.public_url or settings.audience or "urn:timewarden",
            read_changes=feed.read_changes,
            read_change=feed.read_change,
            report=KeeperStatus(database, "relay").report,
            log_errors=(TimewardenError,),
            on_published=partial(trace_events, stream),
        )
        signing = CheckpointSigner(database, signers, Anchor(Path(settings.log_anchor_file)), witnesses=witnesses)
        sealed = asyncio.Event()
        interval = settings.seal_interval
        async with asyncio.TaskGroup() as group:

            def start(run: Callable[[], Awaitable[None]], status: KeeperStatus | None = None) -> None:
                group.create_task(run_again_after_errors(run, stop, status))

            start(partial(Sealer(database, sealed=sealed).run, stop, interval), KeeperStatus(database, "sealer"))
            start(partial(signing.run, stop, settings.checkpoint_interval), KeeperStatus(database, "signer"))
            if store is not None:
                archiver = Archiver(database, store, settings.log_origin)
                start(partial(archiver.run, stop, settings.archive_interval), KeeperStatus(database, "archiver"))
            start(partial(Heartbeat(database, settings.heartbeat_after).run, stop))
            start(partial(ResponseSweeper(database, erased_store.FORGET).run, stop))
            start(partial(relay.run, stop, interval, sealed), KeeperStatus(database, "relay"))
            if settings.event_days:
                trimmer = Trimmer(redis, stream, timedelta(days=settings.event_days), read_change=feed.read_change)
                start(partial(trimmer.run, stop, (TimewardenError,)))
            if settings.keeper_address:
                measures = KeeperMetrics(ChangeFeed(database), database, replays, partial(read_state, redis, stream))
                start(partial(measures.run, stop))
            start(partial(ReplayWorker(replays, processes=settings.replay_processes).run, stop))


async def run_again_after_errors(
    run: Callable[[], Awaitable[None]], stop: asyncio.Event, status: KeeperStatus | None
) -> None:
    """Run a part until `stop`. After an error of Postgres that the part does not expect, report it and run the part
    again: a restore takes tables and rights away for a while."""
    while True:
        try:
            await run()
        except asyncpg.PostgresError as error:
            problem = type(error).__name__
            _log.exception("part_failed", problem=problem, next_attempt_seconds=RETRY_SECONDS)
        else:
            return
        if stop.is_set():
            return
        if status is not None:
            # The table of reports may be missing too.
            with suppress(asyncpg.PostgresError):
                await status.report(ready=False, detail=f"Postgres refuses its statements: {problem}")
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_SECONDS):
                await stop.wait()


async def _open(database: Database, replays: Database, feed: ChangeFeed, stop: asyncio.Event) -> UUID | None:
    """The log's epoch, once both databases are open; None if `stop` comes first."""
    opening, stopping = asyncio.create_task(_retry_open(database, replays, feed)), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return opening.result() if opening.done() else None
    finally:
        for task in (opening, stopping):
            task.cancel()
        await asyncio.gather(opening, stopping, return_exceptions=True)


async def _retry_open(database: Database, replays: Database, feed: ChangeFeed) -> UUID:
    pauses = backoff_seconds()
    while True:
        try:
            for pool in (database, replays):
                await pool.open()
            await check_server(database)
            async with database.connection() as connection:
                await check_role(connection, "keep")
            return (await feed.head()).epoch
        except (DatabaseUnavailable, *TAKEN_AWAY) as error:
            pause = next(pauses)
            _log.warning("database_away", cause=name_absence(error), next_attempt_seconds=round(pause, 1))
            for pool in (database, replays):
                await pool.close()
            await asyncio.sleep(pause)
