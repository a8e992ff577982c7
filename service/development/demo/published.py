"""The last part of the story: what it changed has been published, in the order in which it happened."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import TYPE_CHECKING, cast

from events.consumer import read
from events.stream import BEFORE_ALL, open_redis, position_of
from service.development.demo.cast import NotAsTold

if TYPE_CHECKING:
    from events.envelope import PublishedChange
    from service.development.demo.cast import Stage

PATIENCE = 5.0
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


async def the_events_came_out(stage: Stage, sheet: str, after: int) -> None:
    """Read the events behind position `after` from the stream, until those of the story are there."""
    stage.transcript.step("A subscriber reads what happened from the Redis stream")
    stage.transcript.say(f"> XRANGE {stage.house.stream} {after + 1}-1 +")
    found = await _events(stage, after)
    deadline = time.monotonic() + PATIENCE
    while not _whole(found, sheet):
        if time.monotonic() > deadline:
            week = ", ".join(one.type for one in found if one.subject == sheet)
            raise NotAsTold(f"After {PATIENCE:.0f} s the stream tells of Ana's week: {week or 'nothing'}")
        await asyncio.sleep(0.1)
        found = await _events(stage, after)
    if any(one.previous != before.position for before, one in pairwise(found)):
        raise NotAsTold("An event is missing or out of order")
    rows = [(str(one.position), one.type, one.subject[-12:], one.leaf[:16]) for one in found]
    stage.transcript.table(("position", "type", "subject ...", "leaf hash ..."), rows)
    stage.transcript.say("Each names the position of the one before it, so that a consumer notices a hole.")


def _whole(found: list[PublishedChange], sheet: str) -> bool:
    """Whether all of Ana's week is there, and behind it the change of the policy and back."""
    week = [one for one in found if one.subject == sheet]
    policy = [one.type for one in found if one.type.startswith("policy.") and week and one.position > week[-1].position]
    return tuple(one.type for one in week) == WEEK and tuple(policy) == POLICY


async def _events(stage: Stage, after: int) -> list[PublishedChange]:
    redis = open_redis(stage.house.redis_url)
    try:
        return await read(redis, stage.house.stream, after, 1000)
    finally:
        await redis.aclose()
