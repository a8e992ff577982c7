"""Events, rate limits, used proofs and hints through Redis Sentinel and Redis Cluster, with real servers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio.connection import SSLConnection

from events.consumer import Consumer, read
from events.stream import REDIS_ERRORS, check_redis_url, open_redis
from events.upkeep import list_dead, read_groups, replay_dead
from service.authorization.active.hint import PolicyHint
from service.commands.doctor_checks import check_redis
from service.identity.used_proofs import UsedProofs
from service.settings import Settings
from service.web.http.rate_limits import Counters
from tests.integration.event_stream import publish_all
from tests.redis_group import redis_cluster, watched_redis
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from events.envelope import PublishedChange
    from tests.integration.event_stream import EventStream

pytest_plugins = ["tests.integration.log_fixtures"]


async def use_everything(url: str, event_stream: EventStream) -> None:
    """Use Redis as every part of the service does."""
    redis = event_stream.redis = open_redis(url)
    uids = await event_stream.change(4)
    await publish_all(event_stream.relay())
    await event_stream.assert_published()

    handled: list[UUID] = []

    async def handle(change: PublishedChange) -> None:
        if change.uid == uids[1] and len(handled) < len(uids):
            raise LookupError
        handled.append(change.uid)

    async def on_gap(after: int, before: int) -> None:
        raise AssertionError(f"nothing is missing between {after} and {before}")

    consumer = Consumer(
        redis, event_stream.stream, "billing", "one", handle, on_gap=on_gap, deliveries=1, stale_after=0, block=0.1
    )
    await until(lambda: _step(consumer, handled, len(uids) - 1))
    [dead] = await list_dead(redis, event_stream.stream)
    handled.append(dead_uid := uids[1])
    assert await replay_dead(redis, event_stream.stream, dead, "operator")
    await until(lambda: _step(consumer, handled, len(uids) + 1))
    assert handled.count(dead_uid) == 2
    assert [group.name for group in await read_groups(redis, event_stream.stream)] == ["billing"]

    [finding] = [found async for found in check_redis(Settings(redis_url=url))]
    assert finding.found.endswith("evicts nothing")

    counters = Counters(url)
    spent = await asyncio.gather(*(counters.spend(1, key) for key in ("client:a", "client:b", "client:a")))
    assert [each.allowed for each in spent] == [True, True, False]
    # Another process counts on.
    others = Counters(url)
    assert not (await others.spend(1, "client:b")).allowed
    await counters.close()
    await others.close()

    proofs = UsedProofs(open_redis(url, timeout=1.0))
    assert [await proofs.add("key", "proof", 60) for _ in range(2)] == [True, False]
    await proofs.close()

    heard = asyncio.Event()
    teller, hearer = PolicyHint(open_redis(url), "policy"), PolicyHint(open_redis(url), "policy")
    listening = asyncio.create_task(hearer.listen(heard.set))
    # It calls once when it is connected.
    async with asyncio.timeout(20):
        await heard.wait()
        heard.clear()
        teller.publish(7)
        await heard.wait()
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await teller.close()
    await hearer.close()


async def _step(consumer: Consumer, handled: list[UUID], count: int) -> bool:
    await consumer.step()
    return len(handled) == count


async def test_everything_works_in_a_redis_cluster(event_stream: EventStream, tmp_path: Path) -> None:
    before = event_stream.redis
    with redis_cluster(tmp_path) as group:
        await use_everything(group.url, event_stream)
        await event_stream.redis.aclose()
    event_stream.redis = before


async def test_everything_works_with_sentinels_and_after_a_failover(event_stream: EventStream, tmp_path: Path) -> None:
    before = event_stream.redis
    with watched_redis(tmp_path) as (group, master):
        await use_everything(group.url, event_stream)
        stop = asyncio.Event()
        relaying = asyncio.create_task(event_stream.relay().run(stop, 0.02))
        await event_stream.change(3)
        group.kill(master)
        await event_stream.change(3)

        async def all_there() -> bool:
            sealed = list(await event_stream.feed.read_changes(-1, 100))
            try:
                return await read(event_stream.redis, event_stream.stream, count=100) == sealed
            except REDIS_ERRORS:
                return False

        await until(all_there)
        stop.set()
        await relaying
        await event_stream.assert_published()
        await event_stream.redis.aclose()
    event_stream.redis = before


@pytest.mark.parametrize(
    "url",
    [
        "http://host:6379/0",
        "redis+sentinel://:word@host:26379",
        "redis+sentinel://:word@host:26379/master/zero",
        "redis+cluster://:word@host:6379/1",
        "redis://:wo/rd@host:6379/0",
        "redis+cluster://:word@one:6379,two:port",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="must") as refused:
        check_redis_url(url)
    assert "wo" not in str(refused.value).replace("two", "")


async def test_sentinels_and_clusters_are_reached_over_tls_where_the_url_says_so() -> None:
    watched: Any = open_redis("rediss+sentinel://:word@host/master?sentinel_password=other")
    assert issubclass(watched.connection_pool.connection_class, SSLConnection)
    [sentinel] = watched.connection_pool.sentinel_manager.sentinels
    assert issubclass(sentinel.connection_pool.connection_class, SSLConnection)
    assert sentinel.connection_pool.connection_kwargs["password"] == "other"
    cluster: Any = open_redis("rediss+cluster://user:word@one,two:7000")
    assert [(node.host, node.port) for node in cluster.startup_nodes] == [("one", 6379), ("two", 7000)]
    assert {node.connection_class for node in cluster.startup_nodes} == {SSLConnection}
    assert {node.connection_kwargs["username"] for node in cluster.startup_nodes} == {"user"}
    await watched.aclose()
    await cluster.aclose()
