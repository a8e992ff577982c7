"""Delegations and fallback approvers: who may approve in place of a manager, and that the log names both people."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from service.administration.replay import recorded_request
from service.administration.replay.recorded_values import RecordedValues
from service.administration.replay.reevaluation import reevaluate
from service.administration.versions import version_store
from service.audit import search
from service.authorization.enforcement.relationships import Relationships
from service.directory.entities import Part, Validity
from service.errors import Conflict, Denied, Forbidden, InvalidField, NoApprover, NotFound, StepUpNeeded
from service.log import record_query
from service.log.packing import unpack
from service.policy.attributes import AttributeType
from service.timesheets.access import TimesheetAccess
from service.timesheets.listing import Filters
from service.timesheets.relations import TIMESHEET_FACTS
from service.timesheets.timesheet import State
from service.values import replace
from tests.integration.house import EIGHT_HOURS, MONDAY, activate_unread, anything, at
from tests.policy_forge import with_more

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Caller
    from service.directory.entities import Delegation
    from service.timesheets.timesheet import Timesheet
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

DAY = timedelta(days=1)


def strong(house: House, name: str) -> Caller:
    """A caller who signed in with a second factor."""
    caller = house.caller(name)
    return replace(caller, principal=replace(caller.principal, methods=frozenset({"mfa"})))


async def grant_delegation(house: House, manager: str, delegate: str, validity: Validity | None = None) -> Delegation:
    people = house.people
    asked = house.delegations.grant(house.manager(manager), people[manager], people[delegate], validity or Validity())
    return (await asked).value


async def relations(house: House, who: str, sheet: Timesheet) -> frozenset[str]:
    seen = Relationships([TIMESHEET_FACTS])
    principal = house.caller(who).principal
    return (await seen.of_row(house.owner, principal, TIMESHEET_FACTS, sheet.id)).relations


async def records(house: House, event: str) -> list[dict[str, Any]]:
    """Changes of this type with the decisions behind them, oldest first."""
    rows = await house.owner.fetch(
        "SELECT convert_from(body, 'UTF8')::jsonb AS body FROM audit_record"
        " WHERE kind IN ('change', 'directory') AND convert_from(body, 'UTF8')::jsonb #>> '{change,type}' = $1"
        " ORDER BY id",
        event,
    )
    return [row["body"] if isinstance(row["body"], dict) else json.loads(row["body"]) for row in rows]


async def test_a_delegate_approves_for_the_manager_and_the_log_names_both(house: House) -> None:
    sheet = await house.submit_week("ana")
    with pytest.raises(Denied):
        await house.timesheets.approve(strong(house, "carl"), sheet.id, at(sheet.version))
    await grant_delegation(house, "mia", "carl")
    assert await relations(house, "carl", sheet) == {"delegate"}
    approved = await house.timesheets.approve(strong(house, "carl"), sheet.id, at(sheet.version))
    assert approved.value.state is State.APPROVED

    change = (await records(house, "timesheet.approved"))[-1]
    assert change["principal"]["person"] == str(house.people["carl"])
    assert change["on_behalf_of"] == str(house.people["mia"])
    decision = await house.owner.fetchval(
        "SELECT convert_from(body, 'UTF8')::jsonb ->> 'on_behalf_of' FROM audit_record WHERE uid = $1",
        approved.receipt.uid,
    )
    assert decision == str(house.people["mia"])
    async with house.requests.connection() as connection:
        found = await search.search_records(connection, record_query.RecordFilters(on_behalf_of=(house.people["mia"],)))
        assert (
            await search.search_records(connection, record_query.RecordFilters(on_behalf_of=(house.people["carl"],)))
            == []
        )
    assert sorted(record.kind for record in found) == ["change", "decision"]


async def test_a_manager_who_is_also_a_delegate_acts_for_themselves(house: House) -> None:
    sheet = await house.submit_week("ana")
    await grant_delegation(house, "mia", "dora")
    assert await relations(house, "dora", sheet) == {"manager", "delegate"}
    await house.timesheets.approve(strong(house, "dora"), sheet.id, at(sheet.version))
    assert "on_behalf_of" not in (await records(house, "timesheet.approved"))[-1]


async def test_a_delegate_without_a_second_factor_is_asked_for_one(house: House) -> None:
    sheet = await house.submit_week("ana")
    await grant_delegation(house, "mia", "carl")
    weak = house.caller("carl")
    with pytest.raises(StepUpNeeded):
        await house.timesheets.approve(
            replace(weak, principal=replace(weak.principal, methods=frozenset({"pwd"}))), sheet.id, at(sheet.version)
        )


async def test_a_delegate_approves_neither_their_own_sheet_nor_the_managers(house: House) -> None:
    await grant_delegation(house, "mia", "ana")
    own, mias, bens = await house.submit_week("ana"), await house.submit_week("mia"), await house.submit_week("ben")
    assert await relations(house, "ana", own) == {"owner"}
    assert await relations(house, "ana", mias) == set()
    assert await relations(house, "ana", bens) == {"delegate"}
    with pytest.raises(Forbidden):
        await house.timesheets.approve(strong(house, "ana"), own.id, at(own.version))
    with pytest.raises(Denied):
        await house.timesheets.approve(strong(house, "ana"), mias.id, at(mias.version))


async def test_two_leads_who_are_each_others_delegates_do_not_approve_their_own(house: House) -> None:
    await house.directory.add_membership(house.administrator(), house.people["max"], house.teams["east"], Part.LEAD)
    await grant_delegation(house, "mia", "max")
    await grant_delegation(house, "max", "mia")
    for name in ("mia", "max"):
        assert await relations(house, name, await house.submit_week(name)) == {"owner"}


async def test_a_delegate_does_not_pass_it_on(house: House) -> None:
    sheet = await house.submit_week("ana")
    await grant_delegation(house, "mia", "carl")
    await grant_delegation(house, "carl", "ben")
    assert await relations(house, "ben", sheet) == set()
    assert await relations(house, "carl", sheet) == {"delegate"}


async def test_a_grant_holds_from_its_begin_up_to_its_end(house: House) -> None:
    now = datetime.now(UTC)
    sheet = await house.submit_week("ana")
    await grant_delegation(house, "mia", "carl", Validity(now + DAY, now + 2 * DAY))
    assert await relations(house, "carl", sheet) == set()
    await grant_delegation(house, "mia", "ben", Validity(now - DAY, now - DAY / 2))
    assert await relations(house, "ben", sheet) == set()
    grant = await grant_delegation(house, "mia", "carl", Validity(None, now + DAY))
    assert await relations(house, "carl", sheet) == {"delegate"}
    ended = (await house.delegations.end(house.caller("mia"), grant.id)).value
    assert ended.validity.valid_to is not None
    assert ended.validity.valid_to < now + DAY
    assert await relations(house, "carl", sheet) == set()
    with pytest.raises(Conflict):
        await house.delegations.end(house.caller("mia"), grant.id)


async def test_a_manager_who_leads_no_longer_leaves_the_delegate_with_nothing(house: House) -> None:
    sheet = await house.submit_week("ana")
    await grant_delegation(house, "mia", "carl")
    lead = await house.owner.fetchval(
        "SELECT id FROM membership WHERE person_id = $1 AND part = 'lead'", house.people["mia"]
    )
    await house.directory.end_membership(house.administrator(), lead)
    assert await relations(house, "carl", sheet) == set()


async def test_managers_name_their_own_delegates_and_administrators_anybodys(house: House) -> None:
    people = house.people
    with pytest.raises(Forbidden):
        await house.delegations.grant(house.caller("carl"), people["mia"], people["carl"])
    grant = (await house.delegations.grant(house.administrator(), people["mia"], people["carl"])).value
    with pytest.raises(Conflict):
        await grant_delegation(house, "mia", "carl")
    with pytest.raises(Denied):
        await house.delegations.end(house.caller("carl"), grant.id)
    with pytest.raises(Denied):
        await house.delegations.end(house.caller("max"), grant.id)
    for name in ("mia", "carl", "adam"):
        caller = house.administrator() if name == "adam" else house.caller(name)
        assert [item.id for item in (await house.delegations.list(caller)).value.items] == [grant.id]
    assert (await house.delegations.list(house.caller("max"))).value.items == []
    change = (await records(house, "directory.changed"))[-1]["change"]["to"]
    assert (change["what"], change["delegator"], change["delegate"]) == (
        "delegation.granted",
        str(people["mia"]),
        str(people["carl"]),
    )


async def test_a_wrong_grant_names_its_field(house: House) -> None:
    now, mia = datetime.now(UTC), house.people["mia"]
    for delegate, validity, field in (
        (mia, Validity(), "delegate"),
        (uuid4(), Validity(), "delegate"),
        (house.people["ana"], Validity(now, now), "valid_to"),
        (house.people["ana"], Validity(now + DAY, now), "valid_to"),
    ):
        with pytest.raises(InvalidField) as refused:
            await house.delegations.grant(house.manager("mia"), mia, delegate, validity)
        assert [error.field for error in refused.value.fields] == [field]
    with pytest.raises(NotFound):
        await house.delegations.end(house.caller("mia"), uuid4())


TIMES = [(name, AttributeType.TIMESTAMP) for name in ("resource.valid_from", "resource.valid_to")]
LASTING = """
[kinds.delegation.facts.long]
is = 'resource.valid_to - resource.valid_from > duration("720h")'
yes = "it lasts more than 30 days"
no = "it lasts at most 30 days"
[kinds.delegation.facts.late]
is = 'resource.valid_to - context.now > duration("720h")'
yes = "it ends in more than 30 days"
no = "it ends within 30 days"
[kinds.delegation.facts.open_ended]
is = "!has(resource.valid_to)"
yes = "it has no end"
no = "it has an end"
"""


@pytest.mark.parametrize("fact", ["long", "late"])
async def test_a_rule_decides_on_how_long_a_new_delegation_lasts(house: House, fact: str) -> None:
    text = with_more(
        f"p, deny, anyone, grant, any, delegation, any, {fact} and not open_ended, at-most-30-days\n"
        "p, deny, anyone, grant, any, delegation, any, open_ended, no-open-end\n",
        LASTING,
    )
    again = replace(text, rules=f"{text.rules}# again\n")
    other = await version_store.insert(house.owner, again, message="m", author_person=None, author_client="c")
    await activate_unread(house, text)
    mia, now = house.people["mia"], datetime.now(UTC)
    for validity, rule in (
        (Validity(), "no-open-end"),
        (Validity(now + DAY), "no-open-end"),
        (Validity(None, now + 40 * DAY), "at-most-30-days"),
        (Validity(now + DAY, now + 41 * DAY), "at-most-30-days"),
        (Validity(None, now + 20 * DAY), None),
        (Validity(now + 21 * DAY, now + 22 * DAY), None),
    ):
        grant = house.delegations.grant(house.manager("mia"), mia, house.people["carl"], validity)
        if rule is None:
            decision = (await grant).receipt.uid
        else:
            with pytest.raises(Forbidden) as refused:
                await grant
            assert refused.value.decision is not None
            decision = UUID(refused.value.decision[0])
        body = unpack(await house.owner.fetchval("SELECT body FROM audit_record WHERE uid = $1", decision))
        recorded = recorded_request.parse_request(body)
        attributes = RecordedValues(recorded, frozenset({"resource.valid_from", "resource.valid_to"}))
        # Without a beginning it begins with the decision.
        begin = validity.valid_from or recorded.request.lookup.at
        assert attributes.list_values(TIMES) == (begin, validity.valid_to)
        assert recorded.verdict.rules == ((rule,) if rule else ("delegation-grant-own",))
        current = house.versions.current()
        assert reevaluate(current, recorded) == recorded.verdict
        assert reevaluate(await house.versions.load(other.number), recorded, current) == recorded.verdict


async def test_a_caller_who_may_not_read_the_directory_learns_of_no_person_by_naming_a_delegate(house: House) -> None:
    people = house.people
    gone = people["adam"]
    await house.owner.execute("INSERT INTO merged_person (person_id, into_id) VALUES ($1, $2)", gone, people["ben"])
    told = set()
    for delegate in (uuid4(), people["dora"], gone):
        with pytest.raises(InvalidField) as refused:
            await house.delegations.grant(house.caller("carl"), people["carl"], delegate)
        told.add((refused.value.public, str(refused.value.extra)))
    assert len(told) == 1
    assert "may see" in told.pop()[0]
    assert await house.count("delegation") == 0
    assert (await grant_delegation(house, "carl", "dora")).delegate == people["dora"]


async def test_the_fallback_approver_approves_only_for_those_whom_nobody_leads(house: House) -> None:
    await house.fallbacks.name(house.administrator(), house.people["max"])
    doras, anas = await house.submit_week("dora"), await house.submit_week("ana")
    assert await relations(house, "max", doras) == {"fallback"}
    assert await relations(house, "max", anas) == set()
    approved = await house.timesheets.approve(house.caller("max"), doras.id, at(doras.version))
    assert approved.value.state is State.APPROVED
    listed = (await house.timesheets.list(house.caller("max"), Filters())).value.items
    assert {sheet.owner for sheet in listed} == {house.people["dora"]}


async def test_the_fallback_of_a_team_is_none_for_others_nor_for_themselves(house: House) -> None:
    admin, people = house.administrator(), house.people
    await house.fallbacks.name(admin, people["mia"], house.teams["west"])
    named = (await house.fallbacks.name(admin, people["dora"])).value
    with pytest.raises(NoApprover):
        await house.submit_week("dora")
    doras = (await house.timesheets.list(house.caller("dora"), Filters())).value.items[0]
    assert doras.state is State.DRAFT
    assert await relations(house, "dora", doras) == {"owner"}
    assert await relations(house, "mia", doras) == set()
    with pytest.raises(Conflict):
        await house.fallbacks.name(admin, people["dora"])
    await house.fallbacks.end(admin, named.id)
    with pytest.raises(Conflict):
        await house.fallbacks.end(admin, named.id)
    leads = await house.owner.fetch("SELECT id, person_id FROM membership WHERE part = 'lead'")
    carls = await house.submit_week("carl")
    assert await relations(house, "mia", carls) == set()
    for lead in leads:
        await house.directory.end_membership(admin, lead["id"])
    assert await relations(house, "mia", carls) == {"fallback"}
    assert await relations(house, "max", carls) == set()


async def test_two_leads_of_one_team_may_approve_each_other_and_everybody_can_see_it(house: House) -> None:
    """Visible and not forbidden: docs/decisions/0015."""
    await house.directory.add_membership(house.administrator(), house.people["max"], house.teams["east"], Part.LEAD)
    mias, maxs = await house.submit_week("mia"), await house.submit_week("max")
    assert await relations(house, "max", mias) == {"manager"}
    await house.timesheets.approve(house.caller("max"), mias.id, anything)
    assert await relations(house, "mia", maxs) == {"manager"}


async def test_where_nobody_could_approve_a_sheet_stays_a_draft_and_says_what_to_do(house: House) -> None:
    with pytest.raises(NoApprover, match="fallback approver"):
        await house.submit_week("dora")
    sheet = (await house.timesheets.list(house.caller("dora"), Filters())).value.items[0]
    await house.fallbacks.name(house.administrator(), house.people["max"])
    submitted = (await house.timesheets.submit(house.caller("dora"), sheet.id, at(sheet.version))).value
    assert submitted.state is State.SUBMITTED


async def test_whoever_wrote_in_a_sheet_is_no_approver_of_it_when_it_is_handed_in(house: House) -> None:
    people, ana = house.people, house.caller("ana")
    sheet = (await house.timesheets.create(ana, MONDAY, "UTC")).value
    sheet = (await house.timesheets.add_entry(ana, sheet.id, at(1), EIGHT_HOURS)).value.sheet
    for writers, could in ((["mia"], True), (["dora"], True), (["dora", "max"], True), (["mia", "dora"], False)):
        await house.owner.execute("UPDATE timesheet SET editors = $1", [people[writer] for writer in writers])
        if could:
            submitted = (await house.timesheets.submit(ana, sheet.id, at(sheet.version))).value
            sheet = (await house.timesheets.withdraw(ana, sheet.id, at(submitted.version))).value
        else:
            with pytest.raises(NoApprover, match="may name a delegate"):
                await house.timesheets.submit(ana, sheet.id, at(sheet.version))
    # A person who entered hours in it cannot approve as a delegate, nor can the owner.
    for delegate in ("dora", "ana"):
        await grant_delegation(house, "mia", delegate)
        with pytest.raises(NoApprover):
            await house.timesheets.submit(ana, sheet.id, at(sheet.version))
    await grant_delegation(house, "mia", "carl")
    submitted = (await house.timesheets.submit(ana, sheet.id, at(sheet.version))).value
    assert await relations(house, "carl", submitted) == {"delegate"}


async def test_a_fallback_approver_who_wrote_in_a_sheet_is_none(house: House) -> None:
    admin, people, dora = house.administrator(), house.people, house.caller("dora")
    await house.fallbacks.name(admin, people["max"])
    sheet = await house.submit_week("dora")
    sheet = (await house.timesheets.withdraw(dora, sheet.id, at(sheet.version))).value
    await house.owner.execute("UPDATE timesheet SET editors = $1", [people["max"]])
    with pytest.raises(NoApprover, match="fallback approver"):
        await house.timesheets.submit(dora, sheet.id, at(sheet.version))
    await house.fallbacks.name(admin, people["ben"])
    assert (await house.timesheets.submit(dora, sheet.id, at(sheet.version))).value.state is State.SUBMITTED


async def test_who_may_do_what_names_delegates_and_fallbacks(house: House) -> None:
    await grant_delegation(house, "mia", "carl")
    await house.fallbacks.name(house.administrator(), house.people["max"])
    anas, doras = await house.submit_week("ana"), await house.submit_week("dora")
    access = TimesheetAccess(house.gate)
    found = {grantee.person: grantee for grantee in (await access.of(house.caller("ana"), anas.id)).value.grantees}
    assert found[house.people["carl"]].may["approve"][0].rule == "approve-as-delegate"
    assert house.people["max"] not in found
    found = {grantee.person: grantee for grantee in (await access.of(house.caller("dora"), doras.id)).value.grantees}
    assert found[house.people["max"]].may["approve"][0].rule == "approve-as-fallback"
