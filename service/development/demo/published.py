"""The last part of the story: its changes were published as events, in order."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import TYPE_CHECKING, cast

from events.consumer import read
from events.stream import BEFORE_ALL, open_redis, position_of
from service.development.demo.cast import DemoFailed

if TYPE_CHECKING:
    from events.envelope import PublishedChange
    from service.development.demo.cast import Stage

EVENT_SECONDS = 5.0
WEEK = ("timesheet.created", "timesheet.edited", "timesheet.edited", "timesheet.submitted", "timesheet.approved")
POLICY = ("policy.proposed", "policy.activated", "policy.activated")


async def last_position(stage: Stage) -> int:
    """The position of the newest event before the story."""
    redis = open_redis(stage.house.redis_url)
    try:
        newest = cast("list[tuple[bytes, object]]", await redis.xrevrange(stage.house.stream, count=1))
    finally:
        await redis.aclose()
    return position_of(newest[0][0]) if newest else BEFORE_ALL


async def read_the_events(stage: Stage, sheet: str, after: int) -> None:
    """Read the events after position `after` from the stream, until those of the story are there."""
    stage.transcript.step("A subscriber reads the events from the Redis stream")
    stage.transcript.say(f"> XRANGE {stage.house.stream} {after + 1}-1 +")
    found = await _read_events(stage, after)
    deadline = time.monotonic() + EVENT_SECONDS
    while not _is_complete(found, sheet):
        if time.monotonic() > deadline:
            week = ", ".join(event.type for event in found if event.subject == sheet)
            raise DemoFailed(f"After {EVENT_SECONDS:.0f} s the stream has of Ana's week: {week or 'nothing'}")
        await asyncio.sleep(0.1)
        found = await _read_events(stage, after)
    if any(event.previous != before.position for before, event in pairwise(found)):
        raise DemoFailed("An event is missing or out of order")
    rows = [(str(event.position), event.type, event.subject[-12:], event.leaf[:16]) for event in found]
    stage.transcript.table(("position", "type", "subject ...", "leaf hash ..."), rows)
    stage.transcript.say("Each event has the position of the previous one, so that a consumer notices a gap.")


def _is_complete(found: list[PublishedChange], sheet: str) -> bool:
    """Whether all events of Ana's week are there, and after them those of the policy."""
    week = [event for event in found if event.subject == sheet]
    later = [event for event in found if week and event.position > week[-1].position]
    policy = tuple(event.type for event in later if event.type.startswith("policy."))
    return tuple(event.type for event in week) == WEEK and policy == POLICY


async def _read_events(stage: Stage, after: int) -> list[PublishedChange]:
    redis = open_redis(stage.house.redis_url)
    try:
        return await read(redis, stage.house.stream, after, 1000)
    finally:
        await redis.aclose()
