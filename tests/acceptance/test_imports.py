"""Uploads over HTTP by a machine client: all rows or none, and a second run changes nothing."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.caller import SHEETS, fields, fresh_week, problem

if TYPE_CHECKING:
    from tests.acceptance.caller import Callers

UPLOADS = "/v1/uploads"


def row(owner: str, week: date, number: int = 0, **other: object) -> dict[str, Any]:
    day = (week + timedelta(days=number % 7)).isoformat()
    return {"owner": owner, "day": day, "project": "SITE", "minutes": 10, "external_ref": f"job/{number}", **other}


async def test_an_import_that_runs_twice_changes_nothing_the_second_time(callers: Callers) -> None:
    job, carl = await callers("payroll-import"), await callers("carl")
    owner, week = await carl.me(), fresh_week()
    rows = [row(owner, week, number, note="night shift") for number in range(5)]

    first = await job.post(UPLOADS, {"rows": rows})
    assert first.status_code == 200, first.text
    assert [row["outcome"] for row in first.json()["rows"]] == ["created"] * 5
    sheet = first.json()["rows"][0]["timesheet"]
    before = await carl.get(f"{SHEETS}/{sheet}")
    second = await job.post(UPLOADS, {"rows": rows})
    assert [row["outcome"] for row in second.json()["rows"]] == ["unchanged"] * 5
    assert [row["entry"] for row in second.json()["rows"]] == [row["entry"] for row in first.json()["rows"]]
    after = await carl.get(f"{SHEETS}/{sheet}")
    assert (after.json(), after.headers["ETag"]) == (before.json(), before.headers["ETag"])
    third = await job.post(UPLOADS, {"rows": [{**rows[0], "minutes": 20}, rows[1]]})
    assert [row["outcome"] for row in third.json()["rows"]] == ["updated", "unchanged"]


async def test_one_refused_row_stops_all_and_is_told_by_its_number(callers: Callers) -> None:
    job, carl, ben = await callers("payroll-import"), await callers("carl"), await callers("ben")
    week = fresh_week()
    rows = [row(await carl.me(), week), row(await ben.me(), week), row("0198c0de-0000-7000-8000-00000000dead", week)]

    refused = problem(await job.post(UPLOADS, {"rows": rows}), 403, "forbidden")
    assert [row["row"] for row in refused["rows"]] == [1, 2]
    # A person of another team and an unknown person give the same error.
    assert len({row["reason"] for row in refused["rows"]}) == 1
    mine = (await carl.get(SHEETS, since=week.isoformat(), until=week.isoformat())).json()["items"]
    assert mine == []


async def test_a_persons_token_uploads_nothing(callers: Callers) -> None:
    carl, mia = await callers("carl"), await callers("mia")
    rows = {"rows": [row(await carl.me(), fresh_week())]}

    for caller in (carl, mia):
        refused = problem(await caller.post(UPLOADS, rows), 403, "insufficient-scope")
        assert refused["required_scope"] == ["batch:upload"]


async def test_an_import_into_a_closed_week_is_refused(callers: Callers) -> None:
    job, carl = await callers("payroll-import"), await callers("carl")
    week = fresh_week()
    made = (await job.post(UPLOADS, {"rows": [row(await carl.me(), week)]})).json()
    path = f"{SHEETS}/{made['rows'][0]['timesheet']}"
    version = (await carl.get(path)).headers["ETag"]
    assert (await carl.post(f"{path}/submit", if_match=version)).status_code == 200

    refused = problem(await job.post(UPLOADS, {"rows": [row(await carl.me(), week, 3)]}), 409, "wrong-state")
    assert [row["row"] for row in refused["rows"]] == [0]
    # A row that was delivered before is no fault.
    again = await job.post(UPLOADS, {"rows": [row(await carl.me(), week)]})
    assert [row["outcome"] for row in again.json()["rows"]] == ["unchanged"]


async def test_hours_that_were_imported_are_approved_by_the_lead(callers: Callers) -> None:
    job, carl, mia = await callers("payroll-import"), await callers("carl"), await callers("mia")
    week = fresh_week()
    made = (await job.post(UPLOADS, {"rows": [row(await carl.me(), week)]})).json()
    path = f"{SHEETS}/{made['rows'][0]['timesheet']}"
    problem(await job.get(path), 403, "insufficient-scope")
    handed = await carl.post(f"{path}/submit", if_match=(await carl.get(path)).headers["ETag"])

    approved = await mia.post(f"{path}/approve", if_match=handed.headers["ETag"])
    assert approved.json()["state"] == "approved"


async def test_the_number_of_rows_is_bounded_and_a_hundred_fit(callers: Callers) -> None:
    job, owner = await callers("payroll-import"), await (await callers("carl")).me()
    week = fresh_week()

    assert fields(await job.post(UPLOADS, {"rows": []})) == ["rows"]
    assert fields(await job.post(UPLOADS, {"rows": [row(owner, week, number) for number in range(101)]})) == ["rows"]
    hundred = await job.post(UPLOADS, {"rows": [row(owner, week, number) for number in range(100)]})
    assert hundred.status_code == 200
    assert len(hundred.json()["decisions"]) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"owner": "carl"}, "rows[1].owner"),
        ({"minutes": 0}, "rows[1].minutes"),
        ({"minutes": 1441}, "rows[1].minutes"),
        ({"minutes": "60"}, "rows[1].minutes"),
        ({"minutes": 7.5}, "rows[1].minutes"),
        ({"day": "2026-02-30"}, "rows[1].day"),
        ({"day": "1999-12-31"}, "rows[1].day"),
        ({"project": ""}, "rows[1].project"),
        ({"project": "a b"}, "rows[1].project"),
        ({"external_ref": ""}, "rows[1].external_ref"),
        ({"external_ref": "x" * 101}, "rows[1].external_ref"),
        ({"external_ref": "a\u0000b"}, "rows[1].external_ref"),
        ({"note": "a\u0007b"}, "rows[1].note"),
        ({"time_zone": "Mars/Olympus"}, "rows[1].time_zone"),
        ({"surprise": 1}, "rows[1].surprise"),
    ],
)
async def test_a_wrong_row_is_named_with_its_field(callers: Callers, change: dict[str, object], field: str) -> None:
    job, owner = await callers("payroll-import"), await (await callers("carl")).me()
    week = fresh_week()

    answer = await job.post(UPLOADS, {"rows": [row(owner, week, 0), {**row(owner, week, 1), **change}]})
    assert fields(answer) == [field]


async def test_two_rows_with_one_natural_key_are_refused(callers: Callers) -> None:
    job, owner = await callers("payroll-import"), await (await callers("carl")).me()
    twin = row(owner, fresh_week())

    assert fields(await job.post(UPLOADS, {"rows": [twin, {**twin, "minutes": 20}]})) == ["rows[1].external_ref"]
