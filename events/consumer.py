"""The loop of a consumer in a consumer group. Durable in Redis: deliveries that are not yet acknowledged.

Delivery is at least once: the handler runs again for an event if its process died or it raised, so it must recognise
`change.uid`. A repeated event may come after newer ones of its subject; compare `position`. Redis is only transport:
`on_gap` is called, at least once, for events that the stream may have lost; fetch those from the service. A repeated
call may name a larger gap.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from redis.exceptions import ResponseError

from events.envelope import PublishedChange, parse
from events.stream import BEFORE_ALL, FIELD, NO_ENTRY, REDIS_ERRORS, id_of, position_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from redis.asyncio import Redis

    Handler: TypeAlias = Callable[[PublishedChange], Awaitable[None]]
    OnGap: TypeAlias = Callable[[int, int], Awaitable[None]]
    Fields: TypeAlias = Mapping[bytes, bytes]
    Entries: TypeAlias = list[tuple[bytes, Fields]]

SECONDS_BETWEEN_TRIES = 1.0
# In the dead-letter stream, the field of an event before which no event is missing that `on_gap` was not told of.
WHOLE = b"whole"


class Consumer:
    """A member of a group. `handle` gets each event. `on_gap(after, before)` is called before the event at position
    `before` when events after position `after` are missing. After `deliveries` failures an event goes to
    `<stream>:dead`. A delivery that is not acknowledged within `stale_after` seconds has failed, and a member takes it
    over: `handle` must need less time. A step handles up to `count` new events. A read waits up to `block` seconds,
    which must be less than the client's timeout."""

    def __init__(
        self,
        redis: Redis,
        stream: str,
        group: str,
        name: str,
        handle: Handler,
        *,
        on_gap: OnGap,
        deliveries: int = 5,
        stale_after: float = 30.0,
        count: int = 64,
        block: float = 1.0,
    ) -> None:
        self._redis = redis
        self._stream = stream
        self._group = group
        self._name = name
        self._handle = handle
        self._on_gap = on_gap
        self._deliveries = deliveries
        self._stale = int(stale_after * 1000)
        self._count = count
        self._block = int(block * 1000)

    @property
    def dead(self) -> str:
        """The dead-letter stream: events that were given up."""
        return f"{self._stream}:dead"

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set; retries while Redis is unavailable."""
        while not stop.is_set():
            try:
                await self.step()
            except REDIS_ERRORS:
                await asyncio.sleep(SECONDS_BETWEEN_TRIES)

    async def step(self) -> int:
        """Take over stale deliveries, then read new events. Returns how many events were handled or given up."""
        try:
            done = await self._take_over()
            return done + await self._read_new()
        except ResponseError as error:
            if "NOGROUP" not in str(error) and "no such key" not in str(error):
                raise
        await self._make_group()
        return 0

    async def _make_group(self) -> None:
        try:
            await self._redis.xgroup_create(self._stream, self._group, id=NO_ENTRY, mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _take_over(self) -> int:
        """Deliver stale events again. Each is claimed when its turn comes, because a claim counts as a delivery and an
        event that waited after its claim could become stale again."""
        pending = await self._redis.xpending_range(
            self._stream, self._group, min="-", max="+", count=self._count, idle=self._stale
        )
        done, reported = 0, BEFORE_ALL
        for entry in pending:
            entry_id = cast("bytes", entry["message_id"])
            # Look before the claim: since Redis 7, a claim makes a trimmed event no longer pending.
            if await self._redis.xrange(self._stream, entry_id, entry_id):
                done += await self._claim(entry_id, int(entry["times_delivered"]))
            else:
                await self._forget(entry_id, reported)
                reported = position_of(entry_id)
        return done

    async def _claim(self, entry_id: bytes, deliveries: int) -> int:
        """Deliver a stale event again, or give it up if it had all its deliveries. Returns 0 if another member claimed
        or acknowledged it meanwhile, else 1."""
        claimed = await self._redis.xclaim(self._stream, self._group, self._name, self._stale, [entry_id])
        found = [fields for _, fields in cast("Entries", claimed) if fields]
        for fields in found:
            if deliveries >= self._deliveries:
                await self._bury(entry_id, fields, "no delivery was acknowledged")
            else:
                await self._deliver(entry_id, fields, deliveries + 1)
        return len(found)

    async def _forget(self, entry_id: bytes, reported: int) -> None:
        """Acknowledge a pending event that was trimmed from the stream before it was handled. `on_gap` may have failed
        for events before it, so the gap begins after the last one that the stream still has, or after the position
        `reported`, up to which this step reported gaps."""
        after = max(await self._position_before(entry_id), reported)
        await self._on_gap(after, position_of(entry_id) + 1)
        await self._redis.xack(self._stream, self._group, entry_id)

    async def _read_new(self) -> int:
        """Read events one by one. Events that waited in this member could become stale, though their handler did not
        fail, while other members have nothing to do."""
        delivered = await self._last_delivered()
        for done in range(self._count):
            answer = await self._redis.xreadgroup(
                self._group, self._name, {self._stream: ">"}, count=1, block=None if done else self._block
            )
            if not answer:
                return done
            [(entry_id, fields)] = cast("Entries", cast("Any", answer)[0][1])
            await self._deliver(entry_id, fields, 1, delivered)
            delivered = position_of(entry_id)
        return self._count

    async def _last_delivered(self) -> int:
        """The position up to which events were delivered to this group."""
        for group in await self._redis.xinfo_groups(self._stream):
            if group["name"] == self._group.encode():
                return position_of(group["last-delivered-id"])
        raise ResponseError("NOGROUP")

    async def _deliver(self, entry_id: bytes, fields: Fields, delivery: int, delivered: int | None = None) -> None:
        try:
            change = parse(fields.get(FIELD, b""))
        except ValueError as error:
            await self._bury(entry_id, fields, str(error))
            return
        is_whole = False
        try:
            await self._check_gap(entry_id, change, delivered)
            is_whole = True
            await self._handle(change)
        except Exception as error:  # noqa: BLE001 - an event is not handled if the handler raises anything
            if delivery >= self._deliveries:
                await self._bury(entry_id, fields, type(error).__name__, is_whole=is_whole)
            return
        await self._redis.xack(self._stream, self._group, entry_id)
        if delivered is None:
            await self._redis.delete(whole_key(self._stream, self._group, entry_id.decode()))

    async def _check_gap(self, entry_id: bytes, change: PublishedChange, delivered: int | None) -> None:
        """Call `on_gap` if events before this one are missing. `delivered` is a position up to which events were
        delivered to the group; None for a repeated event, as `on_gap` may have failed the first time."""
        if change.previous is None or (delivered is not None and change.previous <= delivered):
            return
        before = id_of(change.previous)
        # An entry before this event was delivered to the group too, perhaps to another member. Before an event that was
        # given up and replayed, it may have been trimmed since.
        if not await self._redis.xrange(self._stream, before, before):
            if delivered is None and await self._redis.exists(whole_key(self._stream, self._group, entry_id.decode())):
                return
            after = await self._position_before(entry_id) if delivered is None else delivered
            await self._on_gap(after, change.position)

    async def _position_before(self, entry_id: bytes) -> int:
        """The position of the last event before an entry that the stream has; BEFORE_ALL if it has none."""
        found = await self._redis.xrevrange(self._stream, max=b"(" + entry_id, min="-", count=1)
        return position_of(cast("Entries", found)[0][0]) if found else BEFORE_ALL

    async def _bury(self, entry_id: bytes, fields: Fields, error: str, *, is_whole: bool = False) -> None:
        """Copy the event to the dead-letter stream with the error, then acknowledge it. A crash in between can copy it
        twice: in a Redis Cluster the two streams may be on different nodes, so they have no common transaction.
        `is_whole`: no event before it is missing, or `on_gap` was told."""
        note = {b"id": entry_id, b"group": self._group.encode(), b"error": error.encode()}
        note |= {WHOLE: b"1"} if is_whole else {}
        await self._redis.xadd(self.dead, cast("Any", {**fields, **note}))
        await self._redis.xack(self._stream, self._group, entry_id)


def whole_key(stream: str, group: str, entry_id: str) -> str:
    """The key that is set while a replayed event of the group needs no `on_gap`."""
    return f"{stream}:whole:{group}:{entry_id}"


async def read(redis: Redis, stream: str, after: int = BEFORE_ALL, count: int = 100) -> list[PublishedChange]:
    """Up to `count` events after position `after`, oldest first. Raises ValueError for an entry that is not an
    event."""
    entries = await redis.xrange(stream, min=f"{after + 1}-1", max="+", count=count)
    return [parse(fields[FIELD]) for _, fields in cast("Entries", entries)]
