"""A consumer group: at-least-once delivery, dead letters, and gaps."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest

from events.consumer import Consumer
from events.stream import id_of
from service.log.partitions import add_partition
from service.log.retention import prune
from tests.integration.event_stream import entries, publish_all
from tests.integration.test_retention import NOVEMBER, SOON
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import Collection
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


async def make_stale(event_stream: EventStream, spared: Collection[bytes]) -> None:
    """As if every pending delivery had waited for a day, except for those of `spared`."""
    redis, stream = event_stream.redis, event_stream.stream
    for entry in await redis.xpending_range(stream, "billing", min="-", max="+", count=100):
        entry_id, owner = cast("bytes", entry["message_id"]), cast("bytes", entry["consumer"])
        if entry_id not in spared:
            await redis.xclaim(stream, "billing", owner, 0, [entry_id], idle=86_400_000, justid=True)


async def die_in_the_handler(member: Consumer) -> None:
    started = asyncio.Event()

    async def hang(change: PublishedChange) -> None:
        started.set()
        await asyncio.Event().wait()

    member._handle = hang
    stuck = asyncio.create_task(member.step())
    await started.wait()
    stuck.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await stuck


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


async def test_deliveries_of_dead_members_are_taken_over(event_stream: EventStream, subscriber: Subscriber) -> None:
    made = await event_stream.change(3)
    await publish_all(event_stream.relay())
    await subscriber.consumer().step()
    for name in ("first", "second", "third"):
        await die_in_the_handler(subscriber.consumer(name, stale_after=3600.0))
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


@pytest.mark.parametrize("read_by_a_dead_member", [False, True])
async def test_events_that_wait_while_others_are_handled_are_not_given_up(
    event_stream: EventStream,
    subscriber: Subscriber,
    read_by_a_dead_member: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    members = [subscriber.consumer(f"member {number}", stale_after=3600.0) for number in range(6)]
    await members[0].step()
    made = await event_stream.change(8)
    await publish_all(event_stream.relay())
    if read_by_a_dead_member:
        await event_stream.redis.xreadgroup("billing", "dead", {event_stream.stream: ">"})
    handling: list[bytes] = []
    running: list[asyncio.Task[None]] = []
    stop, finish = asyncio.Event(), asyncio.Event()

    async def handle(change: PublishedChange) -> None:
        handling.append(id_of(change.position).encode())
        await finish.wait()
        await subscriber.handle(change)

    async def count_dead() -> int:
        return int(await event_stream.redis.xlen(members[0].dead))

    async def each_handles_or_one_gave_up() -> bool:
        return len(handling) == len(running) or await count_dead() > 0

    async def nothing_is_left() -> bool:
        return len(subscriber.seen) + await count_dead() >= len(made) and await pending(event_stream) == 0

    for member in members:
        await make_stale(event_stream, spared=handling)
        member._handle = handle
        running.append(asyncio.create_task(member.run(stop)))
        await until(each_handles_or_one_gave_up)
    finish.set()
    await until(nothing_is_left)
    stop.set()
    await asyncio.gather(*running)
    assert await count_dead() == 0
    assert sorted(subscriber.seen) == sorted(made)


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
    assert subscriber.holes == [(-1, 4)]
    assert subscriber.seen == made[1:]


@pytest.mark.parametrize(("whole_beginning", "hole"), [(False, (2, 8)), (True, (-1, 8))])
async def test_a_gap_of_several_events_is_reported_again_as_a_whole(
    event_stream: EventStream,
    subscriber: Subscriber,
    whole_beginning: bool,  # noqa: FBT001 - a parameter of the test
    hole: tuple[int, int],
) -> None:
    await event_stream.change(1)
    await publish_all(event_stream.relay())
    for _ in range(2):
        await subscriber.consumer().step()
    await event_stream.change(3)
    await publish_all(event_stream.relay())
    lost = [id_of(position) for position in (2, 4, 6)]
    await event_stream.redis.xdel(event_stream.stream, *(lost if whole_beginning else lost[1:]))
    subscriber.deaf = True
    await subscriber.consumer().step()
    assert await pending(event_stream) == 1
    subscriber.deaf = False
    await subscriber.consumer().step()
    assert subscriber.holes == [hole]
    assert len(subscriber.seen) == 2
    assert await pending(event_stream) == 0


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
    assert subscriber.holes == [(-1, 3)]
    assert await pending(event_stream) == 0


async def test_a_gap_before_pending_events_that_were_trimmed_is_reported_again(
    event_stream: EventStream, subscriber: Subscriber
) -> None:
    made = await event_stream.change(4)
    await publish_all(event_stream.relay())
    await event_stream.redis.xdel(event_stream.stream, id_of(2))
    subscriber.deaf, subscriber.poison = True, {made[2]}
    consumer = subscriber.consumer()
    for _ in range(2):
        await consumer.step()
    assert await pending(event_stream) == 2
    await event_stream.redis.xtrim(event_stream.stream, minid=id_of(8), approximate=False)
    with pytest.raises(ConnectionError):
        await consumer.step()
    subscriber.deaf = False
    await consumer.step()
    assert subscriber.holes == [(-1, 5), (4, 7)]
    assert await pending(event_stream) == 0


async def test_events_that_another_member_got_are_no_gap(event_stream: EventStream, subscriber: Subscriber) -> None:
    consumer = subscriber.consumer(stale_after=3600.0)
    await consumer.step()
    made = await event_stream.change(4)
    await publish_all(event_stream.relay())

    async def handle(change: PublishedChange) -> None:
        await event_stream.redis.xreadgroup("billing", "other", {event_stream.stream: ">"}, count=1)
        await subscriber.handle(change)

    consumer._handle = handle
    assert await consumer.step() == 2
    assert subscriber.seen == [made[0], made[2]]
    assert subscriber.holes == []


async def test_pruned_changes_are_a_gap_after_a_lost_redis_was_filled_again(
    event_stream: EventStream, subscriber: Subscriber
) -> None:
    owner = await event_stream.log_database.connect("owner")
    await event_stream.change(3)
    await publish_all(event_stream.relay())
    await add_partition(owner, NOVEMBER)
    made = await event_stream.change(2)
    await event_stream.redis.flushdb()
    await prune(owner, datetime.now(UTC) + SOON, "1d")
    await publish_all(event_stream.relay())
    for _ in range(2):
        await subscriber.consumer().step()
    assert subscriber.seen == made
    assert subscriber.holes == [(-1, 8)]


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
