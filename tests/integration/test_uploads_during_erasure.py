"""No upload leaves hours or notes of an erased person that the erasure did not see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from service.errors import InvalidField, TryLater
from service.timesheets.upload import UploadMode
from service.timesheets.upload_rows import Row, Rows
from tests.integration.house import MONDAY, House
from tests.until import lock_is_waited_for

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Answer
    from service.directory.erasure import Erased
    from service.log.log import Receipt
    from service.timesheets.upload import UploadResult

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
# An upload or an erasure.
Step: TypeAlias = Callable[[House], Coroutine[Any, Any, object]]


async def upload(house: House, mode: UploadMode) -> tuple[UploadResult, Receipt]:
    row = Row(MONDAY, "apollo", 60, note="at the dentist's", owner=house.people["carl"], external_ref="a")
    return await house.uploads.upload(house.machine(), Rows.of([row]), mode=mode)


async def erase(house: House) -> Answer[Erased]:
    return await house.erasure.erase(house.administrator(), house.people["carl"])


async def nothing_is_left(house: House) -> bool:
    return await house.count("timesheet") + await house.count("audit_text WHERE value LIKE '%dentist%'") == 0


async def refuse_upload_beside_erasure(house: House, table: str, first: Step, second: Step) -> None:
    """Both steps wait, one after the other, for a lock on the table or for each other. Then the erasure succeeds."""
    other = await house.log_database.connect("owner")
    async with other.transaction():
        await other.execute(f"LOCK TABLE {table} IN SHARE MODE")
        steps = [asyncio.create_task(first(house))]
        await lock_is_waited_for(house.owner)
        steps.append(asyncio.create_task(second(house)))
        await lock_is_waited_for(house.owner, by=2)
    await steps[(first, second).index(erase)]
    with pytest.raises(TryLater, match="erased"):
        await asyncio.gather(*steps)
    assert await nothing_is_left(house)


@pytest.mark.parametrize("mode", UploadMode)
async def test_an_upload_that_was_decided_before_an_erasure_opens_no_week_after_it(
    house: House, mode: UploadMode
) -> None:
    await refuse_upload_beside_erasure(house, "entry", partial(upload, mode=mode), erase)


@pytest.mark.parametrize("mode", UploadMode)
async def test_an_upload_that_waited_for_an_erasure_opens_no_week(house: House, mode: UploadMode) -> None:
    await refuse_upload_beside_erasure(house, "audit_text", erase, partial(upload, mode=mode))


@pytest.mark.parametrize("mode", UploadMode)
async def test_rows_for_an_erased_person_are_refused(house: House, mode: UploadMode) -> None:
    await erase(house)
    if mode is UploadMode.TOGETHER:
        with pytest.raises(InvalidField, match="was erased"):
            await upload(house, mode)
    else:
        (result,) = (await upload(house, mode))[0].results
        assert (result.outcome, [fault.reason for fault in result.faults]) == ("refused", ["was erased"])
    assert await nothing_is_left(house)
