"""Upkeep of the stream: how far each group is, what was given up, whether the stream equals the log, and trimming.

The stream and its groups are durable in Redis; nothing here is. Postgres is the truth: an event that was trimmed can be
read from the service.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import TYPE_CHECKING, cast

import structlog
from redis.exceptions import ResponseError

from events.consumer import WHOLE, read, whole_key
from events.envelope import parse
from events.stream import BEFORE_ALL, FIELD, REDIS_ERRORS, id_of, position_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from redis.asyncio import Redis

    from events.envelope import PublishedChange

    ReadChanges = Callable[[int, int], Awaitable[Sequence[PublishedChange]]]
    ReadChange = Callable[[int], Awaitable[PublishedChange | None]]

# Entries in one command, so that Redis serves others in between.
BATCH = 500
SECONDS_BETWEEN_TRIMS = 60.0
# Redis counts the entries that a group has not got, and stops here.
MAX_COUNTED = 10_000
# Redis's own `lag` of a group is often unknown. ARGV: the last delivered id, and the bound.
BEHIND = "return #redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GroupProgress:
    """How far a consumer group is. Positions are those of the log, -1 before the first event.

    `delivered`: up to where events were delivered. `behind`: events after it, counted up to MAX_COUNTED. `pending`:
    deliveries that are not acknowledged; the oldest of them stands at `oldest_pending`.
    """

    name: str
    members: int
    delivered: int
    behind: int
    pending: int
    oldest_pending: int | None

    @property
    def needed_from(self) -> int:
        """The first position that the group may still need."""
        return self.delivered + 1 if self.oldest_pending is None else self.oldest_pending


@dataclass(frozen=True, slots=True)
class DeadEvent:
    """An event that a group gave up: its `id` in the dead-letter stream, its position, the group, the error, and the
    event as bytes. `is_whole`: no event before it was missing, or the group was told."""

    id: str
    position: int
    group: str
    error: str
    event: bytes
    is_whole: bool


@dataclass(frozen=True, slots=True)
class StreamState:
    """How many events a stream holds, the position of its newest event (-1: it never had one), how many events of it
    were given up, and its groups by name."""

    length: int
    position: int
    dead: int
    groups: Sequence[GroupProgress]


async def read_state(redis: Redis, stream: str) -> StreamState:
    """The state of the stream, also if there is none."""
    dead = await redis.xlen(_dead(stream))
    try:
        info = await redis.xinfo_stream(stream)
    except ResponseError as error:
        if "no such key" not in str(error):
            raise
        return StreamState(0, BEFORE_ALL, dead, [])
    groups = await read_groups(redis, stream)
    return StreamState(info["length"], position_of(info["last-generated-id"]), dead, groups)


async def read_groups(redis: Redis, stream: str) -> list[GroupProgress]:
    """The groups of the stream by name; none if there is no stream."""
    try:
        found = await redis.xinfo_groups(stream)
    except ResponseError as error:
        if "no such key" in str(error):
            return []
        raise
    groups = []
    for group in found:
        summary = await redis.xpending(stream, group["name"])
        oldest = summary["min"]
        groups.append(
            GroupProgress(
                group["name"].decode(),
                group["consumers"],
                position_of(group["last-delivered-id"]),
                await redis.register_script(BEHIND)(keys=[stream], args=[group["last-delivered-id"], MAX_COUNTED]),
                summary["pending"],
                None if oldest is None else position_of(oldest),
            )
        )
    return sorted(groups, key=lambda group: group.name)


async def list_dead(
    redis: Redis, stream: str, *, after: str | None = None, only: str | None = None, limit: int = 100
) -> list[DeadEvent]:
    """Up to `limit` events that were given up, oldest first: those after the id `after`, or the `only` one."""
    start = only or (f"({after}" if after else "-")
    found = await redis.xrange(_dead(stream), min=start, max=only or "+", count=limit)
    return [
        DeadEvent(
            entry_id.decode(),
            position_of(fields[b"id"]),
            fields[b"group"].decode(errors="replace"),
            fields[b"error"].decode(errors="replace"),
            fields.get(FIELD, b""),
            WHOLE in fields,
        )
        for entry_id, fields in cast("list[tuple[bytes, dict[bytes, bytes]]]", found)
    ]


async def replay_dead(redis: Redis, stream: str, dead: DeadEvent, member: str) -> bool:
    """Give the event to its group again, and remove it from the dead-letter stream. False if the event was trimmed, or
    its group was removed.

    It becomes a pending delivery of `member` that looks stale, so the next member that looks for stale ones takes it.
    Events before it may have been trimmed since it was given up. That is no hole, if the group takes it within a day.
    """
    entry = id_of(dead.position)
    whole = whole_key(stream, dead.group, entry)
    if dead.is_whole:
        await redis.set(whole, 1, ex=timedelta(days=1))
    # Idle for a day, delivered never: any member may take it over, and it has all of its deliveries.
    try:
        claimed = await redis.xclaim(
            stream, dead.group, member, 0, [entry], idle=86_400_000, retrycount=0, force=True, justid=True
        )
    except ResponseError as error:
        if "NOGROUP" not in str(error):
            raise
        claimed = []
    if not claimed:
        await redis.delete(whole)
        return False
    await redis.xdel(_dead(stream), dead.id)
    return True


@dataclass(frozen=True, slots=True)
class StreamComparison:
    """The stream beside the log, from the stream's first event on: how many events are equal, what differs first (None
    if nothing does), and whether the log has changes that are not published yet."""

    equal: int
    difference: str | None
    unpublished: bool


async def compare_with_log(
    redis: Redis, stream: str, read_changes: ReadChanges, say: Callable[[int], None]
) -> StreamComparison:
    """Compare every event of the stream with the log, in order. `say` gets the number of equal events as it grows."""
    first = await read(redis, stream, count=1)
    after = first[0].position - 1 if first else BEFORE_ALL
    equal = 0
    while events := await read(redis, stream, after, BATCH):
        changes = await read_changes(after, len(events))
        for event, change in zip_longest(events, changes):
            if change is None or change.same_record != event.same_record:
                return StreamComparison(equal, _describe_difference(event, change), unpublished=False)
            equal += 1
        after = events[-1].position
        say(equal)
    return StreamComparison(equal, None, unpublished=bool(await read_changes(after, 1)))


def _describe_difference(event: PublishedChange, change: PublishedChange | None) -> str:
    if change is None:
        return f"the stream has an event at position {event.position}, and the log has no change from there on"
    if change.position < event.position:
        return f"the log has a change at position {change.position} that is not in the stream"
    if change.position > event.position:
        return f"the stream has an event at position {event.position}, where the log has no change"
    return f"stream and log have different records at position {event.position}"


class Trimmer:
    """Drops events that are older than `keep`, that every group has acknowledged, and that the log still holds.

    The last acknowledged event stays: a consumer looks for it when the next event is delivered again, and reports a gap
    if it is missing. A group that no longer consumes keeps the stream from shrinking; `read_groups` shows it.
    """

    def __init__(self, redis: Redis, stream: str, keep: timedelta, *, read_change: ReadChange) -> None:
        self._redis = redis
        self._stream = stream
        self._keep = keep
        self._read_change = read_change

    async def run(self, stop: asyncio.Event, log_errors: tuple[type[Exception], ...] = ()) -> None:
        """Trim once a minute until `stop` is set. An error is logged, and the next minute tries again."""
        errors: tuple[type[Exception], ...] = (*REDIS_ERRORS, ValueError, *log_errors)
        while not stop.is_set():
            try:
                while trimmed := await self.step():
                    _log.info("events_trimmed", stream=self._stream, events=trimmed)
            except errors as error:
                _log.warning("events_not_trimmed", stream=self._stream, problem=type(error).__name__)
            try:
                async with asyncio.timeout(SECONDS_BETWEEN_TRIMS):
                    await stop.wait()
            except TimeoutError:
                continue

    async def step(self) -> int:
        """Trim fewer than BATCH events; returns how many."""
        groups = await read_groups(self._redis, self._stream)
        before = datetime.now(UTC) - self._keep
        events = await read(self._redis, self._stream, count=BATCH)
        acknowledged = [event for event in events if all(event.position < group.needed_from for group in groups)]
        # The last one stays. It may also be the last event of the stream, which the relay compares with the log.
        old = [event for event in acknowledged[:-1] if event.time < before]
        if not old:
            return 0
        known = await self._read_change(old[-1].position)
        # A pruned record has no type: consumers could not read that event again.
        if known is None or known.same_record != old[-1].same_record or not known.type:
            return 0
        return int(await self._redis.xtrim(self._stream, minid=id_of(old[-1].position + 1), approximate=False))


def describe(event: bytes) -> dict[str, object]:
    """Type, subject and time of an event; only that it is none, if its bytes are not one of ours."""
    try:
        change = parse(event)
    except ValueError as error:
        return {"problem": str(error)}
    return {"type": change.type, "subject": change.subject, "time": change.time.isoformat()}


def _dead(stream: str) -> str:
    """The dead-letter stream of `Consumer`."""
    return f"{stream}:dead"
