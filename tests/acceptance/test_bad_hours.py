"""Hours and weeks that cannot be, over HTTP: each is refused by the name of its field, and changes nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.caller import SHEETS, draft, fields, fresh_week, problem

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2

    from tests.acceptance.caller import Caller, Callers

pytestmark = pytest.mark.usefixtures("nothing_unexpected")

MERGE_PATCH = "application/merge-patch+json"
# As they stand in a body: JSON has more ways to write a number than the languages that read it.
NOT_MINUTES = ["0", "-1", "-0.5", "7.5", "1e2", "100.0", "1E+2", '"60"', '"1:30"', "1441", "99999999999999999999"]
NOT_MINUTES += ["1e400", "true", "null", "[60]", "{}"]
NO_JSON = ["NaN", "Infinity", "-Infinity", "0x3c", "+60", "060", "1_000", "60.", ".5"]


async def enter(caller: Caller, sheet: httpx2.Response, minutes: str) -> httpx2.Response:
    day = sheet.json()["period_start"]
    content = f'{{"day":"{day}","project":"ATLAS","minutes":{minutes}}}'.encode()
    path = f"{SHEETS}/{sheet.json()['id']}/entries"
    return await caller.send("POST", path, content=content, if_match=sheet.headers["ETag"])


async def patch(caller: Caller, sheet: httpx2.Response, minutes: str) -> httpx2.Response:
    path = f"{SHEETS}/{sheet.json()['id']}/entries/{sheet.json()['entries'][0]['id']}"
    headers, content = {"Content-Type": MERGE_PATCH}, f'{{"minutes":{minutes}}}'.encode()
    return await caller.send("PATCH", path, content=content, headers=headers, if_match=sheet.headers["ETag"])


async def assert_unchanged(caller: Caller, sheet: httpx2.Response) -> bool:
    return bool((await caller.get(f"{SHEETS}/{sheet.json()['id']}")).json() == sheet.json())


async def test_minutes_are_whole_and_those_of_one_day(callers: Callers) -> None:
    ana = await callers("ana")
    sheet = await draft(ana)
    for send in (enter, patch):
        for minutes in NOT_MINUTES:
            assert fields(await send(ana, sheet, minutes)) == ["minutes"], minutes
        for minutes in NO_JSON:
            answer = await send(ana, sheet, minutes)
            if answer.status_code == 400:
                problem(answer, 400, "malformed-request")
            else:
                assert fields(answer) == ["minutes"], minutes
    assert await assert_unchanged(ana, sheet)


async def test_a_day_has_no_more_minutes_than_it_has(callers: Callers) -> None:
    ana = await callers("ana")
    sheet = await draft(ana, minutes=1000)
    assert fields(await enter(ana, sheet, "441")) == ["minutes"]
    assert (await enter(ana, sheet, "440")).status_code == 201


@pytest.mark.parametrize(
    "day",
    [
        lambda week: (week - timedelta(days=1)).isoformat(),
        lambda week: (week + timedelta(days=7)).isoformat(),
        lambda week: f"{week.year}-02-30",
        lambda week: f"{week.year}-W10-1",
        lambda week: f"{week.isoformat()}T00:00:00",
        lambda _: "0000-00-00",
        lambda _: "today",
    ],
)
async def test_a_day_lies_in_the_sheets_week(callers: Callers, day: Callable[..., str]) -> None:
    ana = await callers("ana")
    sheet = await draft(ana)
    wrong = day(fresh_week().fromisoformat(sheet.json()["period_start"]))
    entry = {"day": wrong, "project": "ATLAS", "minutes": 60}
    path = f"{SHEETS}/{sheet.json()['id']}/entries"
    assert fields(await ana.post(path, entry, if_match=sheet.headers["ETag"])) == ["day"]
    assert await assert_unchanged(ana, sheet)


async def test_hours_go_to_projects_that_are_known(callers: Callers) -> None:
    ana = await callers("ana")
    sheet = await draft(ana)
    path = f"{SHEETS}/{sheet.json()['id']}/entries"
    for project in ("NOWHERE", "atlas", "ATLAS.", "A" * 40):
        entry = {"day": sheet.json()["period_start"], "project": project, "minutes": 60}
        assert fields(await ana.post(path, entry, if_match=sheet.headers["ETag"])) == ["project"], project
    assert await assert_unchanged(ana, sheet)


async def test_a_week_begins_on_its_monday_and_overlaps_no_other(callers: Callers) -> None:
    ana, week = await callers("ana"), fresh_week()
    made = await ana.post(SHEETS, {"period_start": week.isoformat(), "time_zone": "Europe/Berlin"})
    assert made.status_code == 201
    for days in range(1, 7):
        overlapping = {"period_start": (week + timedelta(days=days)).isoformat()}
        assert fields(await ana.post(SHEETS, overlapping)) == ["period_start"]
    again = await ana.post(SHEETS, {"period_start": week.isoformat(), "time_zone": "UTC"})
    assert problem(again, 409, "conflict")["timesheet"] == made.json()["id"]


@pytest.mark.parametrize(
    "zone", ["Berlin", "europe/berlin", "CEST", "+01:00", "UTC+1", "Europe/Berlin ", "", "posix/UTC/.."]
)
async def test_a_sheets_time_zone_is_one_that_there_is(callers: Callers, zone: str) -> None:
    body = {"period_start": fresh_week().isoformat(), "time_zone": zone}
    assert fields(await (await callers("ana")).post(SHEETS, body)) == ["time_zone"]


@pytest.mark.parametrize("step", ["reject", "reopen", "lock", "unlock"])
async def test_a_step_that_wants_a_reason_names_it(callers: Callers, step: str) -> None:
    sheet = await draft(await callers("ana"))
    path, pia = f"{SHEETS}/{sheet.json()['id']}/{step}", await callers("pia")
    for reason in ({}, {"reason": ""}, {"reason": "x" * 1001}, {"reason": None}, {"reason": "a\u0000"}):
        assert fields(await pia.post(path, reason, if_match='"1"')) == ["reason"], reason
    assert fields(await pia.post(path, {"reason": "why", "force": True}, if_match='"1"')) == ["force"]
