"""The first example of the policy language: leads of projects read and approve weeks with hours on their projects.

A path in the vocabulary and a few rows are all of it: reads, lists, approvals, the inbox, reports, the access page,
allowed actions, the check at submission and reminders follow.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from service.administration.versions import version_store
from service.authorization.enforcement.capabilities import Availability, list_capabilities
from service.directory.merging import Merging
from service.errors import Forbidden, NoApprover, NotFound
from service.log.record import read_body
from service.timesheets.access import TimesheetAccess
from service.timesheets.actions import Details
from service.timesheets.listing import Filters
from service.timesheets.reminders import Reminders
from service.timesheets.reports import Reports
from service.timesheets.reports_store import Span
from service.timesheets.timesheet import State
from tests.integration.house import EIGHT_HOURS, MONDAY, activate_unread, anything, at
from tests.integration.test_after_erasure import come_back, erase
from tests.policy_forge import read_shipped, with_more

if TYPE_CHECKING:
    from uuid import UUID

    from service.timesheets.timesheet import Timesheet
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

VOCABULARY = """
[kinds.timesheet.relations.project_lead]
is = "resource.projects.leads - resource.owner"
yes = "you lead a project of this week"
no = "you do not lead a project of this week"

[kinds.timesheet.relations.lead_delegate]
is = "resource.project_lead.delegates - resource.owner"
yes = "you are a delegate of somebody who leads a project of this week"
no = "you are not a delegate of anybody who leads a project of this week"
"""
ROWS = [
    f"p, allow, {who}, {action}, {state}, timesheet, {scope}:timesheets, always, {action}-{name}"
    for who, name in (("project_lead", "project"), ("lead_delegate", "project-delegate"))
    for action, state, scope in (("read", "any", "read"), ("approve", "submitted", "approve"))
]


async def activate(house: House, vocabulary: str = VOCABULARY, rows: tuple[str, ...] = tuple(ROWS)) -> None:
    """Let the shipped policy decide, with these relations and rows."""
    await activate_unread(house, with_more("\n".join(["", *rows, ""]), vocabulary))


@pytest.fixture
async def sheet(house: House) -> Timesheet:
    """Ana's week with hours on apollo, which carl leads; max leads gemini."""
    await activate(house)
    await house.project_leads.add(house.administrator(), "apollo", house.people["carl"])
    await house.project_leads.add(house.administrator(), "gemini", house.people["max"])
    return await house.submit_week("ana")


async def listed(house: House, name: str) -> set[UUID]:
    page = (await house.timesheets.list(house.caller(name), Filters(), after=None, limit=50)).value
    return {item.id for item in page.items}


async def test_a_lead_reads_and_approves_weeks_with_hours_on_their_project(house: House, sheet: Timesheet) -> None:
    shown = (await house.timesheets.read_with_details(house.caller("carl"), sheet.id, Details(actions=True))).value
    assert "approve" in (shown.actions or ())
    approved = await house.timesheets.approve(house.caller("carl"), sheet.id, at(sheet.version))
    assert approved.value.state is State.APPROVED
    told = read_body(
        await house.owner.fetchval("SELECT body FROM audit_record WHERE kind='change' ORDER BY id DESC LIMIT 1")
    )
    assert told["change"]["type"] == "timesheet.approved"  # type: ignore[index]
    with pytest.raises(NotFound):
        await house.timesheets.read(house.caller("max"), sheet.id)


async def test_a_refusal_tells_what_a_lead_would_need(house: House, sheet: Timesheet) -> None:
    with pytest.raises(Forbidden) as refused:
        await house.timesheets.approve(house.caller("ana"), sheet.id, anything)
    assert refused.value.extra["rules"] == ["never-own-hours"]
    # Mia reads it, and is told what approving would take besides.
    rows = [*ROWS, "p, deny, manager, approve, any, timesheet, any, always, frozen"]
    await activate(house, rows=tuple(rows))
    with pytest.raises(Forbidden) as frozen:
        await house.timesheets.approve(house.caller("mia"), sheet.id, anything)
    assert frozen.value.extra["rules"] == ["frozen"]
    with pytest.raises(NotFound):
        await house.timesheets.approve(house.caller("ben"), sheet.id, anything)


