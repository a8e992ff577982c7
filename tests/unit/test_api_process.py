"""What an API process sets for itself before it opens anything."""

from __future__ import annotations

import sys
from dataclasses import fields
from typing import Any
from unittest.mock import AsyncMock

import pytest

from service.api_process import SWITCH_INTERVAL, Api, Opening


class NoDatabase(Exception):
    """There is none in a unit test."""


async def test_a_thread_that_builds_a_version_gives_way_to_requests_soon() -> None:
    parts: dict[str, Any] = {one.name: AsyncMock() for one in fields(Api)}
    parts |= {"channel": None, "opening": Opening()}
    parts["health"].open.side_effect = NoDatabase
    before = sys.getswitchinterval()
    try:
        with pytest.raises(NoDatabase):
            async with Api(**parts).running(None):
                raise AssertionError("it opened without a database")
        assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL)
    finally:
        sys.setswitchinterval(before)
