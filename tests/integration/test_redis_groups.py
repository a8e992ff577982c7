"""Events, rate limits, used proofs and hints through Redis Sentinel and Redis Cluster, with real servers."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio.connection import SSLConnection
from structlog.testing import capture_logs

from events.consumer import Consumer, read
from events.stream import REDIS_ERRORS, check_redis_url, open_redis
from events.upkeep import Trimmer, list_dead, read_groups, replay_dead
from service.authorization.active.hint import PolicyHint
from service.commands.doctor_checks import check_redis
from service.identity.used_proofs import UsedProofs
from service.settings import Settings
from service.web.http import rate_limits
from service.web.http.rate_limits import Counters
from tests.dpop_forge import proof_key
from tests.integration.api import InProcess, api
from tests.integration.event_stream import publish_all
from tests.redis_group import RedisGroup, redis_cluster, watched_redis
from tests.until import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from events.envelope import PublishedChange
    from tests.integration.event_stream import EventStream
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
# The error of a client that asks for the nodes of its cluster, and reaches none.
NO_NODE = "RedisClusterException"


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


def kill_all(group: RedisGroup) -> None:
    for port in group.servers:
        group.kill(port)


def restart_all(group: RedisGroup) -> None:
    for port in group.servers:
        group.restart(port)


async def test_while_a_whole_cluster_is_away_each_process_counts_alone_and_bound_tokens_get_503(
    house: House, issuer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every request tries Redis again. The first error is that of a lost connection, and only later errors are NO_NODE.
    monkeypatch.setattr(rate_limits, "RETRY_PAUSE_SECONDS", 0.0)
    key, rates = proof_key(), {"client_rate": 10, "address_rate": 10, "failed_authentication_weight": 5}

    async def ask_bound(running: InProcess) -> int:
        token = running.token(sub="auth0|bob", cnf={"jkt": key.thumbprint}, jti="bound")
        proof = key.proof("GET", "https://timewarden.example/v1/me", token).decode()
        headers = {"Authorization": f"DPoP {token}", "DPoP": proof}
        return (await running.send("GET", "/v1/me", headers=headers)).status_code

    async def ask(running: InProcess, times: int) -> list[int]:
        token = running.token()
        return [(await running.send("GET", "/v1/me", token)).status_code for _ in range(times)]

    with redis_cluster(tmp_path) as group:
        async with api(house, issuer, redis_url=group.url, **rates) as running:
            assert await ask_bound(running) == 200
            assert await ask(running, 1) == [200]
            kill_all(group)
            assert await ask(running, 12) == [200] * 10 + [429] * 2
            assert [await ask_bound(running) for _ in range(3)] == [503] * 3
            restart_all(group)

            async def is_accepted() -> bool:
                return await ask_bound(running) == 200

            await until(is_accepted)
        # A process that starts without the cluster.
        kill_all(group)
        async with api(house, issuer, redis_url=group.url, **rates) as running:
            assert await ask(running, 12) == [200] * 10 + [429] * 2
            assert [await ask_bound(running) for _ in range(3)] == [503] * 3


async def test_relay_and_consumer_wait_for_a_cluster_that_is_away_and_go_on(
    event_stream: EventStream, tmp_path: Path
) -> None:
    before = event_stream.redis
    handled: list[UUID] = []
    problems: list[str] = []

    async def handle(change: PublishedChange) -> None:
        handled.append(change.uid)

    async def on_gap(after: int, before: int) -> None:
        raise AssertionError(f"nothing is missing between {after} and {before}")

    class WatchedConsumer(Consumer):
        async def step(self) -> int:
            try:
                return await super().step()
            except Exception as error:
                problems.append(type(error).__name__)
                raise

    async def both_wait() -> bool:
        assert not relaying.done()
        assert not consuming.done()
        told = any(not ready and NO_NODE in detail for ready, detail in event_stream.reports)
        return told and problems.count(NO_NODE) > 1

    with redis_cluster(tmp_path) as group:
        redis = event_stream.redis = open_redis(group.url)
        stop, of_consumer = asyncio.Event(), open_redis(group.url)
        consumer = WatchedConsumer(of_consumer, event_stream.stream, "billing", "one", handle, on_gap=on_gap, block=0.1)
        relaying = asyncio.create_task(event_stream.relay().run(stop, 0.02))
        consuming = asyncio.create_task(consumer.run(stop))
        uids = await event_stream.change(3)

        async def all_handled() -> bool:
            # A delivery that the failure interrupted is repeated.
            assert not relaying.done()
            assert not consuming.done()
            return set(handled) == set(uids)

        await until(all_handled)
        kill_all(group)
        uids += await event_stream.change(3)
        await until(both_wait)
        # Nothing of this cluster is on disk, so the relay fills the stream again.
        restart_all(group)
        await until(all_handled)
        stop.set()
        await asyncio.gather(relaying, consuming)
        await event_stream.assert_published()
        await redis.aclose()
        await of_consumer.aclose()
    event_stream.redis = before


async def test_hints_trimming_and_the_doctor_outlast_a_cluster_that_is_away(
    event_stream: EventStream, tmp_path: Path
) -> None:
    stop, heard = asyncio.Event(), asyncio.Event()
    with redis_cluster(tmp_path) as group, capture_logs() as lines:
        kill_all(group)
        redis, hint = open_redis(group.url), PolicyHint(open_redis(group.url), "policy")
        trimmer = Trimmer(redis, event_stream.stream, timedelta(days=1), read_change=event_stream.feed.read_change)
        trimming = asyncio.create_task(trimmer.run(stop))
        listening = asyncio.create_task(hint.listen(heard.set))
        hint.publish(7)

        async def all_failed() -> bool:
            assert not trimming.done()
            assert not listening.done()
            failed = {line["event"] for line in lines if line.get("problem") == NO_NODE}
            return failed == {"events_not_trimmed", "policy_hint_lost", "policy_hint_not_told"}

        await until(all_failed)
        [finding] = [found async for found in check_redis(Settings(redis_url=group.url))]
        assert finding.found == f"does not answer: {NO_NODE}"
        restart_all(group)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await heard.wait()
        stop.set()
        await trimming
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await hint.close()
        await redis.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "http://host:6379/0",
        "redis+sentinel://:word@host:26379",
        "redis+sentinel://:word@host:26379/master/zero",
        "redis+cluster://:word@host:6379/1",
        "redis://:wo/rd@host:6379/0",
        "redis+cluster://:word@one:6379,two:port",
        "redis://:wo@rd/wo@host:6379/0",
        "redis://:wo@rd#wo@host:6379/0",
        "redis://host:6379/0?user=ana&password=word",
        "redis://host:6379/0?socket_timeout=word",
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