async def test_the_list_and_the_inbox_of_a_lead_hold_their_weeks(house: House, sheet: Timesheet) -> None:
    other = await house.submit_week("ben")
    await house.owner.execute("UPDATE entry SET project = 'gemini' WHERE timesheet_id = $1", other.id)
    for _ in range(2):
        # The second time, from memory.
        assert await listed(house, "carl") == {sheet.id}
        assert await listed(house, "max") == {other.id}
        assert await listed(house, "mia") == {sheet.id, other.id}
    waiting = (await house.approvals.list_pending(house.caller("carl"))).value.items
    assert [(item.sheet.id, item.relations, item.rules) for item in waiting] == [
        (sheet.id, ("project_lead",), ("approve-project",))
    ]
    await house.timesheets.approve(house.caller("carl"), sheet.id, at(sheet.version))
    assert (await house.approvals.list_pending(house.caller("carl"))).value.items == ()


async def test_a_lead_that_ends_begins_or_moves_counts_from_then_on(house: House, sheet: Timesheet) -> None:
    assert await listed(house, "carl") == {sheet.id}
    await house.owner.execute("UPDATE project_lead SET valid_to = now() WHERE person_id = $1", house.people["carl"])
    assert await listed(house, "carl") == set()
    with pytest.raises(NotFound):
        await house.timesheets.read(house.caller("carl"), sheet.id)
    # What a week has hours on is no matter of the directory, and nothing of it is remembered.
    assert await listed(house, "max") == set()
    await house.owner.execute("UPDATE entry SET project = 'gemini' WHERE timesheet_id = $1", sheet.id)
    assert await listed(house, "max") == {sheet.id}
    assert (await house.timesheets.read(house.caller("max"), sheet.id)).value.id == sheet.id
    await house.owner.execute("UPDATE entry SET project = 'zeus' WHERE timesheet_id = $1", sheet.id)
    with pytest.raises(NotFound):
        await house.timesheets.read(house.caller("max"), sheet.id)


async def test_reports_of_a_lead_add_up_their_weeks(house: House, sheet: Timesheet) -> None:
    await house.submit_week("ben", MONDAY + timedelta(days=7))
    report = (await Reports(house.gate).hours(house.caller("carl"), "project", Span(MONDAY, MONDAY))).value
    assert [(total.key, total.sheets, total.minutes) for total in report.totals] == [("apollo", 1, EIGHT_HOURS.minutes)]
    report = (await Reports(house.gate).hours(house.caller("max"), "project", Span(MONDAY, MONDAY))).value
    assert report.totals == ()


async def test_the_access_page_names_the_leads_and_their_delegates(house: House, sheet: Timesheet) -> None:
    await house.delegations.grant(house.manager("carl"), house.people["carl"], house.people["ben"])
    found = (await TimesheetAccess(house.gate).of(house.caller("carl"), sheet.id)).value.grantees
    by_person = {grantee.person: grantee for grantee in found}
    lead, delegate = by_person[house.people["carl"]], by_person[house.people["ben"]]
    assert lead.relations == {"project_lead"}
    assert {way.rule for way in lead.may["approve"]} == {"approve-project"}
    assert delegate.relations == {"lead_delegate"}
    assert house.people["max"] not in by_person


async def test_the_delegate_of_a_lead_acts_as_a_path_says(house: House, sheet: Timesheet) -> None:
    await house.delegations.grant(house.manager("carl"), house.people["carl"], house.people["ben"])
    assert await listed(house, "ben") == {sheet.id}
    approved = await house.timesheets.approve(house.caller("ben"), sheet.id, at(sheet.version))
    assert approved.value.state is State.APPROVED


async def test_a_week_of_nobody_whom_anybody_leads_needs_the_lead_of_a_project(house: House, sheet: Timesheet) -> None:
    caller = house.caller("dora")
    made = (await house.timesheets.create(caller, MONDAY, "UTC")).value
    zeus = replace(EIGHT_HOURS, project="zeus")
    edited = (await house.timesheets.add_entry(caller, made.id, at(made.version), zeus)).value.sheet
    with pytest.raises(NoApprover):
        await house.timesheets.submit(caller, made.id, at(edited.version))
    edited = (await house.timesheets.add_entry(caller, made.id, at(edited.version), EIGHT_HOURS)).value.sheet
    submitted = (await house.timesheets.submit(caller, made.id, at(edited.version))).value
    assert submitted.state is State.SUBMITTED
    # Carl leads apollo, and nobody approves their own hours.
    own = house.caller("carl")
    await house.owner.execute("UPDATE membership SET valid_to = now() WHERE person_id = $1", house.people["carl"])
    mine = (await house.timesheets.create(own, MONDAY, "UTC")).value
    with_hours = (await house.timesheets.add_entry(own, mine.id, at(mine.version), EIGHT_HOURS)).value.sheet
    with pytest.raises(NoApprover):
        await house.timesheets.submit(own, mine.id, at(with_hours.version))


