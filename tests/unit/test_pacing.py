"""Pacing: long work goes in slices, and between two of them everything else goes on."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import TYPE_CHECKING

from service.pacing import MAX_SLICE_SECONDS, finish, pace_page

if TYPE_CHECKING:
    from collections.abc import Iterator


def steps(name: str, number: int, done: list[str]) -> Iterator[None]:
    """Steps that each use up a whole slice."""
    for _ in range(number):
        ends = time.perf_counter() + MAX_SLICE_SECONDS
        while time.perf_counter() < ends:
            pass
        done.append(name)
        yield


async def test_between_two_steps_of_any_long_work_everything_else_goes_on() -> None:
    done: list[str] = []
    working = asyncio.gather(*(finish(steps(f"work {number}", 5, done)) for number in range(4)))
    while not working.done():
        done.append("other")
        await asyncio.sleep(0)
    await working
    others = [place for place, name in enumerate(done) if name == "other"]
    work = [place for place, name in enumerate(done) if name != "other"]
    assert len(work) == 20
    assert all(any(first < other < second for other in others) for first, second in pairwise(work))


async def test_long_work_takes_turns() -> None:
    done: list[str] = []
    await asyncio.gather(finish(steps("a", 3, done)), finish(steps("b", 3, done)))
    # The first step found the slice free; from then on each waits behind the other.
    assert done == ["a", "a", "b", "a", "b", "b"]


async def test_work_that_is_cancelled_while_it_waits_does_not_block_other_work() -> None:
    done: list[str] = []
    first = asyncio.create_task(finish(steps("first", 50, done)))
    second = asyncio.create_task(finish(steps("second", 3, done)))
    while "second" not in done:  # noqa: ASYNC110 — what is waited for is a step, which sets no event
        await asyncio.sleep(0)
    first.cancel()
    await second
    assert done.count("second") == 3


async def test_a_short_page_waits_for_no_slice() -> None:
    done: list[str] = []
    working = asyncio.create_task(finish(steps("work", 5, done)))
    await asyncio.sleep(0)
    waited = [name async for name in pace_page(["page"] * 50)]
    assert len(waited) == 50
    assert done.count("work") < 5
    await working


async def test_a_long_page_takes_turns_with_other_long_work() -> None:
    done: list[str] = []

    async def page() -> None:
        async for _ in pace_page(steps("page", 4, done)):
            pass

    await asyncio.gather(page(), finish(steps("work", 4, done)))
    assert done.count("page") == done.count("work") == 4
    assert done != sorted(done)
