"""A week with one request: created with its entries, replaced or filled under one ETag, whole or not at all."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.directory.entities import Project
from service.errors import StepUpNeeded
from service.log.record import read_body
from service.timesheets.entry import Hours, week_of
from service.timesheets.timesheet import MAX_ENTRIES_AT_ONCE
from tests.integration.house import activate_unread
from tests.integration.test_entries_over_http import ENTRY, Sheet, common_sheet, sheet, sheet_of
from tests.policy_forge import rows

if TYPE_CHECKING:
    import httpx2

    from tests.integration.house import House

__all__ = ["common_sheet", "sheet"]

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

MONDAY = date(2026, 3, 2)
NOBODYS = "0198c0de-0000-7000-8000-00000000dead"


def on(day: int, project: str = "ATLAS", minutes: float = 60, **more: object) -> dict[str, object]:
    return {"day": str(MONDAY + timedelta(days=day)), "project": project, "minutes": minutes, **more}


async def last_change(house: House) -> dict[str, Any]:
    body = await house.owner.fetchval("SELECT body FROM audit_record WHERE kind = 'change' ORDER BY id DESC LIMIT 1")
    found: dict[str, Any] = read_body(body)
    return found


async def create(sheet: Sheet, body: dict[str, object]) -> httpx2.Response:
    token = sheet.running.token(sub="ana")
    return await sheet.running.send("POST", "/v1/timesheets", token, body={"period_start": "2026-03-09", **body})


async def test_a_list_replaces_all_entries_with_one_decision_and_one_record(house: House, sheet: Sheet) -> None:
    (old,) = (await sheet.send("GET", "", None, None)).json()["entries"]
    records = await house.count("audit_record")
    wanted = [on(0, minutes=90, note="kick-off, longer", id=old["id"]), on(1), on(1), on(2, "SITE", note="drill")]
    answer = await sheet.send("PUT", "/entries", {"entries": wanted}, 2)
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"3"'), answer.text
    found = answer.json()["entries"]
    assert [entry["minutes"] for entry in found] == [90, 60, 60, 60]
    assert found[0]["id"] == old["id"]
    assert answer.json()["minutes"] == 270
    assert await house.count("audit_record") == records + 2
    change = await last_change(house)
    described = [{name: entry[name] for name in ("day", "id", "minutes", "project")} for entry in (old, *found)]
    assert change["change"]["from"]["entries"] == described[:1]
    assert change["change"]["to"]["entries"] == described[1:]
    assert change["commitments"].keys() == {f"note.{found[0]['id']}", f"note.{found[3]['id']}"}
    # Entries that the list leaves out are removed.
    emptied = await sheet.send("PUT", "/entries", {"entries": []}, 3)
    assert (emptied.json()["entries"], emptied.json()["minutes"], emptied.json()["version"]) == ([], 0, 4)


async def test_the_same_list_again_keeps_every_entry_and_makes_no_new_version(house: House, sheet: Sheet) -> None:
    wanted = {"entries": [on(0), on(1), on(1), on(3, note="drill")]}
    first = await sheet.send("PUT", "/entries", wanted, 2)
    changes = await house.count("audit_record WHERE kind = 'change'")
    again = await sheet.send("PUT", "/entries", wanted, 3)
    assert (again.status_code, again.headers["ETag"]) == (200, '"3"')
    assert again.json()["entries"] == first.json()["entries"]
    assert await house.count("audit_record WHERE kind = 'change'") == changes
    assert (await sheet.send("PUT", "/entries", wanted, 2)).status_code == 412


async def test_many_entries_are_added_at_once(sheet: Sheet) -> None:
    answer = await sheet.send("POST", "/entries/batch", {"entries": [on(0), on(1, "SITE"), on(6)]}, 2)
    assert (answer.status_code, answer.headers["ETag"]) == (201, '"3"'), answer.text
    assert [entry["project"] for entry in answer.json()["entries"]] == ["ATLAS", "ATLAS", "SITE", "ATLAS"]


async def test_a_week_is_created_with_its_entries(house: House, sheet: Sheet) -> None:
    records = await house.count("audit_record")
    entries = [on(7, note="kick-off"), on(8, "SITE", 480)]
    answer = await create(sheet, {"entries": entries})
    assert (answer.status_code, answer.headers["ETag"]) == (201, '"1"'), answer.text
    assert answer.json()["minutes"] == 540
    assert await house.count("audit_record") == records + 2
    change = await last_change(house)
    assert (change["change"]["type"], change["change"]["from"]) == ("timesheet.created", {})
    assert [entry["minutes"] for entry in change["change"]["to"]["entries"]] == [60, 480]
    assert await house.count_records_with("kick-off") == 0
    path = answer.headers["Location"]
    token = sheet.running.token(sub="ana")
    assert (await sheet.running.send("GET", path, token)).json() == answer.json()
    # The law on approvals remembers who entered the hours.
    editors = "SELECT editors FROM timesheet WHERE id = $1::text::uuid"
    assert await house.owner.fetchval(editors, answer.json()["id"]) == [house.people["ana"]]


async def test_a_week_with_entries_needs_the_right_to_edit_too(house: House) -> None:
    policy = rows(
        "p, allow, owner, create, any, timesheet, create:timesheets, always, create-own",
        "p, allow, owner, edit, draft, timesheet, create:timesheets, mfa, edit-own",
    )
    await house.versions.switch_to(await activate_unread(house, policy))
    with pytest.raises(StepUpNeeded):
        await house.timesheets.create(house.caller("ana"), MONDAY, "UTC", [Hours(MONDAY, "x", 5)])
    assert await house.read_last_record() == ("edit", "deny", False, None)
    assert (await house.timesheets.create(house.caller("ana"), MONDAY, "UTC")).value.version == 1


@pytest.mark.parametrize(
    ("entries", "fields"),
    [
        ([on(0), on(7)], ["entries[1].day"]),
        ([on(0), on(-1), on(8)], ["entries[1].day", "entries[2].day"]),
        ([on(0, minutes=1000), on(1), on(0, minutes=1000)], ["entries[0].minutes", "entries[2].minutes"]),
        ([on(0), on(0, "no such"), on(1, note="")], ["entries[1].project", "entries[2].note"]),
        ([on(0), on(0, "NOWHERE")], ["entries[1].project"]),
        ([on(0, minutes=0), on(0, minutes=7.5), {"day": "2026-03-02"}], None),
        ([on(0, id=NOBODYS)], ["entries[0].id"]),
        ([on(0), on(0, id="17")], ["entries[1].id"]),
        ([on(0, hours=7)], ["entries[0].hours"]),
        ([on(0, external_ref="7")], ["entries[0].external_ref"]),
        ([on(0, minutes=1)] * (MAX_ENTRIES_AT_ONCE + 1), ["entries"]),
        ([on(0, minutes=1)] * 500, ["entries"]),
        ({}, ["entries"]),
        (None, ["entries"]),
    ],
    ids=str,
)
async def test_a_list_with_a_wrong_entry_names_it_and_changes_nothing(
    common_sheet: Sheet, entries: object, fields: list[str] | None
) -> None:
    answer = await common_sheet.send("PUT", "/entries", {"entries": entries}, 2)
    assert answer.status_code == 422, answer.text
    named = [error["field"] for error in answer.json()["fields"]]
    assert named == (fields or ["entries[0].minutes", "entries[1].minutes", "entries[2].project", "entries[2].minutes"])
    assert await common_sheet.entries() == [ENTRY]


async def test_an_entry_is_named_once_in_a_list(common_sheet: Sheet) -> None:
    twins = {"entries": [on(0, id=common_sheet.entry), on(1), on(2, id=common_sheet.entry)]}
    answer = await common_sheet.send("PUT", "/entries", twins, 2)
    assert [error["field"] for error in answer.json()["fields"]] == ["entries[2].id"]
    assert await common_sheet.entries() == [ENTRY]


@pytest.mark.parametrize("rest", ["/entries", "/entries/batch"])
@pytest.mark.parametrize(("version", "status"), [(None, 428), (1, 412), (3, 412)])
async def test_a_list_needs_the_version_that_was_seen(
    common_sheet: Sheet, rest: str, version: int | None, status: int
) -> None:
    method = "PUT" if rest == "/entries" else "POST"
    assert (await common_sheet.send(method, rest, {"entries": [on(1)]}, version)).status_code == status
    assert await common_sheet.entries() == [ENTRY]


@pytest.mark.parametrize(
    ("entries", "field"),
    [([on(0)], "entries[0].day"), ([on(7), on(8, "NOWHERE")], "entries[1].project"), ([on(7, id=NOBODYS)], None)],
    ids=str,
)
async def test_a_week_with_a_wrong_entry_is_not_created(
    house: House, sheet: Sheet, entries: list[object], field: str | None
) -> None:
    answer = await create(sheet, {"entries": entries})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["fields"]] == [field or "entries[0].id"]
    assert await house.count("timesheet") == 1


async def test_a_list_keeps_hours_on_a_closed_project_and_takes_no_new_ones(house: House, sheet: Sheet) -> None:
    await house.projects.replace(house.administrator(), Project("ATLAS", "Atlas", active=False))
    kept = await sheet.send("PUT", "/entries", {"entries": [ENTRY, on(1, "SITE")]}, 2)
    assert kept.status_code == 200, kept.text
    refused = await sheet.send("PUT", "/entries", {"entries": [on(1, "SITE"), on(2)]}, 3)
    assert (refused.status_code, refused.json()["fields"][0]["field"]) == (422, "entries[1].project")


async def test_the_largest_list_fits_into_one_record(house: House, sheet: Sheet) -> None:
    longest = "p" * 40
    for minutes, version in ((1, 2), (2, 3)):
        entries = [on(day % 7, longest, minutes, note="\U0001f600" * 500) for day in range(MAX_ENTRIES_AT_ONCE)]
        answer = await sheet.send("PUT", "/entries", {"entries": entries}, version)
        assert answer.status_code == 200, answer.text
    change = await last_change(house)
    assert [len(change["change"][side]["entries"]) for side in ("from", "to")] == [MAX_ENTRIES_AT_ONCE] * 2


async def test_a_full_sheet_is_not_emptied_by_one_list(house: House, sheet: Sheet) -> None:
    for version in (2, 3):
        entries = [on(day % 7, minutes=1) for day in range(MAX_ENTRIES_AT_ONCE)]
        assert (await sheet.send("POST", "/entries/batch", {"entries": entries}, version)).status_code == 201
    answer = await sheet.send("PUT", "/entries", {"entries": []}, 4)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:timewarden:problem:conflict")
    assert await house.count("entry") == 2 * MAX_ENTRIES_AT_ONCE + 1


async def test_a_stranger_learns_nothing_from_a_list(sheet: Sheet) -> None:
    for version in ('"2"', '"9"'):
        for method, rest in (("PUT", "/entries"), ("POST", "/entries/batch")):
            token, body = sheet.running.token(sub="carl"), {"entries": [on(0, "NOWHERE")]}
            answer = await sheet.running.send(
                method, sheet.path + rest, token, headers={"If-Match": version}, body=body
            )
            assert answer.status_code == 404


async def test_a_week_is_copied_to_the_same_days_without_its_notes(house: House, sheet: Sheet) -> None:
    await sheet.send("PUT", "/entries", {"entries": [ENTRY, on(1, "SITE", 480), on(1)]}, 2)
    records = await house.count("audit_record")
    answer = await create(sheet, {"copy_from": "2026-03-02", "time_zone": "Europe/Berlin"})
    assert answer.status_code == 201, answer.text
    copied = [{name: entry[name] for name in ENTRY} for entry in answer.json()["entries"]]
    assert sorted(copied, key=str) == sorted(
        [{**on(7), "note": None}, {**on(8, "SITE", 480), "note": None}, {**on(8), "note": None}], key=str
    )
    # A list that was read, a decision to create, and the change.
    assert await house.count("audit_record") == records + 3
    read = "SELECT returned FROM audit_record WHERE action = 'read' ORDER BY id DESC LIMIT 1"
    assert [str(name) for name in await house.owner.fetchval(read)] == [sheet.path.rpartition("/")[2]]
    # It has the time zone of the copied week, unless the request names one.
    for monday, more, zone in (
        ("2026-03-16", {}, "Europe/Berlin"),
        ("2026-03-23", {"time_zone": "Asia/Tokyo"}, "Asia/Tokyo"),
    ):
        again = await create(sheet, {"period_start": monday, "copy_from": "2026-03-09", **more})
        assert (again.status_code, again.json().get("time_zone")) == (201, zone), again.text


@pytest.mark.parametrize(
    "body",
    [
        {"copy_from": "2026-03-09"},
        {"copy_from": "2026-03-03"},
        {"copy_from": "2026-03-16"},
        {"copy_from": "2026-03-02", "entries": [on(7)]},
        {"copy_from": "last week"},
    ],
    ids=str,
)
async def test_a_week_that_cannot_be_copied_is_named_and_none_is_created(
    house: House, sheet: Sheet, body: dict[str, object]
) -> None:
    answer = await create(sheet, body)
    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, "copy_from"), answer.text
    assert await house.count("timesheet") == 1


async def test_a_week_with_hours_on_a_closed_project_is_not_copied(house: House, sheet: Sheet) -> None:
    await house.projects.replace(house.administrator(), Project("ATLAS", "Atlas", active=False))
    answer = await create(sheet, {"copy_from": "2026-03-02"})
    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, "copy_from")
    assert "ATLAS" in answer.json()["detail"]


@pytest.mark.parametrize("copied", ["2026-03-02", "2026-03-16"])
async def test_nobody_copies_the_week_of_another_person(sheet: Sheet, copied: str) -> None:
    token = sheet.running.token(sub="ben")
    body = {"period_start": "2026-03-09", "copy_from": copied}
    answer = await sheet.running.send("POST", "/v1/timesheets", token, body=body)
    assert answer.json()["fields"][0]["message"] == "is a week in which you have no hours that you may read"


async def test_weeks_far_ahead_take_no_hours(house: House, issuer: str) -> None:
    this_week = week_of(datetime.now(UTC).date())
    async with sheet_of(house, issuer, weeks_ahead=2) as sheet:
        for weeks, status in ((4, 422), (2, 201)):
            monday = this_week + timedelta(days=7 * weeks)
            answer = await create(sheet, {"period_start": str(monday)})
            assert answer.status_code == status, answer.text
            machine = sheet.running.token(sub="payroll-import", client_id="payroll-import", scope="batch:upload")
            row = {"owner": str(house.people["carl"]), "external_ref": "1", "day": str(monday), "project": "x"}
            upload = {"rows": [{**row, "minutes": 5}]}
            uploaded = await sheet.running.send("POST", "/v1/uploads", machine, body=upload)
            assert uploaded.status_code == (200 if status == 201 else 422), uploaded.text
            if status == 422:
                assert answer.json()["fields"][0]["field"] == "period_start"
                assert uploaded.json()["fields"][0]["field"] == "rows[0].day"
