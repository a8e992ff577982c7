"""A consumer group: at-least-once delivery, dead letters, and gaps."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from events.consumer import Consumer
from tests.integration.event_stream import entries, publish_all
from tests.until import until

if TYPE_CHECKING:
    from uuid import UUID

    from events.envelope import PublishedChange
    from tests.integration.event_stream import EventStream

pytest_plugins = ["tests.integration.log_fixtures"]


@dataclass(slots=True)
class Subscriber:
    """Stores events; raises for those in `poison`."""

    event_stream: EventStream
    seen: list[UUID] = field(default_factory=list)
    holes: list[tuple[int, int]] = field(default_factory=list)
    poison: set[UUID] = field(default_factory=set)
    deaf: bool = False

    def consumer(self, name: str = "one", **settings: Any) -> Consumer:
        stream = self.event_stream
        quick = {"block": 0.01, "stale_after": 0.0, **settings}
        return Consumer(stream.redis, stream.stream, "billing", name, self.handle, on_gap=self.on_gap, **quick)

    async def handle(self, change: PublishedChange) -> None:
        if change.uid in self.poison:
            raise LookupError
        self.seen.append(change.uid)

    async def on_gap(self, after: int, before: int) -> None:
        if self.deaf:
            raise ConnectionError
        self.holes.append((after, before))


@pytest.fixture
def subscriber(event_stream: EventStream) -> Subscriber:
    return Subscriber(event_stream)


async def pending(event_stream: EventStream) -> int:
    return int((await event_stream.redis.xpending(event_stream.stream, "billing"))["pending"])


async def test_every_event_is_handled_once_in_order_and_acknowledged(
    event_stream: EventStream, subscriber: Subscriber
) -> None:
    consumer = subscriber.consumer()
    assert await consumer.step() == 0
    made = await event_stream.change(7)
    await publish_all(event_stream.relay())
    assert await consumer.step() == 7
    assert await consumer.step() == 0
    assert subscriber.seen == made
    assert subscriber.holes == []
    assert await pending(event_stream) == 0


async def test_a_group_that_comes_later_starts_from_the_beginning(
    event_stream: EventStream, subscriber: Subscriber
) -> None:
    made = await event_stream.change(3)
    await publish_all(event_stream.relay())
    for _ in range(2):
        await subscriber.consumer().step()
    assert subscriber.seen == made


async def test_deliveries_of_a_dead_member_are_taken_over(event_stream: EventStream, subscriber: Subscriber) -> None:
    made = await event_stream.change(3)
    await publish_all(event_stream.relay())
    dying = subscriber.consumer("dying")
    await dying.step()
    started = asyncio.Event()

    async def hang(change: PublishedChange) -> None:
        started.set()
        await asyncio.Event().wait()

    dying._handle = hang
    stuck = asyncio.create_task(dying.step())
    await started.wait()
    stuck.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await stuck
    assert await pending(event_stream) == 3
    await subscriber.consumer("other").step()
    assert sorted(subscriber.seen) == sorted(made)
    assert await pending(event_stream) == 0


async def test_only_a_failed_event_is_delivered_again(event_stream: EventStream, subscriber: Subscriber) -> None:
    made = await event_stream.change(3)
    await publish_all(event_stream.relay())
    subscriber.poison = {made[1]}
    consumer = subscriber.consumer()
    for _ in range(2):
        await consumer.step()
    assert subscriber.seen == [made[0], made[2]]
    subscriber.poison = set()
    await consumer.step()
    assert subscriber.seen == [made[0], made[2], made[1]]
    assert await pending(event_stream) == 0


async def test_a_poison_event_goes_to_the_dead_letter_stream(event_stream: EventStream, subscriber: Subscriber) -> None:
    made = await event_stream.change(2)
    await publish_all(event_stream.relay())
    subscriber.poison = {made[0]}
    consumer = subscriber.consumer(deliveries=3)
    for _ in range(5):
        await consumer.step()
    assert subscriber.seen == [made[1]]
    assert await pending(event_stream) == 0
    ((_, fields),) = await entries(event_stream.redis, consumer.dead)
    assert fields[b"error"] == b"LookupError"
    assert fields[b"group"] == b"billing"
    ((original, kept), _) = await entries(event_stream.redis, event_stream.stream)
    assert (fields[b"id"], fields[b"ce"]) == (original, kept[b"ce"])


async def test_an_event_that_kills_its_consumer_goes_to_the_dead_letter_stream(
    event_stream: EventStream, subscriber: Subscriber
) -> None:
    await event_stream.change(1)
    await publish_all(event_stream.relay())
    consumer = subscriber.consumer(deliveries=2)
    await consumer.step()
    await event_stream.redis.xreadgroup("billing", "first", {event_stream.stream: ">"})
    await event_stream.redis.xautoclaim(event_stream.stream, "billing", "second", min_idle_time=0)
    await consumer.step()
    assert subscriber.seen == []
    assert await event_stream.redis.xlen(consumer.dead) == 1
    assert await pending(event_stream) == 0


async def test_a_malformed_event_goes_to_the_dead_letter_stream_at_once(
    event_stream: EventStream, subscriber: Subscriber
) -> None:
    await event_stream.redis.xadd(event_stream.stream, {"ce": "junk"}, id="1-0")
    consumer = subscriber.consumer()
    for _ in range(2):
        await consumer.step()
    assert await event_stream.redis.xlen(consumer.dead) == 1


async def test_events_trimmed_before_delivery_are_reported_as_a_gap(
    event_stream: EventStream, subscriber: Subscriber
) -> None:
    consumer = subscriber.consumer()
    await event_stream.change(1)
    await publish_all(event_stream.relay())
    for _ in range(2):
        await consumer.step()
    await event_stream.change(3)
    await publish_all(event_stream.relay())
    await event_stream.redis.xtrim(event_stream.stream, maxlen=1, approximate=False)
    await consumer.step()
    assert len(subscriber.seen) == 2
    assert subscriber.holes == [(2, 8)]
    missing = await event_stream.feed.read_changes(2, 10)
    assert [condition.position for condition in missing if condition.position < 8] == [4, 6]


async def test_a_gap_is_reported_again_if_the_callback_failed(
    event_stream: EventStream, subscriber: Subscriber
) -> None:
    made = await event_stream.change(2)
    await publish_all(event_stream.relay())
    await event_stream.redis.xdel(event_stream.stream, "3-0")
    subscriber.deaf = True
    for _ in range(2):
        await subscriber.consumer().step()
    assert subscriber.seen == []
    subscriber.deaf = False
    await subscriber.consumer().step()
    assert subscriber.holes == [(1, 4)]
    assert subscriber.seen == made[1:]


async def test_an_event_removed_from_the_middle_is_reported_as_a_gap(
    event_stream: EventStream, subscriber: Subscriber
) -> None:
    await event_stream.change(3)
    await publish_all(event_stream.relay())
    await event_stream.redis.xdel(event_stream.stream, "5-0")
    for _ in range(2):
        await subscriber.consumer().step()
    assert subscriber.holes == [(2, 6)]


async def test_a_pending_event_that_was_trimmed_is_reported_and_acknowledged(
    event_stream: EventStream, subscriber: Subscriber
) -> None:
    made = await event_stream.change(1)
    await publish_all(event_stream.relay())
    subscriber.poison = set(made)
    consumer = subscriber.consumer()
    for _ in range(2):
        await consumer.step()
    await event_stream.redis.xtrim(event_stream.stream, maxlen=0, approximate=False)
    await consumer.step()
    assert subscriber.holes == [(1, 3)]
    assert await pending(event_stream) == 0


async def test_after_a_flush_the_group_is_created_again(event_stream: EventStream, subscriber: Subscriber) -> None:
    relay, consumer = event_stream.relay(), subscriber.consumer()
    made = await event_stream.change(2)
    await publish_all(relay)
    for _ in range(2):
        await consumer.step()
    await event_stream.redis.flushdb()
    made += await event_stream.change(1)
    await publish_all(relay)
    for _ in range(2):
        await consumer.step()
    assert subscriber.seen == [*made[:2], *made]
    assert subscriber.holes == []


async def test_two_members_share_the_events(event_stream: EventStream, subscriber: Subscriber) -> None:
    stop = asyncio.Event()
    members = [subscriber.consumer(name, stale_after=30.0, count=2) for name in ("a", "b")]
    running = [asyncio.create_task(member.run(stop)) for member in members]
    made = await event_stream.change(30)
    await publish_all(event_stream.relay(batch=4))

    async def all_seen() -> bool:
        return len(subscriber.seen) == len(made)

    await until(all_seen)
    stop.set()
    await asyncio.gather(*running)
    assert sorted(subscriber.seen) == sorted(made)
