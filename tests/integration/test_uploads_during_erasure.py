"""No upload leaves hours or notes of an erased person that the erasure did not see."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

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


async def upload(house: House, mode: UploadMode) -> tuple[UploadResult, Receipt]:
    row = Row(MONDAY, "apollo", 60, note="at the dentist's", owner=house.people["carl"], external_ref="a")
    return await house.uploads.upload(house.machine(), Rows.of([row]), mode=mode)


async def erase(house: House) -> Answer[Erased]:
    return await house.erasure.erase(house.administrator(), house.people["carl"])


async def nothing_is_left(house: House) -> bool:
    return await house.count("timesheet") + await house.count("audit_text WHERE value LIKE '%dentist%'") == 0


@pytest.mark.parametrize("mode", UploadMode)
async def test_an_upload_that_was_decided_before_an_erasure_opens_no_week_after_it(
    house: House, mode: UploadMode
) -> None:
    other = await house.log_database.connect("owner")
    async with other.transaction():
        await other.execute("LOCK TABLE entry IN SHARE MODE")
        uploading = asyncio.create_task(upload(house, mode))
        await lock_is_waited_for(house.owner)
        erasing = asyncio.create_task(erase(house))
        await lock_is_waited_for(house.owner, by=2)
    await erasing
    with pytest.raises(TryLater, match="erased"):
        await uploading
    assert await nothing_is_left(house)


@pytest.mark.parametrize("mode", UploadMode)
async def test_an_upload_that_waited_for_an_erasure_opens_no_week(house: House, mode: UploadMode) -> None:
    other = await house.log_database.connect("owner")
    async with other.transaction():
        await other.execute("LOCK TABLE audit_text IN SHARE MODE")
        erasing = asyncio.create_task(erase(house))
        await lock_is_waited_for(house.owner)
        uploading = asyncio.create_task(upload(house, mode))
        await lock_is_waited_for(house.owner, by=2)
    await erasing
    with pytest.raises(TryLater, match="erased"):
        await uploading
    assert await nothing_is_left(house)


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
