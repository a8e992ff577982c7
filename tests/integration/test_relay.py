"""The relay publishes every sealed change once and in order, even after kills, flushes and restores."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from events.consumer import read
from events.relay import DivergedError
from events.stream import open_redis
from service.development.local_servers import start_redis
from service.log.feed import ChangeFeed
from tests.integration.event_stream import entries, publish_all
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from redis.asyncio import Redis

    from tests.integration.event_stream import EventStream

pytest_plugins = ["tests.integration.log_fixtures"]

RELAY_PROCESS = """
import asyncio, sys
from events.relay import Relay
from events.stream import open_redis
from service.log.feed import ChangeFeed
from service.database import Database

async def report(ready, detail):
    pass

async def main():
    database = Database(sys.argv[1], size=2, name="killed")
    await database.open()
    feed = ChangeFeed(database)
    print("ready", flush=True)
    relay = Relay(open_redis(sys.argv[2]), sys.argv[3], "https://timesheets.example.com",
                  read_changes=feed.read_changes, read_change=feed.read_change, report=report, batch=2)
    await relay.run(asyncio.Event(), 0.001)

asyncio.run(main())
"""


async def test_only_changes_are_published_once_and_in_order(event_stream: EventStream) -> None:
    relay = event_stream.relay()
    assert await relay.step() == 0
    await event_stream.change(8)
    await publish_all(relay)
    await event_stream.assert_published()
    await event_stream.change(1)
    await publish_all(relay)
    await publish_all(event_stream.relay())
    await event_stream.assert_published()
    assert len(await event_stream.list_uids()) == 9


async def test_reading_starts_after_a_position(event_stream: EventStream) -> None:
    made = await event_stream.change(5)
    await publish_all(event_stream.relay())
    first = await read(event_stream.redis, event_stream.stream, count=2)
    rest = await read(event_stream.redis, event_stream.stream, after=first[-1].position)
    assert [change.uid for change in first + rest] == made


async def test_two_relays_at_once_publish_nothing_twice(event_stream: EventStream) -> None:
    stop = asyncio.Event()
    relays = [asyncio.create_task(event_stream.relay().run(stop, 0.001)) for _ in range(2)]
    for _ in range(10):
        await event_stream.change(3)
    await until(lambda: has_published(event_stream, 30))
    stop.set()
    await asyncio.gather(*relays)
    await event_stream.assert_published()


async def test_a_sealed_change_is_published_long_before_the_next_interval(event_stream: EventStream) -> None:
    stop, sealed = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(event_stream.relay().run(stop, 3_600, sealed))
    for count in range(1, 4):
        await event_stream.change(1)
        sealed.set()
        await until(lambda: has_published(event_stream, count))  # noqa: B023 - awaited within the loop
    stop.set()
    await running
    await event_stream.assert_published()


async def test_a_flushed_redis_is_filled_again_from_the_log(event_stream: EventStream) -> None:
    relay = event_stream.relay()
    await event_stream.change(5)
    await publish_all(relay)
    await event_stream.redis.flushdb()
    await event_stream.change(1)
    await publish_all(relay)
    await event_stream.assert_published()


async def test_a_flush_is_noticed_without_a_new_change(event_stream: EventStream) -> None:
    await event_stream.change(5)
    stop = asyncio.Event()
    running = asyncio.create_task(event_stream.relay(compare_every=0.05).run(stop, 0.01))
    await until(lambda: has_published(event_stream, 5))
    await event_stream.redis.flushdb()
    await until(lambda: has_published(event_stream, 5))
    stop.set()
    await running
    await event_stream.assert_published()


async def test_a_redis_that_lost_its_newest_events_gets_them_again(event_stream: EventStream) -> None:
    """Failover to a stale replica: the stream ends before the relay's last event."""
    relay = event_stream.relay()
    await event_stream.change(4)
    await publish_all(relay)
    kept = (await entries(event_stream.redis, event_stream.stream))[:2]
    await event_stream.redis.delete(event_stream.stream)
    for entry_id, fields in kept:
        await event_stream.redis.xadd(event_stream.stream, fields, id=entry_id)
    await event_stream.change(2)
    await publish_all(relay)
    await event_stream.assert_published()


