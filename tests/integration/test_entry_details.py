"""Activities, billable hours, tags, notes on days, and absence: by hand and by import, recorded and erased."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from service.timesheets.timesheet import MAX_ENTRIES_AT_ONCE
from tests.integration.house import MONDAY, at
from tests.integration.test_entries_over_http import ENTRY, MERGE_PATCH, Sheet, sheet_of
from tests.integration.test_week_at_once import create, last_change, on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

TUESDAY = "2026-03-03"


@pytest.fixture
async def sheet(house: House, issuer: str) -> AsyncIterator[Sheet]:
    async with sheet_of(house, issuer) as made:
        await furnish(made)
        yield made


@pytest.fixture(scope="module")
async def common_sheet(common_house: House, issuer: str) -> AsyncIterator[Sheet]:
    """For all tests that change nothing."""
    async with sheet_of(common_house, issuer) as made:
        await furnish(made)
        yield made


async def furnish(sheet: Sheet) -> None:
    """SITE is billed and has activities; LEAVE is absence."""
    site = {"name": "Site", "active": True, "billable": True, "activities": ["design", "build"]}
    changed = await administer(sheet, "PUT", "/v1/projects/SITE", site, {"If-Match": '"1"'})
    assert (changed.status_code, changed.json()["activities"]) == (200, ["design", "build"]), changed.text
    added = await administer(sheet, "POST", "/v1/projects", {"code": "LEAVE", "name": "Leave", "kind": "absence"})
    assert (added.status_code, added.json()["kind"]) == (201, "absence"), added.text


async def administer(
    sheet: Sheet, method: str, path: str, body: object, headers: dict[str, str] | None = None
) -> httpx2.Response:
    token = sheet.running.token(sub="adam", scope="manage:directory", roles=["administrator"])
    return await sheet.running.send(method, path, token, headers=headers or {}, body=body)


def details_of(entry: dict[str, Any]) -> tuple[object, ...]:
    return entry["activity"], entry["billable"], entry["tags"]


async def test_an_entry_has_an_activity_tags_and_a_flag_that_the_project_sets(house: House, sheet: Sheet) -> None:
    entry = on(1, "SITE", activity="design", tags=["on site", "übergabe"])
    added = await sheet.send("POST", "/entries", entry, 2)
    assert added.status_code == 201, added.text
    _, made = added.json()["entries"]
    assert details_of(made) == ("design", True, ["on site", "übergabe"])
    change = await last_change(house)
    (recorded,) = change["change"]["to"]["entries"]
    assert (recorded["activity"], recorded["billable"]) == ("design", True)
    assert change["commitments"].keys() == {f"tags.{made['id']}"}
    assert await house.count_records_with("on site") == 0
    listed = (await sheet.running.send("GET", "/v1/timesheets", sheet.running.token(sub="ana"))).json()["items"][0]
    assert listed["entries"][1] == made
    # A patch keeps what it does not name, and the hours of another project are billed as that project says.
    path = f"/entries/{made['id']}"
    kept = await sheet.send("PATCH", path, {"minutes": 5, "billable": False, "tags": []}, 3, MERGE_PATCH)
    assert details_of(kept.json()["entries"][1]) == ("design", False, [])
    moved = await sheet.send("PUT", path, on(1, "ATLAS"), 4)
    assert details_of(moved.json()["entries"][1]) == (None, False, [])
    back = await sheet.send("PUT", path, on(1, "SITE"), 5)
    assert details_of(back.json()["entries"][1]) == (None, True, [])


async def test_the_same_list_with_details_again_changes_nothing(sheet: Sheet) -> None:
    wanted = {"entries": [on(1, "SITE", activity="build", tags=["a"]), on(1, "SITE"), on(2, "LEAVE", 480)]}
    first = await sheet.send("PUT", "/entries", wanted, 2)
    assert [details_of(entry) for entry in first.json()["entries"]] == [
        ("build", True, ["a"]),
        (None, True, []),
        (None, False, []),
    ]
    again = await sheet.send("PUT", "/entries", wanted, 3)
    assert (again.headers["ETag"], again.json()["entries"]) == ('"3"', first.json()["entries"])
    one_not_billed = {"entries": [*wanted["entries"][:1], on(1, "SITE", billable=False), wanted["entries"][2]]}
    changed = await sheet.send("PUT", "/entries", one_not_billed, 3)
    assert [entry["billable"] for entry in changed.json()["entries"]] == [True, False, False]
    copied = await create(sheet, {"copy_from": "2026-03-02"})
    assert sorted(map(str, map(details_of, copied.json()["entries"]))) == sorted(
        map(str, map(details_of, changed.json()["entries"]))
    )


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"activity": "no such"}, "activity"),
        ({"activity": "paint"}, "activity"),
        ({"activity": "design", "project": "ATLAS"}, "activity"),
        ({"activity": "x" * 21}, "activity"),
        ({"billable": True, "project": "LEAVE"}, "billable"),
        ({"billable": "yes"}, "billable"),
        ({"tags": ["a", "a"]}, "tags[1]"),
        ({"tags": ["a;b"]}, "tags[0]"),
        ({"tags": ["a", "b,c"]}, "tags[1]"),
        ({"tags": [" a"]}, "tags[0]"),
        ({"tags": [""]}, "tags[0]"),
        ({"tags": ["x" * 31]}, "tags[0]"),
        ({"tags": ["a\x00"]}, "tags[0]"),
        ({"tags": [str(number) for number in range(11)]}, "tags"),
        ({"tags": "a"}, "tags"),
    ],
    ids=str,
)
async def test_wrong_details_are_named_wherever_they_stand(
    common_house: House, common_sheet: Sheet, wrong: dict[str, object], field: str
) -> None:
    entry = {**on(1, "SITE"), **wrong}
    for method, rest, body, prefix in (
        ("POST", "/entries", entry, ""),
        ("PUT", f"/entries/{common_sheet.entry}", entry, ""),
        ("PUT", "/entries", {"entries": [on(0), entry]}, "entries[1]."),
        ("POST", "/entries/batch", {"entries": [entry]}, "entries[0]."),
    ):
        answer = await common_sheet.send(method, rest, body, 2)
        assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, prefix + field), answer.text
    row = {**entry, "owner": str(common_house.people["carl"]), "external_ref": "1"}
    uploaded = await upload(common_sheet, json.dumps({"rows": [row]}).encode(), "application/json")
    assert (uploaded.status_code, uploaded.json()["fields"][0]["field"]) == (422, f"rows[0].{field}"), uploaded.text
    assert await common_sheet.entries() == [ENTRY]


async def test_an_activity_that_the_project_dropped_stays_on_old_hours(sheet: Sheet) -> None:
    await sheet.send("POST", "/entries", on(1, "SITE", activity="design"), 2)
    site = {"name": "Site", "active": True, "activities": ["build"]}
    changed = await administer(sheet, "PUT", "/v1/projects/SITE", site, {"If-Match": '"2"'})
    # The change does not name `billable`, so that stays.
    assert (changed.json()["billable"], changed.json()["activities"]) == (True, ["build"]), changed.text
    entry = (await sheet.send("GET", "", None, None)).json()["entries"][1]["id"]
    kept = await sheet.send("PATCH", f"/entries/{entry}", {"minutes": 5}, 3, MERGE_PATCH)
    assert kept.json()["entries"][1]["activity"] == "design"
    refused = await sheet.send("POST", "/entries", on(2, "SITE", activity="design"), 4)
    assert refused.json()["fields"] == [
        {"field": "activity", "message": "is no activity of this project; it has build"}
    ]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"kind": "holiday"}, "kind"),
        ({"kind": "absence", "billable": True}, "billable"),
        ({"kind": "absence"}, "billable"),
        ({"activities": ["a", "a"]}, "activities[1]"),
        ({"activities": ["a b"]}, "activities[0]"),
        ({"activities": [f"a{number}" for number in range(101)]}, "activities"),
    ],
    ids=str,
)
async def test_wrong_terms_of_a_project_are_named(common_sheet: Sheet, wrong: dict[str, object], field: str) -> None:
    site = {"name": "Site", "active": True, **wrong}
    answer = await administer(common_sheet, "PUT", "/v1/projects/SITE", site, {"If-Match": '"2"'})
    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, field), answer.text


async def test_days_have_notes(house: House, sheet: Sheet) -> None:
    noted = await sheet.send("PATCH", "", {"day_notes": {TUESDAY: "Trade fair"}}, 2, MERGE_PATCH)
    assert (noted.status_code, noted.json()["day_notes"], noted.headers["ETag"]) == (
        200,
        {TUESDAY: "Trade fair"},
        '"3"',
    ), noted.text
    change = await last_change(house)
    assert (change["change"]["to"]["day_notes"], list(change["commitments"])) == ([TUESDAY], [f"day.{TUESDAY}"])
    assert await house.count_records_with("Trade fair") == 0
    more = await sheet.send("PATCH", "", {"day_notes": {"2026-03-08": "On call"}}, 3, MERGE_PATCH)
    assert more.json()["day_notes"] == {TUESDAY: "Trade fair", "2026-03-08": "On call"}
    same = await sheet.send("PATCH", "", {"day_notes": {TUESDAY: "Trade fair", "2026-03-04": None}}, 4, MERGE_PATCH)
    assert (same.status_code, same.headers["ETag"]) == (200, '"4"')
    kept = await sheet.send("PUT", "/entries", {"entries": []}, 4)
    assert kept.json()["day_notes"] == more.json()["day_notes"]
    replaced = await sheet.send("PUT", "/entries", {"entries": [], "day_notes": {TUESDAY: "Fair"}}, 5)
    assert replaced.json()["day_notes"] == {TUESDAY: "Fair"}
    listed = await sheet.running.send("GET", "/v1/timesheets", sheet.running.token(sub="ana"))
    assert listed.json()["items"][0]["day_notes"] == {TUESDAY: "Fair"}
    opened = await create(sheet, {"day_notes": {"2026-03-10": "Trade fair"}})
    assert (opened.status_code, opened.json()["day_notes"]) == (201, {"2026-03-10": "Trade fair"})
    assert list((await last_change(house))["commitments"]) == ["day.2026-03-10"]


@pytest.mark.parametrize(
    ("notes", "field"),
    [
        ({"2026-03-09": "late"}, "day_notes.2026-03-09"),
        ({"2026-03-01": None}, "day_notes.2026-03-01"),
        ({TUESDAY: ""}, f"day_notes.{TUESDAY}"),
        ({TUESDAY: "x" * 501}, f"day_notes.{TUESDAY}"),
        ({TUESDAY: "a\x07"}, f"day_notes.{TUESDAY}"),
        ({TUESDAY: 7}, f"day_notes.{TUESDAY}"),
        ({"Tuesday": "a"}, "day_notes"),
        ([], "day_notes"),
    ],
    ids=str,
)
async def test_a_wrong_note_names_its_day(common_sheet: Sheet, notes: object, field: str) -> None:
    answer = await common_sheet.send("PATCH", "", {"day_notes": notes}, 2, MERGE_PATCH)
    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, field), answer.text
    assert (await common_sheet.send("GET", "", None, None)).json()["day_notes"] == {}


async def upload(sheet: Sheet, content: bytes, kind: str) -> httpx2.Response:
    token = sheet.running.token(sub="payroll-import", client_id="payroll-import", scope="batch:upload")
    return await sheet.running.send("POST", "/v1/uploads", token, content=content, headers={"Content-Type": kind})


async def test_details_are_imported_from_json_lines_and_csv(house: House, sheet: Sheet) -> None:
    carl = str(house.people["carl"])
    row = {"owner": carl, "external_ref": "1", **on(0, "SITE", activity="design", tags=["a", "b c"])}
    file = f"owner,day,project,minutes,external_ref,activity,billable,tags\n{carl},2026-03-02,SITE,60,1,design,,a;b c\n"
    for content, kind, outcome in (
        (json.dumps({"rows": [row]}).encode(), "application/json", "created"),
        (json.dumps(row).encode(), "application/x-ndjson", "unchanged"),
        (file.encode(), "text/csv", "unchanged"),
        (file.replace("design,,", "design,false,").encode(), "text/csv", "updated"),
        (json.dumps(row).encode(), "application/x-ndjson", "unchanged"),
    ):
        answer = await upload(sheet, content, kind)
        assert answer.status_code == 200, answer.text
        assert answer.json()["rows"][0]["outcome"] == outcome, kind
    (stored,) = await house.owner.fetch("SELECT activity, billable, tags FROM entry WHERE external_ref = '1'")
    assert tuple(stored) == ("design", False, ["a", "b c"])
    wrong = await upload(sheet, file.replace("design,,", "design,yes,").encode(), "text/csv")
    assert (wrong.status_code, wrong.json()["fields"][0]["field"]) == (422, "rows[0].billable")


async def test_the_most_that_a_list_and_an_import_change_fits_into_one_record(house: House, sheet: Sheet) -> None:
    longest, activity = "L" * 40, "a" * 20
    project = {"code": longest, "name": "Longest", "billable": True, "activities": [activity]}
    assert (await administer(sheet, "POST", "/v1/projects", project)).status_code == 201
    tags = [f"{number}{'t' * 29}" for number in range(10)]
    details = {"activity": activity, "tags": tags, "note": "n" * 500}
    for minutes, version in ((1, 2), (2, 3)):
        entries = [on(place % 7, longest, minutes, **details) for place in range(MAX_ENTRIES_AT_ONCE)]
        notes = {on(day)["day"]: details["note"] for day in range(7)}
        body = {"entries": entries, "day_notes": {day: f"{note[:499]}{minutes}" for day, note in notes.items()}}
        answer = await sheet.send("PUT", "/entries", body, version)
        assert answer.status_code == 200, answer.text
    carl = {"owner": str(house.people["carl"])}
    for minutes in (1, 2):
        rows = [
            {**carl, "external_ref": str(place), **on(place % 7, longest, minutes, **details)}
            for place in range(MAX_ENTRIES_AT_ONCE)
        ]
        lines = b"\n".join(json.dumps(row).encode() for row in rows)
        uploaded = await upload(sheet, lines, "application/x-ndjson")
        assert uploaded.status_code == 200, uploaded.text
    longest_record = await house.owner.fetchval("SELECT max(length(body)) FROM audit_record WHERE kind = 'change'")
    assert longest_record <= 65_535


async def test_an_erasure_removes_tags_and_notes_on_days(house: House, sheet: Sheet) -> None:
    body = {"entries": [on(0, tags=["with the client"])], "day_notes": {TUESDAY: "Trade fair"}}
    assert (await sheet.send("PUT", "/entries", body, 2)).status_code == 200
    submitted = await sheet.send("POST", "/submit", None, 3)
    assert submitted.status_code == 200
    sheet_id = await house.owner.fetchval("SELECT id FROM timesheet WHERE period_start = $1", MONDAY)
    await house.timesheets.approve(house.caller("mia"), sheet_id, at(4))
    await house.erasure.erase(house.administrator(), house.people["ana"])
    assert await house.count("entry WHERE tags <> '{}'") == 0
    assert await house.count("timesheet WHERE day_notes <> '{}'") == 0
    assert await house.count("audit_text WHERE value IN ('with the client', 'Trade fair')") == 0
