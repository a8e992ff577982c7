"""Batches: one at a time, each question with its own result, and none left without one."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING

import pytest

from service.batches import Batches, SharedTimeout

if TYPE_CHECKING:
    from collections.abc import Sequence


async def test_questions_that_wait_share_the_next_batch_and_each_gets_its_result() -> None:
    sizes: list[int] = []

    async def double(numbers: Sequence[int]) -> Sequence[int | Exception]:
        sizes.append(len(numbers))
        await asyncio.sleep(0)
        return [ValueError(number) if number == 3 else number * 2 for number in numbers]

    batches: Batches[int, int] = Batches(double, size=4)
    results = await asyncio.gather(*(batches.ask(number) for number in range(7)), return_exceptions=True)
    assert [result for result in results if isinstance(result, int)] == [0, 2, 4, 8, 10, 12]
    assert isinstance(results[3], ValueError)
    assert sizes == [1, 4, 2]


async def test_after_a_batch_of_several_the_first_of_those_that_come_at_once_waits_for_the_others() -> None:
    sizes: list[int] = []

    async def answer(numbers: Sequence[int]) -> Sequence[int]:
        sizes.append(len(numbers))
        await asyncio.sleep(0)
        return numbers

    batches: Batches[int, int] = Batches(answer, size=4)
    for _ in range(2):
        assert await asyncio.gather(*(batches.ask(number) for number in range(3))) == [0, 1, 2]
    assert sizes == [1, 2, 3]
    # Where questions come one by one, each is answered at once again.
    assert [await batches.ask(number) for number in range(2)] == [0, 1]
    assert sizes == [1, 2, 3, 1, 1]


async def test_an_unexpected_error_is_told_to_all_who_ask() -> None:
    async def fail(_: Sequence[int]) -> Sequence[int]:
        await asyncio.sleep(0)
        raise RuntimeError

    batches: Batches[int, int] = Batches(fail, size=4)
    results = await asyncio.gather(*(batches.ask(number) for number in range(6)), return_exceptions=True)
    assert [type(result) for result in results] == [RuntimeError] * 6
    with pytest.raises(RuntimeError):
        await batches.ask(1)


async def test_a_wait_is_bounded_and_its_question_is_not_asked() -> None:
    asked: list[int] = []
    free = asyncio.Event()

    async def answer(numbers: Sequence[int]) -> Sequence[int]:
        asked.extend(numbers)
        await free.wait()
        return numbers

    batches: Batches[int, int] = Batches(answer, size=4, timeout=0.01)
    first = asyncio.create_task(batches.ask(1))
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await batches.ask(2)
    free.set()
    assert await first == 1
    assert await batches.ask(3) == 3
    assert asked == [1, 3]


async def test_a_wait_ends_in_time_and_others_begun_later_go_on() -> None:
    timeout, loop = SharedTimeout(0.2), asyncio.get_running_loop()

    async def wait(begins: float) -> float:
        await asyncio.sleep(begins)
        started, future = loop.time(), loop.create_future()
        timeout.bound(future)
        with pytest.raises(TimeoutError):
            await future
        return loop.time() - started

    answered, cancelled = loop.create_future(), loop.create_future()
    timeout.bound(answered)
    timeout.bound(cancelled)
    loop.call_later(0.1, answered.set_result, 7)
    loop.call_later(0.1, cancelled.cancel)
    waits = await asyncio.gather(wait(0), wait(0.01), wait(0.1), wait(0.3))
    # A clock's tick earlier at most.
    assert min(waits) >= 0.2 - 0.005
    assert max(waits) < 0.2 + 5
    assert answered.result() == 7
    assert cancelled.cancelled()


async def test_a_timeout_holds_no_future_that_is_done() -> None:
    timeout, loop = SharedTimeout(60), asyncio.get_running_loop()
    held = []
    for _ in range(100):
        future = loop.create_future()
        timeout.bound(future)
        future.set_result(None)
        held.append(weakref.ref(future))
        del future
    assert sum(reference() is not None for reference in held) == 1
