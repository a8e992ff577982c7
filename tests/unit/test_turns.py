"""Turns: so many at once, the others wait for a bounded time."""

from __future__ import annotations

import asyncio

import pytest

from service.database import Turns
from service.errors import TryLater


async def test_no_more_than_so_many_are_inside_at_once() -> None:
    turns, inside, most = Turns(2, timeout=3, full="busy"), 0, 0

    async def work() -> None:
        nonlocal inside, most
        async with turns.one():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(20)))
    assert (most, inside) == (2, 0)


async def test_whoever_waits_too_long_is_told_to_come_again() -> None:
    turns = Turns(1, timeout=0.01, full="busy")
    async with turns.one():
        with pytest.raises(TryLater, match="busy"):
            async with turns.one():
                raise AssertionError("there was no turn")


async def test_a_turn_is_given_back_when_the_work_fails() -> None:
    turns = Turns(1, timeout=0.01, full="busy")
    with pytest.raises(ValueError, match="broken"):
        async with turns.one():
            raise ValueError("broken")
    async with turns.one():
        pass
