"""A person has one timesheet for a week, also if two accounts become one person while their weeks are opened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

import pytest

from service.authorization.enforcement.merged_people import WAIT_FOR_DECIDED
from service.directory.merging import Merging
from service.errors import Conflict, TryLater
from service.timesheets.entry import Hours
from service.timesheets.upload import UploadMode
from service.timesheets.upload_rows import Row, Rows
from tests.integration.house import MONDAY, House
from tests.until import lock_is_waited_for

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
# Opens the week of a person.
Opening: TypeAlias = Callable[[House, str], Coroutine[Any, Any, object]]


async def upload(house: House, name: str, *, mode: UploadMode) -> object:
    row = Row(MONDAY, "apollo", 60, owner=house.people[name], external_ref=name)
    return await house.uploads.upload(house.machine(), Rows.of([row]), mode=mode)


async def create(house: House, name: str) -> object:
    return await house.timesheets.create(house.caller(name), MONDAY, None, [Hours(MONDAY, "apollo", 60)])


OPENINGS: list[Opening] = [*(partial(upload, mode=mode) for mode in UploadMode), create]
NAMES = [*UploadMode, "create"]


async def merge(house: House, name: str, into: str) -> object:
    people = house.people
    return await Merging(house.gate).merge(house.administrator(), people[name], people[into])


@pytest.mark.parametrize("second", OPENINGS, ids=NAMES)
@pytest.mark.parametrize("first", OPENINGS, ids=NAMES)
@pytest.mark.parametrize("names", [("carl", "max"), ("max", "carl")], ids=" into ".join)
async def test_a_week_that_is_opened_during_a_merge_is_opened_once(
    house: House, names: tuple[str, str], first: Opening, second: Opening
) -> None:
    """The first opening has looked at carl's weeks when he and max are merged; the second one is for max."""
    other = await house.log_database.connect("owner")
    async with other.transaction():
        await other.execute("LOCK TABLE timesheet IN SHARE MODE")
        opening = asyncio.create_task(first(house, "carl"))
        await lock_is_waited_for(house.owner)
        merging = asyncio.create_task(merge(house, *names))
        waiting = asyncio.create_task(lock_is_waited_for(house.owner, by=2))
        await asyncio.wait({merging, waiting}, return_when=asyncio.FIRST_COMPLETED)
        again = asyncio.create_task(second(house, "max"))
        await waiting
        await lock_is_waited_for(house.owner, by=2 if merging.done() else 3)
    await opening
    await merging
    with suppress(Conflict, TryLater):
        await again
    assert await house.count("timesheet") == 1


@pytest.mark.parametrize("opening", OPENINGS, ids=NAMES)
@pytest.mark.parametrize("names", [("carl", "max"), ("max", "carl")], ids=" into ".join)
async def test_an_opening_that_waited_for_a_merge_opens_nothing(
    house: House, names: tuple[str, str], opening: Opening
) -> None:
    """Its lock and its look at the sheets were about the people of before."""
    other = await house.log_database.connect("owner")
    async with other.transaction():
        await other.execute(f"SELECT {WAIT_FOR_DECIDED}")
        waiting = asyncio.create_task(opening(house, "carl"))
        await lock_is_waited_for(house.owner)
        ids = (house.people[name] for name in names)
        await other.execute("INSERT INTO merged_person (person_id, into_id) VALUES ($1, $2)", *ids)
    with pytest.raises(TryLater, match="merged"):
        await waiting
    assert await house.count("timesheet") == 0
    await opening(house, "carl")
    assert await house.count("timesheet") == 1
