"""Sheets that need several approvals: who counts, what completes them, and what readers, lists and records say."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.directory.entities import Part
from service.directory.merging import Merging
from service.errors import Conflict, Forbidden, NoApprover, NotApplied, PreconditionFailed, WrongState
from service.log.record import read_body
from service.timesheets.access import TimesheetAccess
from service.timesheets.actions import Details
from service.timesheets.approvals import Item
from service.timesheets.entry import Hours
from service.timesheets.listing import Filters
from service.timesheets.reminders import Reminders
from service.timesheets.reports import Reports
from service.timesheets.reports_store import Span
from service.timesheets.timesheet import State
from tests.integration.house import EIGHT_HOURS, MONDAY, activate_unread, anything, at, speaking
from tests.integration.test_erasure import sign_in_again
from tests.policy_forge import with_more

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from service.authorization.enforcement.changes import Caller
    from service.timesheets.reports_store import GroupBy
    from service.timesheets.timesheet import Timesheet
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

ISSUER = "https://issuer.example"
FOUR_EYES = "size(resource.approvals) >= (resource.minutes > 2400 ? 2 : 1)"
# Anybody with the role, and this client for itself, may approve and read.
ROWS = [
    f"p, allow, {who}, {action}, any, timesheet, {scope}:timesheets, always, {action}-{name}"
    for who, name in (("role:approver", "role"), ("client:robot", "robot"), ("client:other", "other"))
    for action, scope in (("approve", "approve"), ("read", "read"))
]

ROWS += ["p, allow, role:abroad, read, any, timesheet, read:timesheets, compatriot, read-compatriots"]
DECLARED = """
[directory.people]
country = "string"

