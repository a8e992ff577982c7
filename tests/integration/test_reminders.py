"""Reminders: a record for each sheet that waits too long, which the log publishes, and never two a day."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.errors import Denied, InvalidField
from service.log.record import read_body
from service.timesheets import reminders
from service.timesheets.reminders import Reminders
from tests.integration.house import MONDAY, at
from tests.until import lock_is_waited_for

if TYPE_CHECKING:
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]


async def load_reminders(house: House) -> list[dict[str, Any]]:
    rows = await house.owner.fetch("SELECT body FROM audit_record WHERE kind = 'change' ORDER BY id")
    bodies: list[dict[str, Any]] = [dict(read_body(row["body"])) for row in rows]
    return [body for body in bodies if body["change"]["type"] == "timesheet.reminded"]


async def test_each_sheet_that_waits_too_long_is_reminded_of_once_a_day_and_stays_as_it_is(house: House) -> None:
    old = await house.submit_week("ana")
    older = await house.submit_week("carl")
    await house.submit_week("ben")
    for sheet, days in ((old, 4), (older, 9)):
        await house.owner.execute(
            "UPDATE timesheet SET submitted_at = submitted_at - make_interval(days => $1) WHERE id = $2", days, sheet.id
        )
    use = Reminders(house.gate)
    first, again = [(await use.remind(house.administrator(), 3)).value for _ in range(2)]
    assert (first.sheets, first.more, again.sheets) == (2, False, 0)
    records = await load_reminders(house)
    assert [record["resource"]["id"] for record in records] == [str(older.id), str(old.id)]
    assert records[0]["resource"]["owner"] == str(house.people["carl"])
    wanted = [{str(house.people[name]) for name in names} for names in (("max", "dora"), ("mia", "dora"))]
    assert [set(record["change"]["to"]["approvers"]) for record in records] == wanted
    await house.owner.execute("UPDATE reminder SET at = at - interval '25 hours'")
    assert (await use.remind(house.administrator(), 3)).value.sheets == 2
    assert (await house.timesheets.approve(house.caller("mia"), old.id, at(old.version))).value.state == "approved"
    await house.owner.execute("UPDATE reminder SET at = at - interval '25 hours'")
    assert (await use.remind(house.administrator(), 3)).value.sheets == 1


async def test_a_reminder_names_whoever_could_approve_and_nobody_who_wrote_in_the_sheet(house: House) -> None:
    people, use = house.people, Reminders(house.gate)
    sheet = await house.submit_week("ana")
    await house.owner.execute("UPDATE timesheet SET editors = ARRAY[$1::uuid] WHERE id = $2", people["dora"], sheet.id)
    for delegate in ("carl", "ana"):
        await house.delegations.grant(house.manager("mia"), people["mia"], people[delegate])
    await house.fallbacks.name(house.administrator(), people["ben"])
    await house.submit_week("dora")
    await use.remind(house.administrator(), 0)
    named = [set(record["change"]["to"]["approvers"]) for record in await load_reminders(house)]
    assert named == [{str(people["mia"]), str(people["carl"])}, {str(people["ben"])}]


async def test_two_jobs_at_once_remind_of_each_sheet_once_and_many_come_in_turns(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for week in range(5):
        await house.submit_week("ana", MONDAY + timedelta(days=7 * week))
    monkeypatch.setattr(reminders, "MAX_AT_ONCE", 3)
    use = Reminders(house.gate)
    found = await asyncio.gather(*(use.remind(house.administrator(), 0) for _ in range(3)))
    found.append(await use.remind(house.administrator(), 0))
    assert sum(answer.value.sheets for answer in found) == 5
    assert (
        len({record["resource"]["id"] for record in await load_reminders(house)})
        == len(await load_reminders(house))
        == 5
    )


async def test_whom_another_job_reminds_while_this_one_looks_is_not_reminded_twice(house: House) -> None:
    """The other job commits behind this one's snapshot and before its locks. Without the foreign key its row locks no
    sheet, so that this one comes as far as that row and waits there."""
    sheet = await house.submit_week("ana")
    await house.owner.execute("ALTER TABLE reminder DROP CONSTRAINT reminder_timesheet_id_fkey")
    other = await house.log_database.connect("owner")
    async with other.transaction():
        await other.execute("INSERT INTO reminder (timesheet_id) VALUES ($1)", sheet.id)
        late = asyncio.create_task(Reminders(house.gate).remind(house.administrator(), 0))
        await lock_is_waited_for(house.owner)
    assert (await late).value.sheets == 0
    assert await load_reminders(house) == []


async def test_only_whoever_manages_the_directory_reminds(house: House) -> None:
    await house.submit_week("ana")
    for name in ("ana", "mia"):
        with pytest.raises(Denied):
            await Reminders(house.gate).remind(house.caller(name), 0)
    assert await load_reminders(house) == []


@pytest.mark.parametrize("days", [-1, 367])
async def test_days_that_are_none_are_refused(house: House, days: int) -> None:
    with pytest.raises(InvalidField):
        await Reminders(house.gate).remind(house.administrator(), days)