async def test_a_reminder_names_the_leads_of_the_weeks_projects(house: House, sheet: Timesheet) -> None:
    await house.owner.execute("UPDATE timesheet SET submitted_at = submitted_at - interval '9 days'")
    assert (await Reminders(house.gate).remind(house.administrator(), 3)).value.sheets == 1
    body = read_body(
        await house.owner.fetchval("SELECT body FROM audit_record WHERE kind = 'change' ORDER BY id DESC LIMIT 1")
    )
    approvers = {str(house.people[name]) for name in ("carl", "mia", "dora")}
    assert set(body["change"]["to"]["approvers"]) == approvers  # type: ignore[index]


async def test_capabilities_say_that_it_depends_on_the_relation(house: House, sheet: Timesheet) -> None:
    await listed(house, "carl")
    snapshot, caller = house.versions.current(), house.caller("carl")
    async with house.requests.connection() as connection:
        lookup = await house.relationships.ambient(connection, caller.principal)
    capabilities = {
        (found.kind, found.action): found for found in list_capabilities(snapshot, caller.principal, lookup)
    }
    approve = capabilities["timesheet", "approve"]
    assert approve.availability is Availability.DEPENDS
    assert "project_lead" in approve.as_


async def test_nobody_approves_their_own_week_as_its_lead_under_any_id(house: House, sheet: Timesheet) -> None:
    await house.project_leads.add(house.administrator(), "apollo", house.people["ana"])
    with pytest.raises(Forbidden):
        await house.timesheets.approve(house.caller("ana"), sheet.id, anything)
    # Ben turns out to be ana: what ben leads, ana leads, and it is still her own week.
    await house.project_leads.add(house.administrator(), "apollo", house.people["ben"])
    await Merging(house.gate).merge(house.administrator(), house.people["ben"], house.people["ana"])
    with pytest.raises(Forbidden):
        await house.timesheets.approve(house.caller("ben"), sheet.id, anything)


async def test_a_lead_who_was_erased_and_came_back_does_not_approve_their_week_of_before(
    house: House, sheet: Timesheet
) -> None:
    await house.owner.execute("UPDATE timesheet SET state = 'approved'")
    await erase(house, "ana")
    name = await come_back(house, "ana")
    await house.owner.execute("UPDATE timesheet SET state = 'submitted'")
    await house.project_leads.add(house.administrator(), "apollo", house.people[name])
    with pytest.raises(Forbidden) as refused:
        await house.timesheets.approve(house.caller(name), sheet.id, anything)
    assert "never-own-hours" in refused.value.extra["rules"]  # type: ignore[operator]


async def test_a_version_may_change_what_manager_means_and_the_next_one_changes_it_back(
    house: House, sheet: Timesheet
) -> None:
    assert await listed(house, "dora") == {sheet.id}
    text = read_shipped()
    narrow = text.vocabulary.replace(
        "resource.owner.teams.above.leads - resource.owner", "resource.owner.teams.leads - resource.owner"
    )
    assert narrow != text.vocabulary
    number = await activate_unread(house, replace(text, vocabulary=narrow, cases={}))
    assert await listed(house, "dora") == set()
    assert await listed(house, "mia") == {sheet.id}
    with pytest.raises(NotFound):
        await house.timesheets.read(house.caller("dora"), sheet.id)
    assert await version_store.move_head(house.owner, 2, expected=number)
    assert await listed(house, "dora") == {sheet.id}
    assert (await house.timesheets.read(house.caller("dora"), sheet.id)).value.id == sheet.id


async def test_paths_also_start_at_a_delegation(house: House) -> None:
    vocabulary = """
[kinds.delegation.relations.lead_above]
is = "resource.delegator.teams.above.leads - resource.delegator"
yes = "you lead the delegator"
no = "you do not lead the delegator"
"""
    rows = ("p, allow, lead_above, read, any, delegation, any, always, read-above",)
    await activate(house, vocabulary, rows)
    made = (await house.delegations.grant(house.manager("mia"), house.people["mia"], house.people["ben"])).value
    found = (await house.delegations.list(house.caller("dora"))).value
    assert [delegation.id for delegation in found.items] == [made.id]
    assert (await house.delegations.list(house.caller("max"))).value.items == []