[kinds.timesheet.facts.compatriot]
is = "resource.owner.country == principal.country && size(resource.approvals) < 9"
yes = "a sheet of this country"
no = "a sheet of another country"
"""


SECONDS = """
[kinds.timesheet.facts.seconds]
is = "size(resource.approvals) == 1"
yes = "this timesheet has an approval"
no = "this timesheet has {resource.approvals}"
"""


async def activate(house: House, complete: str | None, rows: Sequence[str] = ROWS, more: str = "") -> None:
    """Let the shipped policy decide, with these rows, what is DECLARED, and this expression for approvals."""
    table = DECLARED + more
    table += "" if complete is None else f"\n[kinds.timesheet.approval]\ncomplete = '''{complete}'''\n"
    await activate_unread(house, with_more("\n".join(["", *rows, ""]), table))


@pytest.fixture
async def four_eyes(house: House) -> House:
    await activate(house, FOUR_EYES)
    return house


async def submit_hours(house: House, name: str, hours: int, weeks: int = 0) -> Timesheet:
    """Submit a sheet of this person with so many hours."""
    monday, caller = MONDAY + timedelta(days=7 * weeks), house.caller(name)
    sheet = (await house.timesheets.create(caller, monday, "UTC")).value
    for day in range(-(-hours // 10)):
        minutes = 60 * min(10, hours - 10 * day)
        entered = Hours(monday + timedelta(days=day), EIGHT_HOURS.project, minutes)
        sheet = (await house.timesheets.add_entry(caller, sheet.id, at(sheet.version), entered)).value.sheet
    return (await house.timesheets.submit(caller, sheet.id, at(sheet.version))).value


def approver(house: House, name: str) -> Caller:
    return house.caller(name, roles=frozenset({"role:approver"}))


def machine(house: House, client: str) -> Caller:
    return house.machine(client, scopes=frozenset({"approve:timesheets", "read:timesheets"}))


async def approve(house: House, caller: Caller | str, sheet: UUID) -> Timesheet:
    caller = house.caller(caller) if isinstance(caller, str) else caller
    return (await house.timesheets.approve(caller, sheet, anything)).value


async def pending_of(house: House, caller: Caller) -> list[UUID]:
    return [item.sheet.id for item in (await house.approvals.list_pending(caller)).value.items]


async def pending(house: House, name: str) -> list[UUID]:
    return await pending_of(house, house.caller(name))


def progress(sheet: Timesheet) -> tuple[str, int, int | None]:
    return sheet.state, len(sheet.approvals), sheet.approvals_needed


async def changes(house: House, sheet: UUID) -> list[dict[str, Any]]:
    """The changes of a sheet in the log, oldest first."""
    rows = await house.owner.fetch(
        "SELECT body FROM audit_record WHERE kind = 'change' AND resource_id = $1 ORDER BY id", str(sheet)
    )
    found: list[dict[str, Any]] = [read_body(row["body"])["change"] for row in rows]  # type: ignore[misc]
    return found


async def test_a_long_week_needs_two_approvals_by_two_people(four_eyes: House) -> None:
    house, people = four_eyes, four_eyes.people
    sheet = await submit_hours(house, "ana", 43)
    assert progress(sheet) == ("submitted", 0, 2)
    assert [await pending(house, name) for name in ("mia", "dora", "max")] == [[sheet.id], [sheet.id], []]

    first = await approve(house, "mia", sheet.id)
    assert progress(first) == ("submitted", 1, 2)
    assert (first.version, first.submitted_at, first.decided_by) == (sheet.version + 1, sheet.submitted_at, None)
    assert [await pending(house, name) for name in ("mia", "dora")] == [[], [sheet.id]]
    with pytest.raises(Conflict, match="You have approved this timesheet already"):
        await approve(house, "mia", sheet.id)
    assert await house.read_last_record() == ("approve", "allow", False, "conflict")

    second = await approve(house, "dora", sheet.id)
    assert progress(second) == ("approved", 2, 2)
    assert [given.name for given in second.approvals] == [str(people["mia"]), str(people["dora"])]
    assert [given.at for given in second.approvals] == [first.updated_at, second.decided_at]
    assert (await house.timesheets.read(house.caller("ana"), sheet.id)).value == second
    *_, submitted, given, approved = await changes(house, sheet.id)
    mia, dora = str(people["mia"]), str(people["dora"])
    assert (submitted["type"], submitted["to"]["approvals_needed"]) == ("timesheet.submitted", 2)
    assert (given["type"], given["from"].get("approvals")) == ("timesheet.approval-given", None)
    assert (given["to"]["state"], given["to"]["approvals"], given["to"]["approvals_needed"]) == ("submitted", [mia], 2)
    assert (approved["type"], approved["from"]["approvals"]) == ("timesheet.approved", [mia])
    assert (approved["to"]["state"], approved["to"]["approvals"]) == ("approved", [mia, dora])


async def test_a_short_week_needs_one_and_an_edit_changes_the_number(four_eyes: House) -> None:
    house, ana = four_eyes, four_eyes.caller("ana")
    sheet = await submit_hours(house, "ana", 40)
    assert progress(sheet) == ("submitted", 0, 1)
    draft = (await house.timesheets.withdraw(ana, sheet.id, anything)).value
    more = Hours(MONDAY + timedelta(days=4), EIGHT_HOURS.project, 1)
    longer = (await house.timesheets.add_entry(ana, sheet.id, anything, more)).value
    assert (draft.approvals_needed, longer.sheet.approvals_needed) == (1, 2)
    shorter = (await house.timesheets.remove_entry(ana, sheet.id, anything, longer.entry.id)).value
    assert shorter.approvals_needed == 1
    await house.timesheets.submit(ana, sheet.id, anything)
    assert progress(await approve(house, "mia", sheet.id)) == ("approved", 1, 1)


async def test_withdrawal_rejection_and_reopening_clear_the_approvals(four_eyes: House) -> None:
    house, ana, dora = four_eyes, four_eyes.caller("ana"), four_eyes.caller("dora")
    sheet = (await submit_hours(house, "ana", 43)).id

    async def end(step: str) -> Timesheet:
        await approve(house, "mia", sheet)
        if step == "withdraw":
            return (await house.timesheets.withdraw(ana, sheet, anything)).value
        if step == "reject":
            return (await house.timesheets.reject(dora, sheet, anything, "Friday is missing")).value
        await approve(house, "dora", sheet)
        return (await house.timesheets.reopen(dora, sheet, anything, "again")).value

    for step, state in (("withdraw", "draft"), ("reject", "rejected"), ("reopen", "draft")):
        assert progress(await end(step)) == (state, 0, 2)
        assert await house.owner.fetchval("SELECT earlier_approvals FROM timesheet") == "[]"
        assert (await changes(house, sheet))[-1]["from"]["approvals"]
        again = (await house.timesheets.submit(ana, sheet, anything)).value
        assert progress(again) == ("submitted", 0, 2)


async def test_a_lock_and_its_end_keep_the_approvals(four_eyes: House) -> None:
    house, payroll = four_eyes, frozenset({"role:payroll"})
    sheet = (await submit_hours(house, "ana", 43)).id
    await approve(house, "mia", sheet)
    await approve(house, "dora", sheet)
    locked = (await house.timesheets.lock(house.caller("ben", roles=payroll), sheet, anything, "paid")).value
    assert progress(locked) == ("locked", 2, 2)
    opened = (await house.timesheets.unlock(house.caller("carl", roles=payroll), sheet, anything, "a mistake")).value
    assert progress(opened) == ("approved", 2, 2)


async def test_nobody_gives_one_of_the_approvals_to_hours_of_their_own(four_eyes: House) -> None:
    house = four_eyes
    sheet = (await submit_hours(house, "ana", 43)).id
    await house.owner.execute("UPDATE timesheet SET editors = editors || $1::uuid", house.people["ben"])
    await approve(house, "mia", sheet)
    for name in ("ana", "ben"):
        with pytest.raises(Forbidden):
            await approve(house, approver(house, name), sheet)
    assert (await house.timesheets.read(house.caller("ana"), sheet)).value.state is State.SUBMITTED


async def test_a_human_counts_once_with_several_accounts(house: House) -> None:
    await activate(house, "size(resource.approvals) >= 3")
    night = await house.known_people.person_for(speaking(ISSUER, "mia-at-night"))
    house.people["mia-at-night"] = night
    sheet = (await submit_hours(house, "ana", 8)).id
    for name in ("mia", "mia-at-night"):
        assert (await approve(house, approver(house, name), sheet)).state is State.SUBMITTED
    # Until the directory learns that they are one.
    await Merging(house.gate).merge(house.administrator(), night, house.people["mia"])
    read = (await house.timesheets.read(house.caller("mia"), sheet)).value
    assert (progress(read), [given.name for given in read.approvals]) == (
        ("submitted", 1, 3),
        [str(house.people["mia"])],
    )
    with pytest.raises(Conflict, match="already"):
        await approve(house, "mia", sheet)
    assert (await approve(house, "dora", sheet)).state is State.SUBMITTED
    done = await approve(house, approver(house, "max"), sheet)
    assert progress(done) == ("approved", 3, 3)


async def test_an_approval_does_not_count_once_its_giver_is_known_to_be_the_owner(house: House) -> None:
    await activate(house, "size(resource.approvals) >= 2")
    night = await house.known_people.person_for(speaking(ISSUER, "ana-at-night"))
    house.people["ana-at-night"] = night
    sheet = (await submit_hours(house, "ana", 8)).id
    await approve(house, approver(house, "ana-at-night"), sheet)
    await Merging(house.gate).merge(house.administrator(), night, house.people["ana"])
    assert progress(await approve(house, "mia", sheet)) == ("submitted", 1, 2)
    assert progress(await approve(house, "dora", sheet)) == ("approved", 2, 2)


async def test_an_approver_who_was_erased_and_came_back_counts_once(four_eyes: House) -> None:
    house = four_eyes
    sheet = (await submit_hours(house, "ana", 43)).id
    await approve(house, approver(house, "max"), sheet)
    await house.erasure.erase(house.administrator(), house.people["max"])
    house.people["max-again"] = await sign_in_again(house, "max")
    with pytest.raises(Conflict, match="already"):
        await approve(house, approver(house, "max-again"), sheet)
    assert progress(await approve(house, "mia", sheet)) == ("approved", 2, 2)


async def test_a_client_for_itself_is_one_approver(house: House) -> None:
    await activate(house, "size(resource.approvals) >= 3")
    sheet = (await submit_hours(house, "ana", 8)).id
    assert (await approve(house, machine(house, "robot"), sheet)).state is State.SUBMITTED
    with pytest.raises(Conflict, match="already"):
        await approve(house, machine(house, "robot"), sheet)
    listed = (await house.approvals.list_pending(machine(house, "robot"))).value.items
    assert listed == ()
    assert len((await house.approvals.list_pending(machine(house, "other"))).value.items) == 1
    await approve(house, machine(house, "other"), sheet)
    done = await approve(house, "mia", sheet)
    assert [given.name for given in done.approvals] == ["robot", "other", str(house.people["mia"])]


async def test_an_unknown_value_keeps_a_sheet_submitted_and_says_so(house: House) -> None:
    await activate(house, "size(resource.approvals) >= (resource.owner.country == 'DE' ? 2 : 1)")
    sheet = await submit_hours(house, "ana", 8)
    assert sheet.approvals_needed is None
    for count, caller in enumerate((house.caller("mia"), house.caller("dora"), approver(house, "max")), start=1):
        assert progress(await approve(house, caller, sheet.id)) == ("submitted", count, None)
    assert (await pending(house, "mia"), await pending(house, "max")) == ([], [])


async def test_a_certain_person_may_have_to_be_among_them(house: House) -> None:
    dora = house.people["dora"]
    await activate(house, f"size(resource.approvals) >= 1 && '{dora}' in resource.approvals")
    sheet = await submit_hours(house, "ana", 8)
    # No number alone is enough.
    assert progress(await approve(house, "mia", sheet.id)) == ("submitted", 1, None)
    assert progress(await approve(house, "dora", sheet.id)) == ("approved", 2, 2)


async def test_after_a_change_of_the_policy_an_approval_that_is_enough_by_now_is_given_again(four_eyes: House) -> None:
    house = four_eyes
    sheet = (await submit_hours(house, "ana", 43)).id
    await approve(house, "mia", sheet)
    for complete in (None, "size(resource.approvals) >= 1"):
        await activate(house, FOUR_EYES)
        assert await pending(house, "mia") == []
        await activate(house, complete)
        assert await pending(house, "mia") == [sheet]
        assert progress((await house.timesheets.read(house.caller("mia"), sheet)).value) == ("submitted", 1, 1)
    done = await approve(house, "mia", sheet)
    assert (progress(done), [given.name for given in done.approvals]) == (
        ("approved", 1, 1),
        [str(house.people["mia"])],
    )
    assert (await house.timesheets.read(house.caller("mia"), sheet)).value == done


async def test_a_sheet_that_has_more_approvals_than_it_needs_by_now_needs_no_more(house: House) -> None:
    await activate(house, "size(resource.approvals) >= 4")
    sheet = (await submit_hours(house, "ana", 8)).id
    for name in ("mia", "dora"):
        await approve(house, name, sheet)
    for complete in (None, "size(resource.approvals) >= 1"):
        await activate(house, complete)
        read = (await house.timesheets.read(house.caller("ana"), sheet)).value
        [listed] = (await house.timesheets.list(house.caller("ana"), Filters())).value.items
        report = (await Reports(house.gate).hours(house.caller("ana"), "week", Span(MONDAY, MONDAY))).value
        assert progress(read) == progress(listed) == ("submitted", 2, 2)
        assert (report.whole.approvals_given, report.whole.approvals_needed) == (2, 2)
    assert progress(await approve(house, approver(house, "max"), sheet)) == ("approved", 3, 3)


async def test_an_approval_that_the_caller_gave_is_no_button(four_eyes: House) -> None:
    house, mia, dora = four_eyes, four_eyes.caller("mia"), four_eyes.caller("dora")
    sheet = (await submit_hours(house, "ana", 43)).id

    async def buttons(caller: Caller) -> list[bool]:
        listed = (await house.timesheets.list_with_details(caller, Filters(), Details(actions=True))).value.items
        alone = (await house.timesheets.read_with_details(caller, sheet, Details(actions=True))).value
        assert [(item.sheet, item.actions) for item in listed] == [(alone.sheet, alone.actions)]
        assert alone.actions is not None
        return ["approve" in alone.actions, "reject" in alone.actions]

    assert await buttons(mia) == [True, True]
    await approve(house, "mia", sheet)
    assert (await buttons(mia), await buttons(dora)) == ([False, True], [True, True])
    await activate(house, None)
    assert await buttons(mia) == [True, True]


@pytest.mark.parametrize(
    "complete",
    [
        FOUR_EYES,
        "size(resource.approvals) >= 10",
        "resource.days > 4 ? size(resource.approvals) > 2 : size(resource.approvals) > 0",
        "size(resource.approvals) == (resource.entry_count > 4 ? 2 : 4)",
        "size(resource.approvals) >= 1 && 'gemini' in resource.projects",
        "size(resource.approvals) * 600 >= resource.minutes && size(resource.approvals) > 0",
        "size(resource.approvals) >= (resource.owner.country == 'DE' ? 2 : 1)",
        "size(resource.approvals) > (has(resource.owner.country) ? 2 : 0)",
        "size(resource.approvals) > (resource.owner.groups.exists(g, g == 'x') ? 3 : size(resource.owner.teams))",
    ],
)
async def test_lists_single_reads_and_answers_tell_the_same_numbers(house: House, complete: str) -> None:
    sheets = [await submit_hours(house, "ana", hours, week) for week, hours in enumerate((8, 40, 41, 60))]
    sheets += [await submit_hours(house, "ben", hours, week) for week, hours in enumerate((8, 43))]
    # Through the directory's triggers, as if by its API.
    abroad = [house.people[name] for name in ("ben", "max")]
    await house.owner.execute("""UPDATE person SET attributes = '{"country": "DE"}' WHERE id = ANY ($1)""", abroad)
    await activate(house, complete)
    reader, auditor = house.caller("mia"), house.caller("max", roles=frozenset({"role:abroad"}))

    async def read_all(answers: Sequence[Timesheet]) -> None:
        alone = [(await house.timesheets.read(reader, sheet.id)).value for sheet in answers]
        page = (await house.timesheets.list(reader, Filters())).value.items
        assert {sheet.id: sheet for sheet in page} == {sheet.id: sheet for sheet in alone}
        assert [progress(sheet) for sheet in alone] == [progress(sheet) for sheet in answers]
        of_ben = (
            await house.timesheets.list_with_details(auditor, Filters(owner=house.people["ben"]), Details(actions=True))
        ).value.items
        assert [item.sheet for item in reversed(of_ben)] == alone[4:]
        due = {item.sheet.id: item.sheet for item in (await house.approvals.list_pending(reader)).value.items}
        given = {sheet.id for sheet in alone if sheet.approvals or sheet.state is State.APPROVED}
        assert due == {sheet.id: sheet for sheet in alone if sheet.id not in given}

    await read_all([await house_read(house, sheet) for sheet in sheets])
    await read_all([await approve(house, "mia", sheet.id) for sheet in sheets])


async def house_read(house: House, sheet: Timesheet) -> Timesheet:
    """The sheet as its owner reads it."""
    owner = next(name for name, person in house.people.items() if person == sheet.owner)
    return (await house.timesheets.read(house.caller(owner), sheet.id)).value


async def test_two_managers_at_once_give_exactly_two_approvals(four_eyes: House) -> None:
    house = four_eyes
    sheet = await submit_hours(house, "ana", 43)
    # Both have read the same version, so the second reads again.
    answers = await asyncio.gather(
        *(house.timesheets.approve(house.caller(name), sheet.id, at(sheet.version)) for name in ("mia", "dora")),
        return_exceptions=True,
    )
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert [type(error) for error in refused] == [PreconditionFailed]
    late = "mia" if isinstance(answers[0], BaseException) else "dora"
    done = await house.timesheets.approve(house.caller(late), sheet.id, at(sheet.version + 1))
    assert progress(done.value) == ("approved", 2, 2)


async def test_many_at_once_give_as_many_approvals_as_are_needed(house: House) -> None:
    await activate(house, "size(resource.approvals) >= 3")
    sheet = (await submit_hours(house, "ana", 8)).id
    callers = [house.caller("mia"), house.caller("dora"), machine(house, "robot"), machine(house, "other")]
    callers += [approver(house, name) for name in ("max", "carl", "adam")]
    answers = await asyncio.gather(
        *(house.timesheets.approve(caller, sheet, anything) for caller in callers for _ in range(3)),
        return_exceptions=True,
    )
    assert {type(answer) for answer in answers if isinstance(answer, BaseException)} <= {Conflict, WrongState}
    states = [str(answer.value.state) for answer in answers if not isinstance(answer, BaseException)]
    assert sorted(states) == ["approved", "submitted", "submitted"]
    read = (await house.timesheets.read(house.caller("ana"), sheet)).value
    assert (progress(read), len({given.name for given in read.approvals})) == (("approved", 3, 3), 3)
    types = [change["type"] for change in await changes(house, sheet)][-3:]
    assert types == ["timesheet.approval-given", "timesheet.approval-given", "timesheet.approved"]


async def test_a_batch_approves_each_sheet_as_far_as_its_approvals_go(four_eyes: House) -> None:
    house = four_eyes
    short, long = await submit_hours(house, "ana", 8), await submit_hours(house, "ben", 43)
    items = [Item(sheet.id, at(sheet.version)) for sheet in (short, long)]
    answer = await house.approvals.approve_all(house.caller("mia"), items)
    assert [progress(changed.sheet) for changed in answer.value] == [("approved", 1, 1), ("submitted", 1, 2)]
    again = [Item(long.id, anything)]
    with pytest.raises(Conflict, match=r"items\[0\]: You have approved this timesheet already"):
        await house.approvals.approve_all(house.caller("mia"), again)
    [outcome] = await house.approvals.approve_each(house.caller("mia"), again)
    assert isinstance(outcome.error, NotApplied)
    [outcome] = await house.approvals.approve_each(house.caller("dora"), again)
    assert outcome.value is not None
    assert progress(outcome.value.sheet) == ("approved", 2, 2)


async def test_the_order_of_what_waits_is_that_of_submission(four_eyes: House) -> None:
    house = four_eyes
    first, second = await submit_hours(house, "ana", 43), await submit_hours(house, "ben", 43)
    await house.directory.add_membership(house.administrator(), house.people["max"], house.teams["east"], Part.LEAD)
    await approve(house, "max", first.id)
    page = (await house.approvals.list_pending(house.caller("mia"), limit=1)).value
    assert ([item.sheet.id for item in page.items], page.items[0].since) == ([first.id], first.submitted_at)
    following = (await house.approvals.list_pending(house.caller("mia"), after=page.after)).value
    assert [item.sheet.id for item in following.items] == [second.id]


async def test_a_report_adds_up_the_approvals_that_sheets_have_and_need(four_eyes: House) -> None:
    house, mia = four_eyes, four_eyes.caller("mia")
    for name, hours, week, names in (("ana", 43, 0, ["mia"]), ("ana", 43, 1, ["mia", "dora"]), ("ben", 8, 0, [])):
        sheet = await submit_hours(house, name, hours, week)
        for giver in names:
            await approve(house, giver, sheet.id)
    span = Span(MONDAY, MONDAY + timedelta(days=13))

    async def numbers(by: GroupBy) -> dict[str | None, tuple[int, int, int | None]]:
        report = (await Reports(house.gate).hours(mia, by, span)).value
        totals = {total.key: (total.sheets, total.approvals_given, total.approvals_needed) for total in report.totals}
        return {**totals, "whole": (report.whole.sheets, report.whole.approvals_given, report.whole.approvals_needed)}

    ana, ben, east = str(house.people["ana"]), str(house.people["ben"]), str(house.teams["east"])
    assert await numbers("person") == {ana: (2, 3, 4), ben: (1, 0, 1), "whole": (3, 3, 5)}
    assert await numbers("team") == {east: (3, 3, 5), "whole": (3, 3, 5)}
    assert await numbers("project") == {"apollo": (3, 3, 5), "whole": (3, 3, 5)}
    assert await numbers("week") == {"2026-03-02": (2, 1, 3), "2026-03-09": (1, 2, 2), "whole": (3, 3, 5)}
    await activate(house, "size(resource.approvals) >= (resource.owner.country == 'DE' ? 2 : 1)")
    # Unknown of the sheets that are submitted.
    assert await numbers("week") == {"2026-03-02": (2, 1, None), "2026-03-09": (1, 2, 2), "whole": (3, 3, None)}


async def test_a_sheet_is_submitted_only_if_enough_people_could_approve_it(house: House) -> None:
    people, administrator = house.people, house.administrator()
    await activate(house, "size(resource.approvals) >= 3", rows=())
    with pytest.raises(NoApprover, match="This needs 3 approvals, and no more than 2 could give one"):
        await submit_hours(house, "ana", 8)
    # A second relation of the same person helps nothing.
    await house.delegations.grant(house.manager("mia"), people["mia"], people["dora"])
    with pytest.raises(NoApprover, match="no more than 2"):
        await submit_hours(house, "ana", 8, 1)
    await house.directory.add_membership(administrator, people["max"], house.teams["east"], Part.LEAD)
    assert progress(await submit_hours(house, "ana", 8, 2)) == ("submitted", 0, 3)


async def test_a_reminder_names_those_whose_approval_is_missing(four_eyes: House) -> None:
    house = four_eyes
    sheet = await submit_hours(house, "ana", 43)
    await approve(house, "mia", sheet.id)

    async def named() -> list[str]:
        await Reminders(house.gate).remind(house.administrator(), 0)
        await house.owner.execute("UPDATE reminder SET at = at - interval '25 hours'")
        approvers: list[str] = (await changes(house, sheet.id))[-1]["to"]["approvers"]
        return approvers

    assert await named() == [str(house.people["dora"])]
    await activate(house, None)
    assert set(await named()) == {str(house.people["mia"]), str(house.people["dora"])}


async def test_who_may_approve_leaves_out_those_who_have(four_eyes: House) -> None:
    house = four_eyes
    sheet = (await submit_hours(house, "ana", 43)).id
    night = await house.known_people.person_for(speaking(ISSUER, "mia-at-night"))
    house.people["mia-at-night"] = night
    await approve(house, approver(house, "mia-at-night"), sheet)
    await Merging(house.gate).merge(house.administrator(), night, house.people["mia"])

    async def who() -> set[str]:
        access = (await TimesheetAccess(house.gate).of(house.caller("ana"), sheet)).value
        return {str(grantee.person or grantee.client) for grantee in access.grantees if "approve" in grantee.may}

    assert await who() == {str(house.people["dora"]), "robot", "other"}
    await activate(house, "size(resource.approvals) >= 3")
    await approve(house, machine(house, "robot"), sheet)
    assert await who() == {str(house.people["dora"]), "other"}


async def test_rules_may_ask_who_gives_the_second_approval(house: House) -> None:
    rows = [*ROWS, "p, deny, role:approver, approve, any, timesheet, any, not seconds, approvers-are-second"]
    await activate(house, FOUR_EYES, rows, SECONDS)
    sheet = (await submit_hours(house, "ana", 43)).id
    with pytest.raises(Forbidden):
        await approve(house, approver(house, "max"), sheet)
    assert await pending_of(house, approver(house, "max")) == []
    await approve(house, "mia", sheet)
    assert await pending_of(house, approver(house, "max")) == [sheet]
    assert progress(await approve(house, approver(house, "max"), sheet)) == ("approved", 2, 2)
