"""A week from draft to approved, over HTTP with real tokens: what each person may do to it, and what they are told."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from service.standalone.client import Invalid, Stale
from tests.acceptance.caller import SHEETS, draft, fresh_week, problem, submit_week

if TYPE_CHECKING:
    from tests.acceptance.caller import Callers

UNKNOWN = "0198c0de-0000-7000-8000-00000000dead"


def path_of(sheet: dict[str, object], *rest: str) -> str:
    return "/".join([SHEETS, str(sheet["id"]), *rest])


async def test_a_week_goes_from_draft_to_approved(callers: Callers) -> None:
    ana, mia, week = (await callers("ana")).api, (await callers("mia")).api, fresh_week()

    made = await ana.open_week(week, "Europe/Berlin")
    assert (made.owner, made.state, made.minutes, made.version) == ((await ana.me()).person, "draft", 0, 1)
    assert (made.period_start, made.period_end) == (week, week + timedelta(days=6))
    added = await ana.add_entry(made, week, "ATLAS", 480, "planning")
    assert (added.minutes, added.entries[0].note) == (480, "planning")
    replaced = await ana.replace_entry(added, added.entries[0].id, week, "ATLAS", 450)
    assert (replaced.minutes, replaced.entries[0].note) == (450, None)
    amended = await ana.amend_entry(replaced, added.entries[0].id, note="planning")
    assert (amended.minutes, amended.entries[0].note) == (450, "planning")
    second = await ana.add_entry(amended, week + timedelta(days=1), "BOREALIS", 60)
    other = next(entry.id for entry in second.entries if entry.project == "BOREALIS")
    removed = await ana.remove_entry(second, other)
    assert [entry.project for entry in removed.entries] == ["ATLAS"]

    handed = await ana.submit(removed)
    assert (handed.state, handed.version) == ("submitted", 7)
    seen = await mia.timesheet(handed.id)
    assert structs.replace(seen, receipt=handed.receipt) == handed
    waiting = [approval.timesheet.id async for approval in mia.approvals()]
    assert handed.id in waiting
    approved = await mia.approve(seen)
    assert approved.state == "approved"
    listed = [timesheet async for timesheet in ana.timesheets(since=week, until=week)]
    assert [structs.replace(sheet, receipt=approved.receipt) for sheet in listed] == [approved]


async def test_every_answer_says_where_it_is_and_which_version_it_has(callers: Callers) -> None:
    ana, week = await callers("ana"), fresh_week()

    made = await ana.post(SHEETS, {"period_start": week.isoformat()})
    assert (made.status_code, made.headers["ETag"], made.headers["Location"]) == (201, '"1"', path_of(made.json()))
    entry = {"day": week.isoformat(), "project": "ATLAS", "minutes": 480}
    added = await ana.post(path_of(made.json(), "entries"), entry, if_match='"1"')
    assert (added.status_code, added.headers["ETag"]) == (201, '"2"')
    assert added.headers["Location"] == path_of(made.json(), "entries", added.json()["entries"][0]["id"])
    replaced = await ana.put(added.headers["Location"], {**entry, "minutes": 450}, if_match='"2"')
    assert (replaced.status_code, replaced.headers["ETag"], replaced.json()["minutes"]) == (200, '"3"', 450)
    read = await ana.get(path_of(made.json()))
    assert (read.headers["ETag"], read.json()) == ('"3"', replaced.json())


async def test_a_manager_of_another_team_does_not_even_learn_of_a_week(callers: Callers) -> None:
    sheet, max_ = (await submit_week(await callers("ana"))).json(), await callers("max")

    for action, body in (
        ("approve", None),
        ("reject", {"reason": "no"}),
        ("reopen", {"reason": "no"}),
        ("submit", None),
    ):
        real = await max_.post(path_of(sheet, action), body, if_match='"1"')
        unknown = await max_.post(f"{SHEETS}/{UNKNOWN}/{action}", body, if_match='"1"')
        assert problem(real, 404, "not-found")["detail"] == problem(unknown, 404, "not-found")["detail"]
        assert real.json().keys() == unknown.json().keys()
    problem(await max_.get(path_of(sheet)), 404, "not-found")
    problem(await max_.delete(path_of(sheet), if_match='"3"'), 404, "not-found")


async def test_an_employee_has_no_scope_to_approve_with(callers: Callers) -> None:
    ana = await callers("ana")
    sheet = (await submit_week(ana)).json()

    refused = await ana.post(path_of(sheet, "approve"), if_match='"3"')
    assert problem(refused, 403, "insufficient-scope")["required_scope"] == ["approve:timesheets"]
    unknown = await ana.post(f"{SHEETS}/{UNKNOWN}/approve", if_match='"3"')
    assert problem(unknown, 403, "insufficient-scope")["detail"] == refused.json()["detail"]


async def test_a_manager_does_not_approve_their_own_hours(callers: Callers) -> None:
    mia = await callers("mia")
    handed = await submit_week(mia)

    refused = await mia.post(path_of(handed.json(), "approve"), if_match=handed.headers["ETag"])
    told = problem(refused, 403, "forbidden")
    assert told["rules"] == ["never-own-hours"]
    assert told["reasons"] == ["these are your own hours"]
    logged = await (await callers("audrey")).decision(refused)
    assert logged["record"]["rules"] == ["never-own-hours"]
    assert logged["record"]["applied"] is False
    dora = await callers("dora")
    approved = await dora.post(path_of(handed.json(), "approve"), if_match=handed.headers["ETag"])
    assert approved.json()["state"] == "approved"


async def test_an_app_that_was_granted_reading_alone_creates_nothing(callers: Callers) -> None:
    ana = await callers("ana", ["read:timesheets"])

    refused = await ana.post(SHEETS, {"period_start": fresh_week().isoformat()})
    assert problem(refused, 403, "insufficient-scope")["required_scope"] == ["create:timesheets"]
    assert 'scope="create:timesheets"' in refused.headers["WWW-Authenticate"]
    assert (await ana.get(SHEETS)).status_code == 200


async def test_a_rejected_week_is_mended_and_handed_in_again(callers: Callers) -> None:
    ana, mia = (await callers("ana")).api, (await callers("mia")).api
    sheet = await ana.timesheet((await submit_week(await callers("ana"))).json()["id"])

    with pytest.raises(Invalid) as refused:
        await mia.reject(sheet, "")
    assert refused.value.fields[0][0] == "reason"
    rejected = await mia.reject(sheet, "Friday is missing")
    assert (rejected.state, rejected.reason) == ("rejected", "Friday is missing")
    with pytest.raises(Stale):
        await ana.add_entry(sheet, sheet.period_end, "ATLAS", 300)
    read = await ana.timesheet(sheet.id)
    assert read.reason == "Friday is missing"
    again = await ana.submit(await ana.add_entry(read, read.period_end, "ATLAS", 300))
    assert again.state == "submitted"


async def test_a_reason_is_needed_to_send_back(callers: Callers) -> None:
    mia, sheet = await callers("mia"), (await submit_week(await callers("ana"))).json()

    for body in ({}, {"reason": ""}, {"reason": None}):
        refused = await mia.post(path_of(sheet, "reject"), body, if_match='"3"')
        assert problem(refused, 422, "invalid-field")["fields"][0]["field"] == "reason"


async def test_an_approval_is_taken_back_by_reopening(callers: Callers) -> None:
    ana, mia = await callers("ana"), await callers("mia")
    sheet = (await submit_week(ana)).json()
    assert (await mia.post(path_of(sheet, "approve"), if_match='"3"')).status_code == 200

    problem(await ana.post(path_of(sheet, "reopen"), {"reason": "no"}, if_match='"4"'), 403, "insufficient-scope")
    reopened = await mia.post(path_of(sheet, "reopen"), {"reason": "wrong project"}, if_match='"4"')
    assert (reopened.status_code, reopened.json()["state"]) == (200, "draft")


async def test_a_submitted_week_is_withdrawn_and_a_draft_deleted(callers: Callers) -> None:
    ana = await callers("ana")
    sheet = (await submit_week(ana)).json()

    wrong = problem(await ana.delete(path_of(sheet), if_match='"3"'), 409, "wrong-state")
    assert wrong["state"] == "submitted"
    withdrawn = await ana.post(path_of(sheet, "withdraw"), if_match='"3"')
    assert withdrawn.json()["state"] == "draft"
    assert (await ana.delete(path_of(sheet), if_match='"4"')).status_code == 204
    problem(await ana.get(path_of(sheet)), 404, "not-found")
    again = await ana.post(SHEETS, {"period_start": sheet["period_start"]})
    assert again.status_code == 201


async def test_deleting_needs_a_scope_of_its_own(callers: Callers) -> None:
    ana = await callers("ana")
    sheet = (await draft(ana)).json()
    writer = await callers("ana", ["read:timesheets", "create:timesheets"])

    problem(await writer.delete(path_of(sheet), if_match='"2"'), 403, "insufficient-scope")
    assert (await ana.get(path_of(sheet))).status_code == 200


async def test_a_change_needs_the_version_that_was_seen(callers: Callers) -> None:
    ana, mia = await callers("ana"), await callers("mia")
    sheet = (await submit_week(ana)).json()

    problem(await mia.post(path_of(sheet, "approve")), 428, "precondition-required")
    problem(await mia.post(path_of(sheet, "approve"), if_match='"2"'), 412, "precondition-failed")
    problem(await mia.post(path_of(sheet, "approve"), if_match='W/"3"'), 412, "precondition-failed")
    # The version goes before the state, so that nobody is told of a state that they have not seen.
    problem(await ana.post(path_of(sheet, "submit"), if_match='"2"'), 412, "precondition-failed")
    wrong = problem(await ana.post(path_of(sheet, "submit"), if_match='"3"'), 409, "wrong-state")
    assert wrong["state"] == "submitted"
    assert (await mia.get(path_of(sheet))).headers["ETag"] == '"3"'
    problem(await mia.post(path_of(sheet, "approve"), if_match='"2", "3"'), 428, "precondition-required")
    assert (await mia.post(path_of(sheet, "approve"), if_match='"3"')).status_code == 200


async def test_a_refusal_for_the_version_is_recorded_as_allowed_and_not_applied(callers: Callers) -> None:
    mia, audrey = await callers("mia"), await callers("audrey")
    sheet = (await submit_week(await callers("ana"))).json()

    refused = await mia.post(path_of(sheet, "approve"), if_match='"2"')
    record = (await audrey.decision(refused))["record"]
    assert (record["outcome"], record["applied"]) == ("allow", False)


async def test_the_same_week_is_opened_once(callers: Callers) -> None:
    ana = await callers("ana")
    body = {"period_start": fresh_week().isoformat()}

    answers = await asyncio.gather(*(ana.post(SHEETS, body) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]
    conflict = problem(next(answer for answer in answers if answer.status_code == 409), 409, "conflict")
    made = next(answer for answer in answers if answer.status_code == 201)
    assert conflict["timesheet"] == made.json()["id"]


async def test_an_empty_week_is_not_handed_in(callers: Callers) -> None:
    ana = await callers("ana")
    made = await ana.post(SHEETS, {"period_start": fresh_week().isoformat()})

    problem(await ana.post(path_of(made.json(), "submit"), if_match='"1"'), 409, "conflict")


@pytest.mark.parametrize("round_", range(4))
async def test_of_racing_approvals_one_is_applied(callers: Callers, round_: int) -> None:
    handed = await submit_week(await callers("ana"))
    sheet = handed.json()
    leads = [await callers("mia"), await callers("dora")]

    answers = await asyncio.gather(
        *(leads[turn % 2].post(path_of(sheet, "approve"), if_match='"3"') for turn in range(8))
    )
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 200
    assert set(statuses[1:]) <= {409, 412}
    audrey = await callers("audrey")
    applied = [(await audrey.decision(answer))["record"]["applied"] for answer in answers]
    assert applied.count(True) == 1
    assert applied[[answer.status_code for answer in answers].index(200)] is True


async def test_approval_and_withdrawal_race_and_one_wins(callers: Callers) -> None:
    ana, mia = await callers("ana"), await callers("mia")
    sheet = (await submit_week(ana)).json()

    answers = await asyncio.gather(
        mia.post(path_of(sheet, "approve"), if_match='"3"'), ana.post(path_of(sheet, "withdraw"), if_match='"3"')
    )
    won_with, lost_with = sorted(answer.status_code for answer in answers)
    assert won_with == 200
    assert lost_with in {409, 412}
    won = next(answer for answer in answers if answer.status_code == 200).json()
    assert (await ana.get(path_of(sheet))).json() == won


async def test_entries_that_race_with_one_version_add_one(callers: Callers) -> None:
    ana = await callers("ana")
    sheet = (await draft(ana)).json()
    entry = {"day": sheet["period_start"], "project": "ATLAS", "minutes": 1}

    answers = await asyncio.gather(*(ana.post(path_of(sheet, "entries"), entry, if_match='"2"') for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [412] * 7
    assert len((await ana.get(path_of(sheet))).json()["entries"]) == 2


async def test_a_day_has_no_more_minutes_than_a_day(callers: Callers) -> None:
    ana = await callers("ana")
    sheet = (await draft(ana, minutes=1440)).json()
    entry = {"day": sheet["period_start"], "project": "ATLAS", "minutes": 1}

    refused = problem(await ana.post(path_of(sheet, "entries"), entry, if_match='"2"'), 422, "invalid-field")
    assert refused["fields"][0]["field"] == "minutes"
    outside = {**entry, "day": "1999-12-31"}
    refused = problem(await ana.post(path_of(sheet, "entries"), outside, if_match='"2"'), 422, "invalid-field")
    assert refused["fields"][0]["field"] == "day"


async def test_payroll_locks_what_was_approved_and_another_of_payroll_unlocks_it(callers: Callers) -> None:
    mia, pia, pablo = [await callers(name) for name in ("mia", "pia", "pablo")]
    sheet = (await submit_week(await callers("ana"))).json()
    why = {"reason": "the run of this month"}
    problem(await pia.get(path_of(sheet)), 404, "not-found")
    assert (await mia.post(path_of(sheet, "approve"), if_match='"3"')).status_code == 200
    problem(await mia.post(path_of(sheet, "lock"), why, if_match='"4"'), 403, "forbidden")

    locked = await pia.post(path_of(sheet, "lock"), why, if_match='"4"')
    assert (locked.status_code, locked.json()["state"], locked.headers["ETag"]) == (200, "locked", '"5"')
    problem(await mia.post(path_of(sheet, "reopen"), why, if_match='"5"'), 409, "wrong-state")
    told = problem(await pia.post(path_of(sheet, "unlock"), why, if_match='"5"'), 403, "forbidden")
    assert (told["rules"], told["reasons"]) == (["never-unlock-own-lock"], ["you locked this timesheet yourself"])
    unlocked = await pablo.post(path_of(sheet, "unlock"), why, if_match='"5"')
    assert (unlocked.status_code, unlocked.json()["state"]) == (200, "approved")
    assert (await mia.post(path_of(sheet, "reopen"), why, if_match='"6"')).json()["state"] == "draft"
