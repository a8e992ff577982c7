"""Upkeep of the event stream: progress of groups, events that were given up, comparison with the log, and trimming."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from events import upkeep
from events.consumer import Consumer
from events.stream import id_of
from events.upkeep import Trimmer, compare_with_log, list_dead, read_groups, replay_dead
from service.commands.events import events
from tests.integration.event_stream import entries, publish_all

if TYPE_CHECKING:
    from uuid import UUID

    from events.envelope import PublishedChange
    from tests.integration.event_stream import EventStream

pytest_plugins = ["tests.integration.log_fixtures"]
NOW, DAY = timedelta(0), timedelta(days=1)


class Member:
    """A member of the group `billing` that stores what it handles. Fails for `poison`, and if `is_deaf` for holes."""

    def __init__(self, stream: EventStream, deliveries: int = 5) -> None:
        self.handled: list[UUID] = []
        self.holes: list[tuple[int, int]] = []
        self.poison: set[UUID] = set()
        self.is_deaf = False
        self.consumer = Consumer(
            stream.redis, stream.stream, "billing", "first", self._handle, on_gap=self._note_hole,
            deliveries=deliveries, stale_after=0.0, block=0.01,
        )  # fmt: skip

    async def consume(self) -> None:
        await self.consumer.step()
        while await self.consumer.step():
            pass

    async def _handle(self, change: PublishedChange) -> None:
        if change.uid in self.poison:
            raise LookupError
        self.handled.append(change.uid)

    async def _note_hole(self, after: int, before: int) -> None:
        if self.is_deaf:
            raise LookupError
        self.holes.append((after, before))


def trimmer(stream: EventStream, keep: timedelta) -> Trimmer:
    return Trimmer(stream.redis, stream.stream, keep, read_change=stream.feed.read_change)


async def count(stream: EventStream) -> int:
    return len(await entries(stream.redis, stream.stream))


async def test_old_events_that_every_group_acknowledged_are_trimmed_but_the_last(event_stream: EventStream) -> None:
    await event_stream.change(6)
    await publish_all(event_stream.relay())
    member = Member(event_stream)
    await member.consume()
    assert await trimmer(event_stream, DAY).step() == 0
    assert await trimmer(event_stream, NOW).step() == 5
    assert await count(event_stream) == 1
    await event_stream.change(2)
    await publish_all(event_stream.relay())
    await member.consume()
    assert len(member.handled) == 8
    assert member.holes == []


async def test_the_last_event_stays_in_a_stream_as_long_as_a_batch(
    event_stream: EventStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "BATCH", 3)
    await event_stream.change(3)
    await publish_all(event_stream.relay())
    while await trimmer(event_stream, NOW).step():
        pass
    assert await count(event_stream) == 1


async def test_an_event_that_a_group_has_not_acknowledged_stays_with_the_one_before_and_all_after_it(
    event_stream: EventStream,
) -> None:
    made = await event_stream.change(5)
    await publish_all(event_stream.relay())
    member = Member(event_stream)
    member.poison = {made[2]}
    await member.consumer.step()
    await member.consumer.step()
    [group] = await read_groups(event_stream.redis, event_stream.stream)
    assert (group.name, group.members, group.behind, group.pending) == ("billing", 1, 0, 1)
    assert await trimmer(event_stream, NOW).step() == 1
    assert await count(event_stream) == 4


@pytest.mark.parametrize("trimmed_after", ["its publication", "its first delivery"])
async def test_trimming_makes_no_gap_before_an_event_that_is_delivered_again(
    event_stream: EventStream, trimmed_after: str
) -> None:
    made = await event_stream.change(6)
    await publish_all(event_stream.relay())
    member = Member(event_stream)
    await member.consume()
    made += await event_stream.change(2)
    await publish_all(event_stream.relay())
    member.poison = {made[6]}
    if trimmed_after == "its publication":
        await trimmer(event_stream, NOW).step()
    await member.consumer.step()
    if trimmed_after == "its first delivery":
        await trimmer(event_stream, NOW).step()
    member.poison.clear()
    await member.consume()
    assert sorted(member.handled) == sorted(made)
    assert member.holes == []
    assert await event_stream.list_uids() == made[5:]


async def test_the_slowest_group_says_how_far_is_trimmed_over_several_batches(
    event_stream: EventStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "BATCH", 3)
    made = await event_stream.change(9)
    await publish_all(event_stream.relay())
    member = Member(event_stream)
    await member.consume()
    sixth = (await event_stream.feed.read_changes(-1, 9))[5]
    await event_stream.redis.xgroup_create(event_stream.stream, "slow", id=id_of(sixth.position))
    while await trimmer(event_stream, NOW).step():
        pass
    assert await event_stream.list_uids() == made[5:]


async def test_a_group_that_reads_nothing_keeps_every_event(event_stream: EventStream) -> None:
    await event_stream.change(3)
    await publish_all(event_stream.relay())
    await event_stream.redis.xgroup_create(event_stream.stream, "asleep", id="0-0")
    assert await trimmer(event_stream, NOW).step() == 0
    [group] = await read_groups(event_stream.redis, event_stream.stream)
    assert (group.name, group.delivered, group.behind, group.oldest_pending) == ("asleep", -1, 3, None)


async def test_nothing_is_trimmed_that_the_log_does_not_hold(event_stream: EventStream) -> None:
    await event_stream.change(4)
    await publish_all(event_stream.relay())
    await event_stream.restore_postgres(2)
    assert await trimmer(event_stream, NOW).step() == 0
    assert await count(event_stream) == 4


async def test_a_stream_equals_the_log_until_one_of_them_is_changed(event_stream: EventStream) -> None:
    await event_stream.change(5)
    said: list[int] = []

    async def compare() -> tuple[int, str | None, bool]:
        found = await compare_with_log(
            event_stream.redis, event_stream.stream, event_stream.feed.read_changes, said.append
        )
        return found.equal, found.difference, found.unpublished

    assert await compare() == (0, None, True)
    await publish_all(event_stream.relay())
    assert await compare() == (5, None, False)
    assert said == [5]
    third = (await entries(event_stream.redis, event_stream.stream))[2][0]
    await event_stream.redis.xdel(event_stream.stream, third)
    equal, difference, _ = await compare()
    assert equal == 2
    assert difference is not None
    assert "that is not in the stream" in difference
    await trimmer(event_stream, NOW).step()
    assert await compare() == (1, None, False)
    await event_stream.restore_postgres(2)
    assert (await compare())[1] is not None


async def test_an_event_that_was_given_up_is_handled_after_its_replay(event_stream: EventStream) -> None:
    made = await event_stream.change(3)
    await publish_all(event_stream.relay())
    member = Member(event_stream, deliveries=2)
    member.poison = {made[1]}
    await member.consume()
    [dead] = await list_dead(event_stream.redis, event_stream.stream)
    assert (dead.group, dead.error) == ("billing", "LookupError")
    assert dead.position == (await event_stream.feed.read_changes(-1, 3))[1].position
    member.poison.clear()
    assert await replay_dead(event_stream.redis, event_stream.stream, dead, "operator")
    await member.consume()
    assert made[1] in member.handled
    assert await list_dead(event_stream.redis, event_stream.stream) == []
    assert not (await read_groups(event_stream.redis, event_stream.stream))[0].pending


async def test_a_replayed_event_reports_no_hole_where_the_events_before_it_were_handled_and_trimmed(
    event_stream: EventStream,
) -> None:
    made = await event_stream.change(3)
    await publish_all(event_stream.relay())
    member = Member(event_stream, deliveries=2)
    member.poison = {made[2]}
    await member.consume()
    assert await trimmer(event_stream, NOW).step() == 2
    # It fails once more after its replay, and is given up and replayed again.
    for _ in range(2):
        [dead] = await list_dead(event_stream.redis, event_stream.stream)
        assert await replay_dead(event_stream.redis, event_stream.stream, dead, "operator")
        await member.consume()
    member.poison.clear()
    [dead] = await list_dead(event_stream.redis, event_stream.stream)
    assert await replay_dead(event_stream.redis, event_stream.stream, dead, "operator")
    await member.consume()
    assert (member.handled, member.holes) == (made, [])


async def test_a_replayed_event_reports_a_hole_that_nobody_could_be_told(event_stream: EventStream) -> None:
    made = await event_stream.change(3)
    await publish_all(event_stream.relay())
    first, second, _ = await event_stream.feed.read_changes(-1, 3)
    await event_stream.redis.xdel(event_stream.stream, id_of(second.position))
    member = Member(event_stream, deliveries=1)
    member.is_deaf = True
    await member.consume()
    member.is_deaf = False
    [dead] = await list_dead(event_stream.redis, event_stream.stream)
    assert await replay_dead(event_stream.redis, event_stream.stream, dead, "operator")
    await member.consume()
    assert (member.handled, member.holes) == ([made[0], made[2]], [(first.position, dead.position)])


async def test_an_event_that_was_trimmed_cannot_be_replayed_and_stays_given_up(event_stream: EventStream) -> None:
    made = await event_stream.change(3)
    await publish_all(event_stream.relay())
    member = Member(event_stream, deliveries=1)
    member.poison = {made[0]}
    await member.consume()
    [dead] = await list_dead(event_stream.redis, event_stream.stream)
    await event_stream.redis.xtrim(event_stream.stream, minid=id_of(dead.position + 1), approximate=False)
    assert not await replay_dead(event_stream.redis, event_stream.stream, dead, "operator")
    await event_stream.redis.xgroup_destroy(event_stream.stream, "billing")
    assert not await replay_dead(event_stream.redis, event_stream.stream, dead, "operator")
    assert await list_dead(event_stream.redis, event_stream.stream) == [dead]


async def test_the_commands_tell_people_and_machines_the_same(
    event_stream: EventStream, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await event_stream.change(3)
    await publish_all(event_stream.relay())
    member = Member(event_stream, deliveries=1)
    member.poison = {made[0]}
    await member.consume()
    monkeypatch.setenv("TIMEWARDEN_DATABASE_URL", event_stream.log_database.url("auditor"))
    monkeypatch.setenv("TIMEWARDEN_REDIS_URL", redis_url)
    monkeypatch.setenv("TIMEWARDEN_EVENT_STREAM", event_stream.stream.rpartition(":")[0])

    async def run(*words: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner().invoke, events, list(words))
        return result.exit_code, result.output

    assert "billing" in (await run("lag"))[1]
    assert json.loads((await run("lag", "--json"))[1])[0]["behind"] == 0
    assert (await run("verify")) == (0, "3 events equal the log.\n")
    [dead] = json.loads((await run("dead", "list", "--json"))[1])
    assert (dead["type"], dead["error"]) == ("timesheet.edited", "LookupError")
    assert dead["id"] in (await run("dead", "list"))[1]
    assert json.loads((await run("dead", "show", dead["id"]))[1])["event"]
    assert (await run("dead", "show", "latest"))[0] == 2
    assert (await run("dead", "show", "1-1"))[0] == 1
    member.poison.clear()
    assert (await run("dead", "replay", dead["id"])) == (0, "The group gets the event again.\n")
    await member.consume()
    assert made[0] in member.handled
    await event_stream.redis.xdel(event_stream.stream, id_of(dead["position"] + 2))
    code, output = await run("verify")
    assert (code, "They differ" in output) == (1, True)
