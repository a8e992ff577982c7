"""Turns: a bounded number of holders at once; the others wait for a bounded time."""

from __future__ import annotations

import asyncio

import pytest

from service.database import Turns
from service.errors import TryLater
from service.slots import HELD
from service.web.http.admission import _RequestSlot
from service.web.http.admission_queue import AdmissionQueue


async def test_at_most_the_given_number_is_inside_at_once() -> None:
    turns, inside, most = Turns(2, timeout=3, full="busy"), 0, 0

    async def work() -> None:
        nonlocal inside, most
        async with turns.take():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(20)))
    assert (most, inside) == (2, 0)


async def test_a_caller_who_waits_too_long_is_told_to_try_later() -> None:
    turns = Turns(1, timeout=0.01, full="busy")
    async with turns.take():
        with pytest.raises(TryLater, match="busy"):
            async with turns.take():
                raise AssertionError("there was no turn")


async def test_a_turn_is_released_when_the_work_fails() -> None:
    turns = Turns(1, timeout=0.01, full="busy")
    with pytest.raises(ValueError, match="broken"):
        async with turns.take():
            raise ValueError("broken")
    async with turns.take():
        pass


async def test_a_request_that_waits_for_a_turn_holds_no_slot_unless_it_keeps_it() -> None:
    for keeps_slot in (False, True):
        queue, end = AdmissionQueue(2, 1.0), asyncio.Event()
        turns = Turns(1, timeout=5, full="busy", keeps_slot=keeps_slot)

        async def work(queue: AdmissionQueue = queue, turns: Turns = turns, end: asyncio.Event = end) -> None:
            assert queue.try_acquire()
            HELD.set(_RequestSlot(queue))
            async with turns.take():
                await end.wait()

        tasks = [asyncio.create_task(work()) for _ in range(2)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert queue.working == (2 if keeps_slot else 1)
        end.set()
        await asyncio.gather(*tasks)
        assert queue.working == 2


async def test_a_turn_is_released_by_a_request_that_is_cancelled_while_it_waits_for_its_slot() -> None:
    queue = AdmissionQueue(1, 1.0)
    turns = Turns(1, timeout=5, full="busy")

    async def work() -> None:
        assert queue.try_acquire()
        HELD.set(_RequestSlot(queue))
        async with turns.take():
            raise AssertionError("there was no slot")

    async with turns.take():
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        # Another request is worked on while the task waits for its turn.
        assert (queue.lent, queue.try_acquire()) == (1, True)
    for _ in range(5):
        await asyncio.sleep(0)
    # It has its turn now, and waits for a slot.
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5), turns.take():
        pass