async def test_a_trimmed_stream_is_continued(event_stream: EventStream) -> None:
    await event_stream.change(4)
    await publish_all(event_stream.relay())
    await event_stream.redis.xtrim(event_stream.stream, maxlen=0, approximate=False)
    new = await event_stream.change(2)
    await publish_all(event_stream.relay())
    assert await event_stream.list_uids() == new


@pytest.mark.parametrize("grown_again", [False, True])
async def test_a_restored_postgres_stops_the_relay_with_instructions(
    event_stream: EventStream,
    grown_again: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    relay = event_stream.relay()
    await event_stream.change(4)
    await publish_all(relay)
    before = await event_stream.list_uids()
    await event_stream.restore_postgres(4)
    if grown_again:
        await event_stream.change(4)
    for each in (relay, event_stream.relay(compare_every=0)):
        with contextlib.suppress(DivergedError):
            await each.step()
    stop = asyncio.Event()
    running = asyncio.create_task(event_stream.relay().run(stop, 0.001))
    await until(lambda: has_reported(event_stream))
    stop.set()
    await running
    ready, detail = event_stream.reports[-1]
    assert not ready
    assert "restore the right Postgres" in detail
    assert await event_stream.list_uids() == before


async def test_a_running_relay_stops_when_the_log_lost_records(event_stream: EventStream) -> None:
    relay = event_stream.relay()
    await event_stream.change(4)
    await publish_all(relay)
    before = await event_stream.list_uids()
    await event_stream.restore_postgres(4)
    await event_stream.change(6)
    with pytest.raises(DivergedError):
        await relay.step()
    assert await event_stream.list_uids() == before


async def test_renaming_the_stream_recovers_from_a_restore(event_stream: EventStream) -> None:
    relay = event_stream.relay()
    await event_stream.change(4)
    await publish_all(relay)
    await event_stream.restore_postgres(4)
    with pytest.raises(DivergedError):
        await event_stream.relay().step()
    await event_stream.redis.rename(event_stream.stream, "aside")
    await publish_all(event_stream.relay())
    await event_stream.assert_published()


@pytest.mark.parametrize("entry_id", ["1-1", "1700000000000-0"])
async def test_foreign_entries_in_the_stream_stop_the_relay(event_stream: EventStream, entry_id: str) -> None:
    await event_stream.change(2)
    await event_stream.redis.xadd(event_stream.stream, {"ce": "{}"}, id=entry_id)
    with pytest.raises(DivergedError):
        await event_stream.relay().step()
    assert await event_stream.redis.xlen(event_stream.stream) == 1


async def test_dying_at_any_point_between_two_steps_loses_and_repeats_nothing(event_stream: EventStream) -> None:
    """The relay dies before and after each of its calls in turn, and another one takes over."""
    await event_stream.change(7)
    for fatal in itertools.count():
        calls = itertools.count()
        dying = event_stream.relay(
            redis=DyingRedis(event_stream.redis, calls, fatal),
            read_changes=mortal(event_stream.feed.read_changes, calls, fatal),
            read_change=mortal(event_stream.feed.read_change, calls, fatal),
        )
        try:
            await publish_all(dying)
        except DiedError:
            sealed = [change.uid for change in await ChangeFeed(event_stream.keeper).read_changes(-1, 100)]
            held = await event_stream.list_uids()
            assert held == sealed[: len(held)]
            await event_stream.change(1)
        else:
            break
    assert fatal > 10
    await event_stream.assert_published()


async def test_a_killed_process_loses_and_repeats_nothing(event_stream: EventStream, redis_url: str) -> None:
    for pause in (0.0, 0.01, 0.05, 0.2):
        await event_stream.change(10)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            RELAY_PROCESS,
            event_stream.log_database.url("keeper"),
            redis_url,
            event_stream.stream,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        await asyncio.sleep(pause)
        process.kill()
        await process.wait()
    await publish_all(event_stream.relay())
    await event_stream.assert_published()


async def test_without_redis_the_relay_is_not_ready(event_stream: EventStream) -> None:
    away = open_redis("redis://127.0.0.1:9/0", timeout=0.2)
    stop = asyncio.Event()
    running = asyncio.create_task(event_stream.relay(redis=away).run(stop, 0.001))
    await until(lambda: has_reported(event_stream))
    stop.set()
    await running
    await away.aclose()
    ready, detail = event_stream.reports[-1]
    assert not ready
    assert detail == "Redis does not accept events: ConnectionError; they wait in the log"


async def test_a_redis_that_refuses_events_is_named_by_its_own_word(event_stream: EventStream, tmp_path: Path) -> None:
    await event_stream.change(2)
    with start_redis(tmp_path, preferred_port=0) as server:
        redis = open_redis(server.database_url(0))
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.config_set("maxmemory", "1")
        assert "does not accept events: OOM;" in await report_about(event_stream, redis)
        await redis.config_set("maxmemory", "0")
        await redis.set(event_stream.stream, "a secret value")
        assert "does not accept events: WRONGTYPE;" in await report_about(event_stream, redis)
        await redis.aclose()


async def report_about(event_stream: EventStream, redis: Redis) -> str:
    """Why a relay with this Redis is not ready."""
    event_stream.reports.clear()
    stop = asyncio.Event()
    running = asyncio.create_task(event_stream.relay(redis=redis).run(stop, 0.001))
    await until(lambda: has_reported(event_stream))
    stop.set()
    await running
    ready, detail = event_stream.reports[0]
    assert not ready
    return detail


async def test_a_relay_that_publishes_but_is_not_up_to_date_is_not_ready(event_stream: EventStream) -> None:
    await event_stream.change(5)
    stop = asyncio.Event()
    running = asyncio.create_task(event_stream.relay(batch=1, max_lag=0).run(stop, 0.001))
    await until(lambda: has_published(event_stream, 5))
    await until(lambda: is_caught_up(event_stream))
    stop.set()
    await running
    behind = [detail for ready, detail in event_stream.reports if not ready]
    assert len(behind) == 5
    assert all("; not up to date for" in detail for detail in behind)


async def is_caught_up(event_stream: EventStream) -> bool:
    return event_stream.reports[-1][0]


async def test_a_relay_continues_after_redis_was_unavailable(event_stream: EventStream) -> None:
    await event_stream.change(5)
    stop, calls = asyncio.Event(), itertools.count()

    class Flaky(DyingRedis):
        error = RedisConnectionError

    running = asyncio.create_task(event_stream.relay(redis=Flaky(event_stream.redis, calls, 2)).run(stop, 0.001))
    await until(lambda: has_published(event_stream, 5))
    stop.set()
    await running
    assert {ready for ready, _ in event_stream.reports} == {True, False}
    last = (await read(event_stream.redis, event_stream.stream))[-1].position
    assert event_stream.reports[-1] == (True, f"published up to position {last}")


class DiedError(Exception):
    """Simulates the end of the process."""


class DyingRedis:
    """The real client, whose scripts raise before or after call number `fatal`."""

    error: type[Exception] = DiedError

    def __init__(self, redis: Any, calls: itertools.count[int], fatal: int) -> None:
        self._redis = redis
        self._calls = calls
        self._fatal = fatal

    def register_script(self, text: str) -> Callable[..., Awaitable[Any]]:
        return mortal(self._redis.register_script(text), self._calls, self._fatal, self.error)


def mortal(
    call: Callable[..., Awaitable[Any]], calls: itertools.count[int], fatal: int, error: type[Exception] = DiedError
) -> Callable[..., Awaitable[Any]]:
    async def call_or_die(*args: Any, **named: Any) -> Any:
        if next(calls) == fatal:
            raise error
        answer = await call(*args, **named)
        if next(calls) == fatal:
            raise error
        return answer

    return call_or_die


async def has_published(event_stream: EventStream, count: int) -> bool:
    return await event_stream.redis.xlen(event_stream.stream) == count


async def has_reported(event_stream: EventStream) -> bool:
    return bool(event_stream.reports)
