"""No upload leaves hours or notes of an erased person that the erasure did not see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

import pytest

from service.errors import InvalidField, TryLater
from service.timesheets.upload import UploadMode
from service.timesheets.upload_rows import Row, Rows
from tests.integration.house import MONDAY, House
from tests.until import lock_is_waited_for, until

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Answer
    from service.directory.erasure import Erased
    from service.log.log import Receipt
    from service.timesheets.upload import UploadResult

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
# An upload or an erasure.
Step: TypeAlias = Callable[[House], Coroutine[Any, Any, object]]
WAITED_FOR = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = $1::text::regclass)"


async def upload(house: House, mode: UploadMode) -> tuple[UploadResult, Receipt]:
    row = Row(MONDAY, "apollo", 60, note="at the dentist's", owner=house.people["carl"], external_ref="a")
    return await house.uploads.upload(house.machine(), Rows.of([row]), mode=mode)


async def erase(house: House) -> Answer[Erased]:
    return await house.erasure.erase(house.administrator(), house.people["carl"])


async def open_week(house: House, connection: Any) -> None:
    await connection.execute(
        "INSERT INTO timesheet (id, owner_id, period_start, period_end, time_zone, state, version)"
        " VALUES ($1, $2, $3::date, $3::date + 6, 'UTC', 'draft', 1)",
        uuid4(),
        house.people["carl"],
        MONDAY,
    )


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
async def test_an_upload_of_a_week_that_was_opened_during_an_erasure_waits_for_it(
    house: House, mode: UploadMode
) -> None:
    """The week is opened after the erasure locked all sheets. The upload is for that week and a new one. Before, it
    locked the sheet of the first, and the erasure the person: each waited for the other."""
    opening, pausing = await house.log_database.connect("owner"), await house.log_database.connect("owner")
    rows = [
        Row(MONDAY + timedelta(weeks=number), "apollo", 60, owner=house.people["carl"], external_ref="a")
        for number in range(2)
    ]
    async with pausing.transaction():
        await pausing.execute("LOCK TABLE kept_answer")
        async with opening.transaction():
            await open_week(house, opening)
            erasing = asyncio.create_task(erase(house))
            await lock_is_waited_for(house.owner)
        await until(partial(house.owner.fetchval, WAITED_FOR, "kept_answer"))
        uploading = asyncio.create_task(house.uploads.upload(house.machine(), Rows.of(rows), mode=mode))
        await lock_is_waited_for(house.owner, by=2)
    assert (await erasing).value.sheets == 1
    if mode is UploadMode.TOGETHER:
        with pytest.raises(InvalidField, match="was erased"):
            await uploading
    else:
        assert {result.outcome for result in (await uploading)[0].results} == {"refused"}
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
