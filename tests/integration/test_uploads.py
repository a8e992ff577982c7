"""Uploads: all or nothing, once however often the job runs, and only for people whom a grant covers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from service.directory.merging import Merging
from service.errors import Conflict, Forbidden, InsufficientScope, InvalidField, TimewardenError, TryLater
from service.timesheets.upload import UploadMode
from service.timesheets.upload_rows import Row, Rows
from service.timesheets.upload_store import LOCK_SHEETS
from tests.integration.house import MONDAY, House, anything, at
from tests.until import lock_is_waited_for

if TYPE_CHECKING:
    from uuid import UUID

    from service.timesheets.upload_results import RowResult

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]


def row(owner: UUID, reference: str = "job-1", *, days: int = 0, minutes: int = 60, **more: Any) -> Row:
    return Row(MONDAY + timedelta(days=days), "apollo", minutes, owner=owner, external_ref=reference, **more)


async def upload(house: House, *rows: Row) -> list[RowResult]:
    uploaded, _ = await house.uploads.upload(house.machine(), Rows.of(rows))
    return list(uploaded.results)


async def upload_row(house: House, wanted: Row) -> tuple[UUID, UUID]:
    """The sheet and entry of a row."""
    (found,) = await upload(house, wanted)
    assert found.timesheet is not None
    assert found.entry is not None
    return found.timesheet, found.entry


async def carls(house: House) -> list[tuple[str, int]]:
    rows = await house.owner.fetch(
        "SELECT external_ref, minutes FROM entry JOIN timesheet ON timesheet.id = timesheet_id"
        " WHERE owner_id = $1 ORDER BY external_ref",
        house.people["carl"],
    )
    return [(entry["external_ref"], entry["minutes"]) for entry in rows]


async def test_rows_become_entries_and_sheets_are_made(house: House) -> None:
    carl, max_ = house.people["carl"], house.people["max"]
    rows = [row(max_), row(carl, "b", days=7), row(carl, "a", days=1), row(carl, "c", time_zone="Europe/Rome")]
    uploaded, _ = await house.uploads.upload(house.machine(), Rows.of(rows))
    assert [(result.row, result.outcome) for result in uploaded.results] == [(number, "created") for number in range(4)]
    assert len(uploaded.receipts) == await house.count("timesheet") == 3
    assert await carls(house) == [("a", 60), ("b", 60), ("c", 60)]
    made = await house.owner.fetchrow("SELECT * FROM timesheet WHERE owner_id = $1 AND period_start = $2", carl, MONDAY)
    assert made is not None
    assert (made["state"], made["version"], made["uploaders"]) == ("draft", 1, ["payroll-import"])
    assert (made["time_zone"], made["editors"]) == ("Europe/Rome", [])


async def test_a_second_run_changes_nothing(house: House) -> None:
    rows = [row(house.people["carl"], f"job-{number}", days=number, note="night shift") for number in range(3)]
    first = await upload(house, *rows)
    changes = await house.count("audit_record WHERE kind = 'change'")
    second = await upload(house, *rows)
    assert [result.outcome for result in second] == ["unchanged"] * 3
    assert [result.entry for result in second] == [result.entry for result in first]
    assert await house.owner.fetchval("SELECT version FROM timesheet") == 1
    assert await house.count("audit_record WHERE kind = 'change'") == changes


async def test_other_minutes_under_the_same_key_are_an_update(house: House) -> None:
    carl = house.people["carl"]
    await upload(house, row(carl, "a"), row(carl, "b"))
    again = await upload(house, row(carl, "a"), row(carl, "b", minutes=90), row(carl, "c"))
    assert [result.outcome for result in again] == ["unchanged", "updated", "created"]
    assert await carls(house) == [("a", 60), ("b", 90), ("c", 60)]


async def test_the_same_reference_on_another_day_is_another_row(house: House) -> None:
    carl = house.people["carl"]
    assert [result.outcome for result in await upload(house, row(carl), row(carl, days=1))] == ["created", "created"]


async def test_one_refused_row_refuses_all_and_says_which(house: House) -> None:
    with pytest.raises(Forbidden) as refused:
        await upload(house, row(house.people["carl"]), row(house.people["ana"]), row(uuid4(), "nobody"))
    told: Any = refused.value.extra["rows"]
    assert [refusal["row"] for refusal in told] == [1, 2]
    assert refused.value.decision is not None
    assert await house.count("timesheet") == 0
    assert await house.count("audit_record WHERE kind = 'decision' AND action = 'upload' AND NOT applied") == 3


async def test_a_refusal_does_not_tell_whether_there_is_a_sheet(house: House) -> None:
    async def refuse() -> tuple[str, object]:
        with pytest.raises(Forbidden) as refused:
            await upload(house, row(house.people["ana"]))
        return refused.value.public, refused.value.extra

    before = await refuse()
    await house.submit_week("ana")
    assert await refuse() == before


async def test_a_submitted_sheet_takes_no_rows(house: House) -> None:
    sheet = await house.submit_week("carl")
    with pytest.raises(TimewardenError) as refused:
        await upload(house, row(house.people["carl"]))
    assert "rows" in refused.value.extra
    assert (await house.timesheets.read(house.caller("carl"), sheet.id)).value == sheet


async def test_a_person_cannot_upload_whatever_their_scopes(house: House) -> None:
    asks = house.caller("max", scopes=frozenset({"batch:upload"}))
    with pytest.raises(Forbidden):
        await house.uploads.upload(asks, Rows.of([row(house.people["carl"])]))
    with pytest.raises(InsufficientScope):
        await house.uploads.upload(house.caller("max"), Rows.of([row(house.people["carl"])]))


async def test_wrong_rows_are_named_by_row_and_field(house: House) -> None:
    carl = house.people["carl"]
    wrong = [
        row(carl, minutes=0),
        row(carl, "x" * 101),
        replace(row(carl, "b"), project="a b"),
        row(carl, "c", note="\x00"),
        row(carl, "d", time_zone="Mars/Olympus"),
        row(carl),
    ]
    with pytest.raises(InvalidField) as refused:
        await upload(house, *wrong)
    assert [field.field for field in refused.value.fields] == [
        "rows[0].minutes",
        "rows[1].external_ref",
        "rows[2].project",
        "rows[3].note",
        "rows[4].time_zone",
        "rows[5].external_ref",
    ]


@pytest.mark.parametrize("number", [0, 101])
async def test_no_rows_and_too_many_rows_are_refused(house: House, number: int) -> None:
    with pytest.raises(InvalidField, match="rows"):
        await upload(house, *(row(house.people["carl"], str(reference)) for reference in range(number)))


async def test_a_hundred_rows_fit_into_a_record(house: House) -> None:
    carl = house.people["carl"]
    rows = [
        replace(row(carl, str(number), minutes=14, days=number % 7, note="x" * 500), project="p" * 40)
        for number in range(100)
    ]
    assert len(await upload(house, *rows)) == 100
    assert len(await upload(house, *(replace(hours, minutes=15) for hours in rows))) == 100


async def test_a_day_that_would_be_too_long_names_its_rows_and_leaves_nothing(house: House) -> None:
    carl = house.people["carl"]
    with pytest.raises(InvalidField) as refused:
        await upload(house, row(carl, "a", minutes=1440), row(carl, "b", minutes=1), row(carl, "c", days=1))
    assert [field.field for field in refused.value.fields] == ["rows[0].minutes", "rows[1].minutes"]
    assert await house.count("timesheet") == 0


async def test_minutes_may_move_between_rows_of_a_full_day(house: House) -> None:
    carl = house.people["carl"]
    await upload(house, row(carl, "a", minutes=1000), row(carl, "b", minutes=440))
    await upload(house, row(carl, "a", minutes=1100), row(carl, "b", minutes=340))
    assert await carls(house) == [("a", 1100), ("b", 340)]


async def test_uploads_at_once_for_the_same_new_week_all_succeed(house: House) -> None:
    carl, max_ = house.people["carl"], house.people["max"]
    found = await asyncio.gather(
        *(upload(house, row(carl, str(number)), row(max_, str(number), days=7)) for number in range(5)),
        *(upload(house, row(max_, str(number), days=7), row(carl, str(number))) for number in range(5)),
    )
    assert sorted(result.outcome for results in found for result in results) == ["created"] * 10 + ["unchanged"] * 10
    assert await house.count("timesheet") == 2


async def test_the_owner_may_correct_imported_hours_and_the_job_sets_them_right_again(house: House) -> None:
    carl = house.people["carl"]
    made = await upload_row(house, row(carl))
    hours = replace(row(carl), minutes=30)
    await house.timesheets.replace_entry(house.caller("carl"), made[0], at(1), made[1], hours)
    assert [result.outcome for result in await upload(house, row(carl))] == ["updated"]
    assert await carls(house) == [("job-1", 60)]


async def test_hours_that_a_client_uploaded_are_not_approved_by_it(house: House) -> None:
    made = await upload_row(house, row(house.people["carl"]))
    await house.timesheets.submit(house.caller("carl"), made[0], at(1))
    with pytest.raises(TimewardenError):
        await house.timesheets.approve(house.machine(scopes=frozenset({"approve:timesheets"})), made[0], anything)


async def test_a_refused_upload_names_a_decision_that_refused_it(house: House) -> None:
    granted, not_granted = house.people["carl"], house.people["adam"]
    assert granted < not_granted
    with pytest.raises(Forbidden) as refused:
        await upload(house, row(granted), row(not_granted))
    assert refused.value.decision is not None
    assert await house.count(f"audit_record WHERE uid = '{refused.value.decision[0]}' AND outcome = 'deny'") == 1


async def test_a_token_without_the_scope_writes_one_record_however_many_rows_it_sends(house: House) -> None:
    rows = [row(uuid4()) for _ in range(100)]
    before = await house.count("audit_record")
    with pytest.raises(InsufficientScope):
        await house.uploads.upload(house.machine(scopes=frozenset()), Rows.of(rows))
    assert await house.count("audit_record") == before + 1


async def test_the_sheets_of_an_upload_are_found_by_their_index(house: House) -> None:
    await house.owner.execute(
        "INSERT INTO person (id) SELECT gen_random_uuid() FROM generate_series(1, 200)",
    )
    await house.owner.execute(
        "INSERT INTO timesheet (id, owner_id, period_start, period_end, time_zone, state, version)"
        " SELECT gen_random_uuid(), id, day::date, day::date + 6, 'UTC', 'draft', 1 FROM person,"
        " generate_series('2020-01-06'::date, '2023-12-25', '7 days') AS day"
    )
    await house.owner.execute("ANALYZE timesheet")
    people = [person["id"] for person in await house.owner.fetch("SELECT id FROM person LIMIT 100")]
    plan = await house.owner.fetch(f"EXPLAIN {LOCK_SHEETS}", people, [MONDAY] * len(people), "job")
    told = "\n".join(line[0] for line in plan)
    assert "timesheet_owner_id_period_start_key" in told or "timesheet_owner_period" in told, told
    assert "Seq Scan on timesheet" not in told


async def merge(house: House, person: str, into: str) -> None:
    await Merging(house.gate).merge(house.administrator(), house.people[person], house.people[into])


async def test_rows_that_are_sent_again_after_a_merge_add_no_hours(house: House) -> None:
    carl, max_ = house.people["carl"], house.people["max"]
    made = await upload_row(house, row(carl))
    await merge(house, "carl", "max")
    for owner in (carl, max_):
        assert await upload_row(house, row(owner)) == made
    more, _ = await upload(house, row(max_, "job-2"), row(carl))
    assert (more.outcome, more.timesheet) == ("created", made[0])
    assert (await house.count("timesheet"), await house.count("entry")) == (1, 2)


async def test_rows_for_both_ids_of_a_person_go_into_one_timesheet(house: House) -> None:
    carl, max_ = house.people["carl"], house.people["max"]
    await merge(house, "carl", "max")
    found = await upload(house, row(carl, "job-1"), row(max_, "job-2"))
    assert len({result.timesheet for result in found}) == 1
    assert await house.owner.fetchval("SELECT owner_id FROM timesheet") == max_
    with pytest.raises(InvalidField, match="is the same as that of"):
        await upload(house, row(carl, "job-3"), row(max_, "job-3"))


@pytest.mark.parametrize("mode", UploadMode)
async def test_a_row_that_another_timesheet_of_the_week_has_is_not_added_again(house: House, mode: UploadMode) -> None:
    carl, max_ = house.people["carl"], house.people["max"]
    carls_row, maxs_row = await upload_row(house, row(carl, "of-carl")), await upload_row(house, row(max_, "of-max"))
    await merge(house, "carl", "max")
    rows = [row(max_, "of-carl"), row(carl, "of-max"), row(carl, "new")]
    uploaded, _ = await house.uploads.upload(house.machine(), Rows.of(rows), mode=mode)
    first, second, new = uploaded.results
    assert [(result.outcome, result.timesheet, result.entry) for result in (first, second)] == [
        ("unchanged", *carls_row),
        ("unchanged", *maxs_row),
    ]
    assert (new.outcome, new.timesheet) == ("created", maxs_row[0])
    with pytest.raises(Conflict, match="another timesheet"):
        await upload(house, row(max_, "of-carl", minutes=90))
    assert await house.count("entry") == 3


async def test_a_job_goes_on_with_the_timesheet_that_it_uploaded_to_before_a_merge(house: House) -> None:
    carl, max_ = house.people["carl"], house.people["max"]
    made = await upload_row(house, row(carl))
    await house.timesheets.create(house.caller("max"), MONDAY, None, [])
    await merge(house, "carl", "max")
    assert await upload_row(house, row(max_)) == made
    assert await house.count("entry") == 1


async def test_an_upload_opens_no_week_for_a_person_who_was_merged_while_it_waited(house: House) -> None:
    """Under the other id the week could be opened at the same moment."""
    carl = house.people["carl"]
    other = await house.log_database.connect("app")
    async with other.transaction():
        week = f"timesheet {carl} {MONDAY}"
        await other.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", week)
        uploading = asyncio.create_task(upload(house, row(carl)))
        await lock_is_waited_for(house.owner)
        await merge(house, "carl", "dora")
    with pytest.raises(TryLater, match="merged"):
        await uploading
    (found,) = await upload(house, row(carl))
    assert await house.owner.fetchval("SELECT owner_id FROM timesheet") == house.people["dora"]
    assert found.outcome == "created"


async def test_an_upload_locks_the_sheets_of_merged_people_in_the_order_of_all_other_requests(house: House) -> None:
    """A batch of approvals and an erasure lock sheets by the ids of their owners. Carl's is before max's, and the id
    that he got is after it."""
    carl, max_, dora = (house.people[name] for name in ("carl", "max", "dora"))
    sheet_of = {owner: (await upload_row(house, row(owner)))[0] for owner in (carl, max_)}
    await merge(house, "carl", "dora")
    other = await house.log_database.connect("owner")
    async with other.transaction():
        await other.execute("SELECT FROM timesheet WHERE id = $1 FOR UPDATE", sheet_of[carl])
        uploading = asyncio.create_task(upload(house, row(dora, "job-2"), row(max_, "job-2")))
        await lock_is_waited_for(house.owner)
        await other.execute("SELECT FROM timesheet WHERE id = $1 FOR UPDATE NOWAIT", sheet_of[max_])
    assert [found.outcome for found in await uploading] == ["created", "created"]


async def test_uploads_that_fall_in_with_others_of_the_same_owners_neither_block_nor_lose(house: House) -> None:
    carl, max_ = house.people["carl"], house.people["max"]
    rows = [row(owner, f"{n}", days=7 * n) for n in range(20) for owner in (carl, max_)]
    runs = [
        house.uploads.upload(house.machine(), Rows.of(given), mode=mode)
        for given in (rows, rows[::-1])
        for mode in (UploadMode.TOGETHER, UploadMode.PER_ROW)
    ]
    found = [uploaded.results.counts() for uploaded, _ in await asyncio.gather(*runs)]
    assert sum(counts["created"] for counts in found) == 40
    assert sum(counts["unchanged"] for counts in found) == 120
    assert await house.count("timesheet") == await house.count("entry") == 40
