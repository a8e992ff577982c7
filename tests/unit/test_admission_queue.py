"""The admission queue under a fake clock: which requests are worked on, which wait and how long, which are refused."""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.web.http.admission_queue import MAX_WAITING_REQUESTS, STANDING_SHARE, AdmissionQueue


@dataclass
class Scene:
    """A queue with a fake clock, and the requests that wait in it."""

    max_working: int = 4
    max_wait: float = 1.0
    now: float = 0.0
    waiting: list[asyncio.Future[bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queue = AdmissionQueue(self.max_working, self.max_wait, clock=lambda: self.now)

    def arrive(self, address: str = "a") -> str:
        """The fate of a request that arrives now."""
        if self.queue.try_acquire():
            return "works"
        if self.queue.is_late(address):
            self.queue.count_refusal()
            return "refused"
        self.waiting.append(self.wait(address))
        return "waits"

    def wait(self, address: str = "a") -> asyncio.Future[bool]:
        granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.queue.wait(address, granted)
        return granted

    def step(self, what: str, number: int) -> None:
        """One step of a story; a step that is not possible now is skipped."""
        if what == "arrive":
            self.arrive(f"address {number}")
        elif what == "expire":
            self.queue.expire()
        elif what == "cancel" and self.waiting:
            self.waiting[number % len(self.waiting)].cancel()
        elif what in {"leave", "lend"} and self.queue.working:
            self.queue.release()
            if what == "lend" and not self.queue.try_acquire():
                self.waiting.append(asyncio.get_running_loop().create_future())
                self.queue.wait_again(self.waiting[-1])

    def set_turn_time(self, seconds: float) -> None:
        """Make the queue measure turns of this length. Afterwards all slots are held and no request waits."""
        while self.queue.try_acquire():
            pass
        for _ in range(1_000):
            self.wait()
            self.now += seconds
            self.queue.release()


async def test_at_most_max_working_requests_are_worked_on() -> None:
    scene = Scene(max_working=2)
    assert [scene.arrive() for _ in range(3)] == ["works", "works", "waits"]
    scene.queue.release()
    assert scene.waiting[0].result() is True
    assert scene.queue.working == 2


async def test_a_released_slot_without_waiting_requests_is_free() -> None:
    scene = Scene(max_working=1)
    scene.arrive()
    scene.queue.release()
    assert (scene.queue.working, scene.arrive()) == (0, "works")


async def test_a_request_that_would_wait_too_long_is_refused_at_once() -> None:
    scene = Scene()
    scene.set_turn_time(0.01)
    assert [scene.arrive() for _ in range(200)].count("waits") == pytest.approx(100, abs=1)


async def test_after_a_refusal_the_queue_stays_short_until_none_was_refused_for_a_while() -> None:
    scene = Scene()
    scene.set_turn_time(0.01)
    while scene.arrive() != "refused":
        pass
    for _ in range(90):
        scene.now += 0.01
        scene.queue.release()
        assert scene.arrive() == "refused" or scene.queue.waiting <= 100 * STANDING_SHARE + 1
    assert scene.queue.waiting == pytest.approx(100 * STANDING_SHARE, abs=2)
    for _ in range(scene.queue.waiting):
        scene.queue.release()
    scene.now += scene.max_wait
    assert [scene.arrive() for _ in range(200)].count("waits") > 50


async def test_addresses_take_turns_so_a_flood_does_not_delay_others() -> None:
    scene = Scene()
    scene.set_turn_time(0.001)
    for _ in range(100):
        scene.arrive("flood")
    quiet = scene.wait("quiet")
    for _ in range(2):
        scene.queue.release()
    assert quiet.result() is True


async def test_a_flood_does_not_get_others_refused() -> None:
    scene = Scene()
    scene.set_turn_time(0.01)
    while scene.arrive("flood") != "refused":
        pass
    assert scene.arrive("quiet") == "waits"


async def test_a_request_that_waited_for_max_wait_is_refused() -> None:
    scene = Scene(max_working=1)
    scene.arrive()
    scene.arrive()
    scene.now += 0.6
    scene.arrive("b")
    scene.now += 0.4
    scene.queue.expire()
    assert [granted.done() and granted.result() for granted in scene.waiting] == [False, False]
    assert [granted.done() for granted in scene.waiting] == [True, False]
    scene.queue.release()
    assert scene.waiting[1].result() is True


async def test_new_requests_are_refused_while_no_request_ends() -> None:
    scene = Scene(max_working=1)
    scene.set_turn_time(0.001)
    assert scene.arrive("a") == "waits"
    scene.now += 1.1
    assert scene.arrive("b") == "refused"


async def test_a_late_event_loop_counts_as_waiting() -> None:
    scene = Scene(max_working=1)
    scene.arrive()
    scene.queue.lag = 1.5
    assert scene.arrive() == "refused"


async def test_a_slow_start_refuses_no_request() -> None:
    scene = Scene()
    while scene.arrive() == "works":
        pass
    scene.now += 0.2
    scene.queue.release()
    assert {scene.arrive() for _ in range(40)} == {"waits"}


async def test_the_queue_is_bounded_before_its_speed_is_known() -> None:
    scene = Scene()
    found = [scene.arrive() for _ in range(MAX_WAITING_REQUESTS * 2)]
    assert found.count("waits") == MAX_WAITING_REQUESTS


async def test_a_cancelled_waiting_request_takes_no_slot() -> None:
    scene = Scene(max_working=1)
    scene.arrive()
    cancelled, waiting = scene.wait(), scene.wait()
    cancelled.cancel()
    scene.queue.release()
    assert waiting.result() is True
    scene.queue.release()
    assert scene.queue.working == 0


async def test_a_request_that_lent_its_slot_goes_before_waiting_requests() -> None:
    scene = Scene(max_working=1)
    scene.arrive()
    first = scene.wait()
    back: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    scene.queue.wait_again(back)
    scene.queue.release()
    assert (back.done(), first.done()) == (True, False)


@given(st.lists(st.tuples(st.sampled_from(["arrive", "leave", "expire", "cancel", "lend"]), st.integers(0, 3))))
@settings(deadline=None)
def test_slots_are_never_lost_or_granted_twice_and_every_request_is_answered(
    steps: list[tuple[str, int]],
) -> None:
    async def play() -> None:
        scene = Scene(max_working=2, max_wait=0.5)
        for what, number in steps:
            scene.now += number / 10
            scene.step(what, number)
            assert 0 <= scene.queue.working <= 2
            assert scene.queue.working == 2 or all(granted.done() for granted in scene.waiting)
        scene.now += 1
        scene.queue.expire()
        while scene.queue.working:
            scene.queue.release()
        assert all(granted.done() for granted in scene.waiting)
        assert scene.queue.waiting == 0

    asyncio.run(play())


@pytest.mark.parametrize("times", [1, 3, 10])
@pytest.mark.parametrize("service_seconds", [0.01, 0.05, 0.4])
async def test_at_any_load_goodput_stays_near_capacity_and_waits_are_bounded(
    times: int, service_seconds: float
) -> None:
    scene = Scene(max_working=8)
    gap = service_seconds / scene.max_working / times
    ends: list[float] = []
    waits: list[tuple[float, asyncio.Future[bool]]] = []
    longest, started, arrivals = 0.0, 0, int(30 / gap)
    next_check = 0.0
    for number in range(arrivals):
        scene.now = number * gap
        while ends and ends[0] <= scene.now:
            ended = heapq.heappop(ends)
            moment, scene.now = scene.now, ended
            scene.queue.release()
            ready = [wait for wait in waits if wait[1].done()]
            waits = [wait for wait in waits if not wait[1].done()]
            for since, _ in ready:
                longest, started = max(longest, ended - since), started + 1
                heapq.heappush(ends, ended + service_seconds)
            scene.now = moment
        if scene.now >= next_check:
            scene.queue.expire()
            waits, next_check = [wait for wait in waits if not wait[1].done()], scene.now + 0.05
        found = scene.arrive()
        if found == "works":
            started += 1
            heapq.heappush(ends, scene.now + service_seconds)
        elif found == "waits":
            waits.append((scene.now, scene.waiting.pop()))
    capacity = 30 / service_seconds * scene.max_working
    assert started > 0.97 * capacity
    assert longest <= scene.max_wait + 0.05
