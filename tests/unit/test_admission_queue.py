"""Admission under a clock of the test's own: who is worked on, who waits and for how long, who is refused."""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.web.http.admission_queue import MAX_WAITING, STANDING_SHARE, AdmissionQueue


@dataclass
class Scene:
    """A room with a clock, and the requests that wait in it."""

    at_once: int = 4
    bound: float = 1.0
    now: float = 0.0
    waiting: list[asyncio.Future[bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.room = AdmissionQueue(self.at_once, self.bound, clock=lambda: self.now)

    def arrive(self, address: str = "a") -> str:
        """What becomes of a request that comes now."""
        if self.room.enter():
            return "works"
        if self.room.refuses(address):
            return "refused"
        self.waiting.append(self.wait(address))
        return "waits"

    def wait(self, address: str = "a") -> asyncio.Future[bool]:
        granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.room.wait(address, granted)
        return granted

    def happen(self, what: str, number: int) -> None:
        """One step of a story; what cannot happen now does not."""
        if what == "arrive":
            self.arrive(f"address {number}")
        elif what == "expire":
            self.room.expire()
        elif what == "cancel" and self.waiting:
            self.waiting[number % len(self.waiting)].cancel()
        elif what in {"leave", "lend"} and self.room.working:
            self.room.leave()
            if what == "lend" and not self.room.enter():
                self.waiting.append(asyncio.get_running_loop().create_future())
                self.room.wait_again(self.waiting[-1])

    def learn(self, seconds: float) -> None:
        """Let the room see that a turn takes so long; all slots are held afterwards and nobody waits."""
        while self.room.enter():
            pass
        for _ in range(1_000):
            self.wait()
            self.now += seconds
            self.room.leave()


async def test_no_more_than_so_many_are_worked_on_at_once() -> None:
    scene = Scene(at_once=2)
    assert [scene.arrive() for _ in range(3)] == ["works", "works", "waits"]
    scene.room.leave()
    assert scene.waiting[0].result() is True
    assert scene.room.working == 2


async def test_a_slot_that_nobody_waits_for_is_free_again() -> None:
    scene = Scene(at_once=1)
    scene.arrive()
    scene.room.leave()
    assert (scene.room.working, scene.arrive()) == (0, "works")


async def test_who_would_wait_longer_than_the_bound_is_refused_at_once() -> None:
    scene = Scene()
    scene.learn(0.01)
    assert [scene.arrive() for _ in range(200)].count("waits") == pytest.approx(100, abs=1)


async def test_after_a_refusal_the_queue_is_kept_short_until_there_was_none_for_a_while() -> None:
    scene = Scene()
    scene.learn(0.01)
    while scene.arrive() != "refused":
        pass
    for _ in range(90):
        scene.now += 0.01
        scene.room.leave()
        assert scene.arrive() == "refused" or scene.room.waiting <= 100 * STANDING_SHARE + 1
    assert scene.room.waiting == pytest.approx(100 * STANDING_SHARE, abs=2)
    for _ in range(scene.room.waiting):
        scene.room.leave()
    scene.now += scene.bound
    assert [scene.arrive() for _ in range(200)].count("waits") > 50


async def test_addresses_take_turns_so_that_a_flood_delays_nobody_else() -> None:
    scene = Scene()
    scene.learn(0.001)
    for _ in range(100):
        scene.arrive("flood")
    quiet = scene.wait("quiet")
    for _ in range(2):
        scene.room.leave()
    assert quiet.result() is True


async def test_a_flood_has_nobody_else_refused() -> None:
    scene = Scene()
    scene.learn(0.01)
    while scene.arrive("flood") != "refused":
        pass
    assert scene.arrive("quiet") == "waits"


async def test_who_waited_as_long_as_the_bound_is_told_so() -> None:
    scene = Scene(at_once=1)
    scene.arrive()
    scene.arrive()
    scene.now += 0.6
    scene.arrive("b")
    scene.now += 0.4
    scene.room.expire()
    assert [one.done() and one.result() for one in scene.waiting] == [False, False]
    assert [one.done() for one in scene.waiting] == [True, False]
    scene.room.leave()
    assert scene.waiting[1].result() is True


async def test_when_nothing_ends_any_more_newcomers_do_not_wait() -> None:
    scene = Scene(at_once=1)
    scene.learn(0.001)
    assert scene.arrive("a") == "waits"
    scene.now += 1.1
    assert scene.arrive("b") == "refused"


async def test_a_late_event_loop_counts_as_waiting() -> None:
    scene = Scene(at_once=1)
    scene.arrive()
    scene.room.lag = 1.5
    assert scene.arrive() == "refused"


async def test_the_first_turns_say_little_so_that_a_slow_start_refuses_nobody() -> None:
    scene = Scene()
    while scene.arrive() == "works":
        pass
    scene.now += 0.2
    scene.room.leave()
    assert {scene.arrive() for _ in range(40)} == {"waits"}


async def test_a_queue_has_an_end_though_nothing_is_known_of_its_speed() -> None:
    scene = Scene()
    found = [scene.arrive() for _ in range(MAX_WAITING * 2)]
    assert found.count("waits") == MAX_WAITING


async def test_who_left_while_waiting_takes_no_slot() -> None:
    scene = Scene(at_once=1)
    scene.arrive()
    gone, there = scene.wait(), scene.wait()
    gone.cancel()
    scene.room.leave()
    assert there.result() is True
    scene.room.leave()
    assert scene.room.working == 0


async def test_who_lent_a_slot_is_before_all_who_wait() -> None:
    scene = Scene(at_once=1)
    scene.arrive()
    first = scene.wait()
    back: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    scene.room.wait_again(back)
    scene.room.leave()
    assert (back.done(), first.done()) == (True, False)


@given(st.lists(st.tuples(st.sampled_from(["arrive", "leave", "expire", "cancel", "lend"]), st.integers(0, 3))))
@settings(deadline=None)
def test_whatever_happens_slots_are_neither_lost_nor_given_twice_and_everybody_hears(
    steps: list[tuple[str, int]],
) -> None:
    async def play() -> None:
        scene = Scene(at_once=2, bound=0.5)
        for what, number in steps:
            scene.now += number / 10
            scene.happen(what, number)
            assert 0 <= scene.room.working <= 2
            assert scene.room.working == 2 or all(one.done() for one in scene.waiting)
        scene.now += 1
        scene.room.expire()
        while scene.room.working:
            scene.room.leave()
        assert all(one.done() for one in scene.waiting)
        assert scene.room.waiting == 0

    asyncio.run(play())


@pytest.mark.parametrize("times", [1, 3, 10])
@pytest.mark.parametrize("service_seconds", [0.01, 0.05, 0.4])
async def test_at_any_load_goodput_stays_near_capacity_and_nobody_waits_longer_than_the_bound(
    times: int, service_seconds: float
) -> None:
    scene = Scene(at_once=8)
    gap = service_seconds / scene.at_once / times
    ends: list[float] = []
    waits: list[tuple[float, asyncio.Future[bool]]] = []
    longest, started, arrivals = 0.0, 0, int(30 / gap)
    look_at = 0.0
    for number in range(arrivals):
        scene.now = number * gap
        while ends and ends[0] <= scene.now:
            ended = heapq.heappop(ends)
            moment, scene.now = scene.now, ended
            scene.room.leave()
            ready = [wait for wait in waits if wait[1].done()]
            waits = [wait for wait in waits if not wait[1].done()]
            for since, _ in ready:
                longest, started = max(longest, ended - since), started + 1
                heapq.heappush(ends, ended + service_seconds)
            scene.now = moment
        if scene.now >= look_at:
            scene.room.expire()
            waits, look_at = [wait for wait in waits if not wait[1].done()], scene.now + 0.05
        found = scene.arrive()
        if found == "works":
            started += 1
            heapq.heappush(ends, scene.now + service_seconds)
        elif found == "waits":
            waits.append((scene.now, scene.waiting.pop()))
    capacity = 30 / service_seconds * scene.at_once
    assert started > 0.97 * capacity
    assert longest <= scene.bound + 0.05
