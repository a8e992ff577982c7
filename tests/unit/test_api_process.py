"""An API process: its settings of the interpreter, its readiness, and its shared checks."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, MagicMock

import pytest

from service.api_process import SWITCH_INTERVAL, Api, Progress
from service.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class OneConnection:
    """Counts how often it is asked for, and gives itself when it may."""

    def __init__(self) -> None:
        self.asked = 0
        self.free = asyncio.Event()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncMock]:
        self.asked += 1
        await self.free.wait()
        connection = AsyncMock()
        connection.fetch.return_value = []
        connection.fetchrow.return_value = None
        connection.transaction = MagicMock()
        yield connection


async def test_any_number_of_callers_that_ask_for_readiness_share_one_look_at_the_database() -> None:
    health = OneConnection()
    parts: dict[str, Any] = {field.name: MagicMock() for field in fields(Api)}
    parts["log"].state.return_value.failing = None
    api = Api(**{**parts, "health": health, "replica": None, "channel": None, "progress": Progress(None)})
    callers = [asyncio.create_task(api.check()) for _ in range(100)]
    await asyncio.sleep(0)
    callers[0].cancel()
    health.free.set()
    found = await asyncio.gather(*callers[1:])
    assert health.asked == 1
    assert len({id(state) for state in found}) == 1
    await api.check()
    assert health.asked == 2, "the next one looks anew"


async def test_health_says_that_the_database_is_away_and_speaks_of_no_change() -> None:
    parts: dict[str, Any] = {field.name: MagicMock() for field in fields(Api)}
    parts["log"].state.return_value.failing = None
    parts["health"].connection.side_effect = DatabaseUnavailable
    found = await Api(**{**parts, "replica": None, "channel": None, "progress": Progress(None)}).check()
    assert [part.detail for part in found.parts if part.name == "database"] == ["does not answer"]


class NoDatabase(Exception):
    """There is none in a unit test."""


async def test_a_thread_that_builds_a_version_gives_way_to_requests_soon() -> None:
    parts: dict[str, Any] = {field.name: AsyncMock() for field in fields(Api)}
    parts |= {"channel": None, "progress": Progress()}
    parts["health"].open.side_effect = NoDatabase
    before = sys.getswitchinterval()
    try:
        with pytest.raises(NoDatabase):
            async with Api(**parts).running(None):
                raise AssertionError("it opened without a database")
        assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL)
    finally:
        sys.setswitchinterval(before)
