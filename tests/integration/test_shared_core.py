"""The threads of a worker that run Python code stay on one processor core, and what they start does not; none of them
interrupts others."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service import shared_core
from service.shared_core import CORES, SharedCore, every_core, is_crowded, read_times
from tests.worker_program import running_program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

# Answers with the cores that its thread may use; /child with those of a process that it starts, /schedule with the ways
# in which the system schedules its threads.
PROGRAM = """
import json, os, subprocess, sys
from service.listeners import run_worker
from service.log_lines import GRANIAN_LOGGING
from service.shared_core import every_core

def answer(status, numbers):
    yield {"type": "http.response.start", "status": status, "headers": []}
    yield {"type": "http.response.body", "body": json.dumps(sorted(numbers)).encode(), "more_body": False}

def cores_of_child():
    program = "import json, os; print(json.dumps(sorted(os.sched_getaffinity(0))))"
    with every_core():
        return json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)

class Application:
    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            told = os.sched_getaffinity(0)
            if scope["path"] == "/child":
                told = cores_of_child()
            elif scope["path"] == "/schedule":
                told = {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")}
            for message in answer(200, told):
                await send(message)
        else:
            for _ in range(2):
                await send({"type": (await receive())["type"] + ".complete"})

    def refuse_early(self, scope, send, receive):
        if scope["path"] == "/refused":
            for message in answer(503, os.sched_getaffinity(0)):
                send(message)
        return scope["path"] == "/refused"

place = (int(sys.argv[2]), int(sys.argv[3]))
run_worker(Application, int(sys.argv[1]), place=place, connections=8, idle_seconds=5, logging=GRANIAN_LOGGING)
"""

pytestmark = pytest.mark.skipif(len(CORES) < 2, reason="needs Linux and two processor cores")


@asynccontextmanager
async def worker(number: int, workers: int) -> AsyncIterator[Callable[[str], Awaitable[frozenset[int]]]]:
    """A running worker; gives a function that asks for numbers."""
    async with running_program(PROGRAM, str(number), str(workers)) as http:

        async def numbers(path: str) -> frozenset[int]:
            return frozenset((await http.get(path)).json())

        # The server's thread is known from its first request on.
        await numbers("/loop")
        yield numbers


@pytest.mark.parametrize("number", [0, 1])
async def test_the_event_loop_and_the_servers_thread_share_a_core(number: int) -> None:
    async with worker(number, 1) as cores:
        loop, server, after = [await cores(path) for path in ("/loop", "/refused", "/loop")]
        while loop != after:
            # Beside other tests it may have moved meanwhile.
            loop, server, after = [await cores(path) for path in ("/loop", "/refused", "/loop")]
        assert len(loop) == 1
        assert server == loop
        assert await cores("/child") == CORES


@pytest.mark.parametrize("number", [0, 1])
async def test_each_of_as_many_workers_as_cores_has_its_own(number: int) -> None:
    async with worker(number, len(CORES)) as cores:
        assert [await cores(path) for path in ("/loop", "/refused")] == [{sorted(CORES)[number]}] * 2
        assert await cores("/child") == CORES


async def test_more_workers_than_cores_may_run_anywhere() -> None:
    async with worker(0, len(CORES) + 1) as cores:
        assert [await cores(path) for path in ("/loop", "/refused", "/child")] == [CORES] * 3


async def test_no_thread_of_a_worker_interrupts_others() -> None:
    async with worker(0, len(CORES)) as numbers:
        assert await numbers("/schedule") == {os.SCHED_BATCH}


def test_a_core_on_which_others_work_as_much_is_left() -> None:
    second = 1_000_000_000
    assert is_crowded(ran=second // 2, waited=second // 2, seconds=1)
    assert not is_crowded(ran=second * 7 // 10, waited=second * 3 // 10, seconds=1)
    # A worker that hardly runs loses nothing.
    assert not is_crowded(ran=1_000_000, waited=50_000_000, seconds=1)
    assert not is_crowded(ran=300_000_000, waited=250_000_000, seconds=64)


@dataclass
class Started:
    """A core that was started by the calling thread, and the arguments of its checks."""

    core: SharedCore
    loop: asyncio.AbstractEventLoop
    times: Path

    def check(self, waited: int, times: Path | None = None) -> None:
        """As if the thread had waited for so many nanoseconds since the last check."""
        ran, before = read_times(self.times)
        self.core._check(self.loop, times or self.times, (ran, before - waited), self.loop.time() - 1)


@pytest.fixture
def workers() -> int:
    return 1


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, workers: int) -> Iterator[Started]:
    monkeypatch.setattr(shared_core, "_current", None)
    with closing(asyncio.new_event_loop()) as loop:
        core = SharedCore(0, workers)
        core.start(loop)
        yield Started(core, loop, Path(f"/proc/self/task/{threading.get_native_id()}/schedstat"))
    os.sched_setaffinity(0, CORES)


SECOND = 1_000_000_000


def test_a_waiting_thread_moves_with_those_that_it_started(started: Started) -> None:
    first = started.core.core
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(os.sched_getaffinity, 0).result() == {first}
        started.check(SECOND)
        assert pool.submit(os.sched_getaffinity, 0).result() == os.sched_getaffinity(0) == {started.core.core}
    assert started.core.core != first


@pytest.mark.parametrize("workers", [len(CORES)])
def test_a_waiting_thread_does_not_move_to_the_core_of_another_worker(started: Started) -> None:
    first = started.core.core
    before = len(scheduled(started.loop))
    started.check(SECOND)
    assert os.sched_getaffinity(0) == {started.core.core} == {first}
    assert len(scheduled(started.loop)) == before + 1


def test_where_moving_does_not_help_it_is_done_ever_more_rarely(started: Started) -> None:
    began = started.loop.time()
    for _ in range(10):
        started.check(SECOND)
    *_, last = sorted(timer.when() - began for timer in scheduled(started.loop))
    assert last == pytest.approx(64, abs=1)
    started.check(0)
    assert len([timer for timer in scheduled(started.loop) if timer.when() - began < 1.9]) == 2


@pytest.mark.parametrize("workers", [1, len(CORES)])
@pytest.mark.parametrize("are_all", [False, True])
def test_cores_that_are_chosen_meanwhile_are_respected(started: Started, are_all: bool) -> None:  # noqa: FBT001
    chosen = CORES if are_all else {max(CORES - {started.core.core})}
    with ThreadPoolExecutor(1) as pool:
        assert len(pool.submit(os.sched_getaffinity, 0).result()) == 1
        os.sched_setaffinity(0, chosen)
        before = len(scheduled(started.loop))
        started.check(SECOND)
        with every_core():
            assert os.sched_getaffinity(0) == chosen
        assert os.sched_getaffinity(0) == chosen
        assert pool.submit(os.sched_getaffinity, 0).result() == chosen
    assert len(scheduled(started.loop)) == before


def test_a_block_that_runs_anywhere_is_no_choice_of_cores(started: Started) -> None:
    first = started.core.core
    with every_core():
        assert os.sched_getaffinity(0) == CORES
        started.check(0)
    assert os.sched_getaffinity(0) == {first}


def test_a_core_that_was_taken_away_is_not_moved_to(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    first = started.core.core
    # Far beyond those of this machine, so the system refuses it.
    monkeypatch.setattr(shared_core, "CORES", frozenset({first, 1_000}))
    before = len(scheduled(started.loop))
    started.check(SECOND)
    assert os.sched_getaffinity(0) == {started.core.core} == {first}
    assert len(scheduled(started.loop)) == before + 1


def test_a_check_that_cannot_read_is_repeated(started: Started, tmp_path: Path) -> None:
    before = len(scheduled(started.loop))
    started.check(SECOND, tmp_path / "missing")
    assert len(scheduled(started.loop)) == before + 1


def scheduled(loop: asyncio.AbstractEventLoop) -> list[asyncio.TimerHandle]:
    timers: list[asyncio.TimerHandle] = vars(loop)["_scheduled"]
    return timers


def test_the_account_of_waiting_grows_with_time() -> None:
    times = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    before, _ = read_times(times)
    until = time.thread_time() + 0.02
    while time.thread_time() < until:
        pass
    assert read_times(times)[0] - before >= 10_000_000
