"""Names beside ids: on request, by the rules for `see_names`, in lists as in single reads, and never an address."""

from __future__ import annotations

import csv
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.administration.versions import version_store
from service.authorization.enforcement.decision_point import Resource, evaluate
from service.authorization.enforcement.names import find_named_rows, load_names_of_rows
from service.authorization.enforcement.visibility import visible
from service.authorization.engine.engine import Snapshot
from service.directory.entities import Part
from service.directory.legal_holds import LegalHolds
from service.directory.merging import Merging
from service.directory.people import People
from service.policy import policy_file
from service.policy.known_words import SEE_NAMES
from service.timesheets.actions import ids_in
from tests.example_count import example_count
from tests.integration.api import InProcess, api
from tests.integration.house import MONDAY, at, speaking
from tests.integration.test_after_erasure import activate
from tests.integration.test_list_law import SCOPE, STATES, WHEN, WHO, World, askers, world
from tests.policy_forge import read_shipped, rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.timesheets.timesheet import Timesheet
    from tests.integration.house import House
    from tests.integration.test_list_law import Asker

__all__ = ["world"]

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
MERGE_PATCH = "application/merge-patch+json"
READ = "read:timesheets create:timesheets approve:timesheets"
KEEP = "manage:directory"
NAMED = {"ana": "Ana Lima", "ben": "Ben Adler", "lea": "Lea Okoye"}
SEES = st.lists(
    st.tuples(st.sampled_from(["allow", "allow", "deny"]), st.sampled_from(WHO), st.sampled_from(STATES), SCOPE, WHEN),
    min_size=1,
    max_size=6,
)


@pytest.fixture
async def running(house: House, issuer: str) -> AsyncIterator[InProcess]:
    """Lea leads east; ana, ben and lea have names and addresses, and speak by tokens of their own."""
    for name, shown in NAMED.items():
        signed_in = await People(house.requests, house.log).person_for(speaking(issuer, f"auth0|{name}"))
        house.people[name] = signed_in
        described = {"display_name": shown, "email": f"{name}@example.com"}
        await house.directory.amend_person(house.administrator(), signed_in, described)
        part = Part.LEAD if name == "lea" else Part.MEMBER
        await house.directory.add_membership(house.administrator(), signed_in, house.teams["east"], part)
    async with api(house, issuer) as started:
        yield started


@pytest.fixture
async def rejected(house: House, running: InProcess) -> Timesheet:
    """A sheet of ana's that lea sent back."""
    sheet = await house.submit_week("ana")
    return (await house.timesheets.reject(house.caller("lea"), sheet.id, at(sheet.version), "Friday is missing")).value


async def get(running: InProcess, name: str, path: str, scope: str = READ, **claims: Any) -> Any:
    answer = await running.send("GET", path, running.token(sub=f"auth0|{name}", scope=scope, **claims))
    assert answer.status_code == 200, answer.text
    assert "@example.com" not in answer.text
    return answer.json()


def names_of(house: House, *people: str, **more: str) -> dict[str, str]:
    return {**{str(house.people[name]): NAMED[name] for name in people}, **more}


async def test_an_owner_learns_who_rejected_their_sheet_and_why(
    house: House, running: InProcess, rejected: Timesheet
) -> None:
    path = f"/v1/timesheets/{rejected.id}"
    read = await get(running, "ana", f"{path}?names=true")
    assert read["reason"] == "Friday is missing"
    assert read["names"] == names_of(house, "ana", "lea", apollo="Project apollo")
    assert read["names"][read["decided_by"]] == "Lea Okoye"
    assert "names" not in await get(running, "ana", path)
    both = await get(running, "ana", f"{path}?names=true&include=actions")
    assert both["names"] == read["names"]
    assert "submit" in both["actions"]
    assert (await get(running, "ana", f"{path}?include=actions")).keys() == both.keys() - {"names"}


async def test_a_list_has_the_names_that_single_reads_have(
    house: House, running: InProcess, rejected: Timesheet
) -> None:
    for week in range(1, 4):
        await house.submit_week("ben", MONDAY + timedelta(days=7 * week))
    for reader in ("lea", "ana"):
        listed = (await get(running, reader, "/v1/timesheets?names=true"))["items"]
        assert len(listed) == (4 if reader == "lea" else 1)
        assert listed == [await get(running, reader, f"/v1/timesheets/{sheet['id']}?names=true") for sheet in listed]
    plain = (await get(running, "lea", "/v1/timesheets"))["items"]
    assert all("names" not in sheet for sheet in plain)
    assert str(rejected.id) in {sheet["id"] for sheet in plain}


async def change(
    running: InProcess, name: str, path: str, body: object = None, method: str = "POST", **more: Any
) -> Any:
    headers = {"If-Match": more.pop("version")} if "version" in more else {}
    headers |= {"Content-Type": MERGE_PATCH} if method == "PATCH" else {}
    token = running.token(sub=f"auth0|{name}", **{"scope": READ, **more})
    answer = await running.send(method, path, token, body=body, headers=headers)
    assert answer.status_code in {200, 201, 202}, answer.text
    return answer.json()


async def test_answers_to_changes_have_the_names_that_the_next_read_has(house: House, running: InProcess) -> None:
    hours = {"day": str(MONDAY), "project": "apollo", "minutes": 60}
    sheet = await change(running, "ana", "/v1/timesheets?names=true", {"period_start": str(MONDAY), "entries": [hours]})
    path, entry = f"/v1/timesheets/{sheet['id']}", f"entries/{sheet['entries'][0]['id']}"
    assert sheet["names"] == names_of(house, "ana", apollo="Project apollo")
    steps: list[tuple[str, str, str, object]] = [
        ("ana", "POST", "entries", {**hours, "project": "zeus"}),
        ("ana", "PUT", entry, {**hours, "minutes": 30}),
        ("ana", "PATCH", entry, {"minutes": 40}),
        ("ana", "DELETE", entry, None),
        ("ana", "PUT", "entries", {"entries": [hours]}),
        ("ana", "POST", "entries/batch", {"entries": [hours]}),
        ("ana", "PATCH", "", {"day_notes": {str(MONDAY): "Fair"}}),
        ("ana", "POST", "submit", None),
        ("ana", "POST", "withdraw", None),
        ("ana", "POST", "submit", None),
        ("lea", "POST", "reject", {"reason": "Friday is missing"}),
        ("ana", "POST", "submit", None),
        ("lea", "POST", "approve", {"comment": "Thanks"}),
    ]
    for name, method, rest, body in steps:
        below = f"{path}/{rest}".removesuffix("/")
        sheet = await change(running, name, f"{below}?names=true", body, method, version=f'"{sheet["version"]}"')
        assert sheet == await get(running, name, f"{path}?names=true"), rest
    assert sheet["names"] == names_of(house, "ana", "lea", apollo="Project apollo")
    plain = await change(running, "lea", f"{path}/reopen", {"reason": "Again"}, version=f'"{sheet["version"]}"')
    assert "names" not in plain


async def test_the_policy_decides_on_names_in_the_state_that_a_change_leads_to(
    house: House, running: InProcess
) -> None:
    only_drafts = "p, allow, owner, see_names, draft, timesheet, any, always, names-of-drafts"
    await activate(house, only_drafts, without="names-in-timesheets")
    hours = {"day": str(MONDAY), "project": "apollo", "minutes": 60}
    sheet = await change(running, "ana", "/v1/timesheets?names=true", {"period_start": str(MONDAY), "entries": [hours]})
    assert sheet["names"] == names_of(house, "ana", apollo="Project apollo")
    for step, expected in (("submit", {}), ("withdraw", sheet["names"])):
        path = f"/v1/timesheets/{sheet['id']}/{step}?names=true"
        sheet = await change(running, "ana", path, version=f'"{sheet["version"]}"')
        assert sheet["names"] == expected
    await activate(house, without="names-in-timesheets")
    path = f"/v1/timesheets/{sheet['id']}/submit?names=true"
    assert (await change(running, "ana", path, version=f'"{sheet["version"]}"'))["names"] == {}


async def test_a_stored_answer_with_the_name_of_an_erased_person_is_deleted(house: House, running: InProcess) -> None:
    sheet = await house.submit_week("ana")
    await house.timesheets.reject(house.caller("lea"), sheet.id, at(sheet.version), "Friday is missing")
    path, notes = f"/v1/timesheets/{sheet.id}?names=true", {"day_notes": {str(MONDAY): "Fair"}}
    headers = {"If-Match": f'"{sheet.version + 1}"', "Idempotency-Key": "k", "Content-Type": MERGE_PATCH}
    token = running.token(sub="auth0|ana", scope=READ)
    answer = await running.send("PATCH", path, token, body=notes, headers=headers)
    assert "Lea Okoye" in answer.text
    assert await house.count("kept_answer") == 1
    await house.erasure.erase(house.administrator(), house.people["lea"])
    assert await house.count("kept_answer") == 0


async def test_pending_approvals_access_and_delegations_have_names(house: House, running: InProcess) -> None:
    sheet = await house.submit_week("ana")
    waiting = (await get(running, "lea", "/v1/approvals?names=true"))["items"]
    assert [approval["timesheet"]["names"] for approval in waiting] == [names_of(house, "ana", apollo="Project apollo")]
    access = (await get(running, "lea", f"/v1/timesheets/{sheet.id}/access?names=true"))["items"]
    named = {grantee["person"]: grantee["names"] for grantee in access}
    assert named[str(house.people["lea"])] == names_of(house, "lea")
    # Mia, who leads the team too, has no name yet.
    assert named[str(house.people["mia"])] == {}
    assert all(
        "names" not in found for found in (await get(running, "lea", f"/v1/timesheets/{sheet.id}/access"))["items"]
    )
    await house.delegations.grant(house.administrator(), house.people["lea"], house.people["ben"])
    for party in ("lea", "ben"):
        [delegation] = (await get(running, party, "/v1/delegations?names=true"))["items"]
        assert delegation["names"] == names_of(house, "lea", "ben")


async def test_reports_name_people_and_projects(house: House, running: InProcess) -> None:
    for name in ("ana", "ben"):
        await house.submit_week(name)
    span = f"since={MONDAY}&until={MONDAY}"
    for by, expected in (
        ("person", names_of(house, "ana", "ben")),
        ("project", {"apollo": "Project apollo"}),
        ("team", {str(house.teams["east"]): "east"}),
        ("week", {str(MONDAY): None}),
    ):
        report = await get(running, "lea", f"/v1/reports/hours?by={by}&{span}&names=true")
        assert {total["key"]: total["name"] for total in report["items"]} == expected
        answer = await running.send(
            "GET",
            f"/v1/reports/hours?by={by}&{span}&names=true&format=csv",
            running.token(sub="auth0|lea", scope=READ),
        )
        lines = list(csv.DictReader(answer.text.splitlines()))
        assert {line[by]: line["name"] or None for line in lines} == expected
    plain = await get(running, "lea", f"/v1/reports/hours?by=person&{span}")
    assert {total["name"] for total in plain["items"]} == {None}


@pytest.mark.parametrize("mode", ["all-or-nothing", "per-item"])
async def test_a_batch_has_the_names_of_owners(house: House, running: InProcess, mode: str) -> None:
    sheets = [await house.submit_week(name) for name in ("ana", "ben")]
    items = [{"id": str(sheet.id), "version": sheet.version} for sheet in sheets]
    done = await change(running, "lea", "/v1/timesheets/batch-approve?names=true", {"items": items, "mode": mode})
    assert [(item["owner"], item["names"]) for item in done["items"]] == [
        (str(house.people[name]), names_of(house, name)) for name in ("ana", "ben")
    ]
    if mode == "per-item":
        again = await change(running, "lea", "/v1/timesheets/batch-approve", {"items": items, "mode": mode})
        assert all(item["owner"] is None and "names" not in item for item in again["items"])


async def test_lists_of_the_directory_have_names(house: House, running: InProcess) -> None:
    admin, east = house.administrator(), house.teams["east"]
    await house.groups.add(admin, "works-council")
    await house.members.add(admin, "works-council", house.people["ana"])
    await house.project_leads.add(admin, "zeus", house.people["ben"])
    await house.fallbacks.name(admin, house.people["lea"], east)
    ana, ben, lea, team = (
        names_of(house, "ana"),
        names_of(house, "ben"),
        names_of(house, "lea"),
        {str(east): "east"},
    )
    for path, expected in (
        (f"/v1/memberships?person={house.people['ana']}", ana | team),
        ("/v1/groups/works-council/members", ana),
        ("/v1/projects/zeus/leads", ben | {"zeus": "Project zeus"}),
        ("/v1/fallback-approvers", lea | team),
        ("/v1/importer-grants", {str(house.teams["west"]): "west"}),
    ):
        sign = "&" if "?" in path else "?"
        [item] = (await get(running, "adam", f"{path}{sign}names=true", KEEP, roles=["administrator"]))["items"]
        assert item["names"] == expected, path
        [item] = (await get(running, "adam", path, KEEP, roles=["administrator"]))["items"]
        assert "names" not in item


async def test_answers_to_changes_of_the_directory_have_names(house: House, running: InProcess) -> None:
    east, west = house.teams["east"], house.teams["west"]
    ana, lea = str(house.people["ana"]), str(house.people["lea"])
    await house.groups.add(house.administrator(), "works-council")
    keep: dict[str, Any] = {"scope": KEEP, "roles": ["administrator"]}
    person, team, project = names_of(house, "ana"), {str(west): "west"}, {"zeus": "Project zeus"}
    for path, body, expected in (
        ("/v1/memberships", {"person": ana, "team": str(west), "part": "member"}, person | team),
        ("/v1/groups/works-council/members", {"person": ana}, person),
        ("/v1/projects/zeus/leads", {"person": ana}, person | project),
        ("/v1/fallback-approvers", {"person": ana, "team": str(west)}, person | team),
        ("/v1/importer-grants", {"client": "c", "team": str(west)}, team),
    ):
        made = await change(running, "adam", f"{path}?names=true", body, **keep)
        assert made["names"] == expected, path
        ended = await change(running, "adam", f"{path}/{made['id']}/end?names=true", {}, **keep)
        assert ended["names"] == expected, path
        assert "names" not in await change(running, "adam", path, body, **keep)
    [member] = (await get(running, "adam", f"/v1/memberships?person={lea}", KEEP, roles=["administrator"]))["items"]
    moved = f"/v1/memberships/{member['id']}/move?names=true"
    found = await change(running, "adam", moved, {"team": str(west)}, **keep)
    assert found["names"] == names_of(house, "lea") | team
    granted = await change(running, "adam", "/v1/delegations?names=true", {"delegator": lea, "delegate": ana}, **keep)
    assert granted["names"] == names_of(house, "ana", "lea")
    await activate(house, without="names-in-directory")
    body = {"person": ana, "team": str(east)}
    hidden = await change(running, "adam", "/v1/fallback-approvers?names=true", body, **keep)
    assert hidden["names"] == {}


async def test_replays_and_answers_about_the_policy_have_names(house: House, running: InProcess) -> None:
    author: dict[str, Any] = {"scope": "read:policies write:policies read:audit", "roles": ["policy-author", "auditor"]}
    lea = names_of(house, "lea")
    started = await change(running, "lea", "/v1/replays?names=true", {}, **author)
    assert started["names"] == lea
    path = f"/v1/replays/{started['id']}"
    [listed] = (await get(running, "lea", "/v1/replays?names=true", **author))["items"]
    assert listed["names"] == (await get(running, "lea", f"{path}?names=true", **author))["names"] == lea
    assert "names" not in await get(running, "lea", path, **author)
    assert (await change(running, "lea", f"{path}/cancel?names=true", **author))["names"] == lea
    hold = {"what": "person", "about": str(house.people["ana"]), "reason": "Case"}
    assert (await change(running, "lea", "/v1/audit/holds?names=true", hold, **author))["names"] == names_of(
        house, "ana"
    )


async def test_records_have_the_names_of_all_in_them(house: House, running: InProcess, rejected: Timesheet) -> None:
    auditor: dict[str, Any] = {"scope": "read:audit", "roles": ["auditor"]}
    history = (await get(running, "audrey", f"/v1/timesheets/{rejected.id}/history?names=true", **auditor))["items"]
    assert history[-1]["kind"] == "change"
    assert history[-1]["names"].items() >= names_of(house, "ana", "lea").items()
    member = "/v1/audit/records?kind=directory&names=true&resource_kind=directory"
    changes = (await get(running, "audrey", member, **auditor))["items"]
    lead = next(found for found in changes if found["record"]["change"]["to"].get("part") == "lead")
    assert lead["names"] == names_of(house, "lea", **{str(house.teams["east"]): "east"})
    for path in ("/v1/audit/records", "/v1/decisions"):
        path_of_record = f"{path}/{lead['record']['decision'] if path == '/v1/decisions' else lead['id']}"
        assert "names" in await get(running, "audrey", f"{path_of_record}?names=true", **auditor)
        assert "names" not in await get(running, "audrey", path_of_record, **auditor)
    await activate(house, without="names-in-log")
    listed = (await get(running, "audrey", "/v1/decisions?names=true", **auditor))["items"]
    assert {tuple(found["names"]) for found in listed} == {()}


async def test_versions_holds_and_revocations_have_names(house: House, running: InProcess) -> None:
    ana = house.people["ana"]
    auditor: dict[str, Any] = {"scope": "read:audit read:policies", "roles": ["auditor"]}
    await LegalHolds(house.gate).set(
        house.caller("lea", scopes=frozenset({"read:audit"}), roles=frozenset({"role:auditor"})), "person", ana, "Case"
    )
    await version_store.insert(house.owner, read_shipped(), message="m", author_person=ana, author_client="c")
    versions = (await get(running, "lea", "/v1/policies/versions?names=true", **auditor))["items"]
    assert [version["names"] for version in versions] == [names_of(house, "ana"), {}]
    for path, expected in (("/v1/policies/versions/2", names_of(house, "ana")), ("/v1/policies/active", {})):
        assert (await get(running, "lea", f"{path}?names=true", **auditor))["names"] == expected
        assert "names" not in await get(running, "lea", path, **auditor)
    [hold] = (await get(running, "lea", "/v1/audit/holds?names=true", **auditor))["items"]
    assert hold["names"] == names_of(house, "ana")
    keeper = running.token(sub="auth0|adam", scope="manage:tokens", roles=["administrator"])
    made = await running.send("POST", "/v1/revocations?names=true", keeper, body={"person": str(ana)})
    assert (made.status_code, made.json()["names"]) == (201, names_of(house, "ana")), made.text
    listed = (await running.send("GET", "/v1/revocations?names=true", keeper)).json()["items"]
    assert [revocation["names"] for revocation in listed] == [names_of(house, "ana")]


async def test_callers_see_their_own_name(house: House, running: InProcess) -> None:
    await house.project_leads.add(house.administrator(), "zeus", house.people["lea"])
    assert (await get(running, "lea", "/v1/me?names=true"))["names"] == names_of(house, "lea", zeus="Project zeus")
    assert "names" not in await get(running, "lea", "/v1/me")


async def test_the_policy_decides_whose_names_a_caller_sees(house: House, running: InProcess) -> None:
    for name in ("ana", "ben"):
        await house.submit_week(name)
    every, own_only = "names-in-timesheets", "p, allow, owner, see_names, any, timesheet, any, always, names-of-own"
    await activate(house, own_only, without=every)
    assert [sheet["names"] for sheet in (await get(running, "lea", "/v1/timesheets?names=true"))["items"]] == [{}, {}]
    [own] = (await get(running, "ana", "/v1/timesheets?names=true"))["items"]
    assert own["names"] == names_of(house, "ana", apollo="Project apollo")
    # A version from before this action gives no names.
    await activate(house, without=every)
    [own] = (await get(running, "ana", "/v1/timesheets?names=true"))["items"]
    assert own["names"] == {}
    span = f"since={MONDAY}&until={MONDAY}"
    report = await get(running, "lea", f"/v1/reports/hours?by=person&{span}&names=true")
    assert {total["name"] for total in report["items"]} == {None}


async def test_a_merged_person_has_the_name_of_the_one_who_remains_and_an_erased_one_has_none(
    house: House, running: InProcess, rejected: Timesheet
) -> None:
    dora = await People(house.requests, house.log).person_for(speaking(running.issuer, "auth0|dora"))
    await house.directory.add_membership(house.administrator(), dora, house.teams["division"], Part.LEAD)
    path = f"/v1/timesheets/{rejected.id}?names=true"
    await Merging(house.gate).merge(house.administrator(), house.people["ana"], house.people["ben"])
    sheet = await get(running, "lea", path)
    assert sheet["names"][str(house.people["ana"])] == "Ben Adler"
    await house.erasure.erase(house.administrator(), house.people["lea"])
    assert (await get(running, "dora", path))["names"].keys() == {str(house.people["ana"]), "apollo"}


async def test_names_cost_as_many_statements_for_a_page_as_for_one_row(house: House, running: InProcess) -> None:
    sheets = [await house.submit_week("ana", MONDAY + timedelta(days=7 * week)) for week in range(12)]
    counted = []
    for page in (sheets[:1], sheets):
        statements: list[object] = []
        async with house.gate.list(house.caller("lea"), "timesheet", "read") as listing:
            with listing.connection.query_logger(statements.append):
                ids = {sheet.id: ids_in(sheet) for sheet in page}
                named = await load_names_of_rows(listing.visibility, listing.connection, ids)
        assert all(found.keys() == ids[sheet] for sheet, found in named.items())
        counted.append(len(statements))
    assert counted[0] == counted[1] > 0


@settings(max_examples=example_count(20), suppress_health_check=list(HealthCheck))
@given(drawn=SEES, who=st.lists(askers, min_size=3, max_size=3, unique_by=lambda who: who[0]))
async def test_names_of_a_list_are_seen_in_the_rows_where_the_rules_allow_it(
    world: World,
    drawn: list[tuple[str, str, str, str, list[str]]],
    who: list[Asker],
) -> None:
    people = world.organisation.people
    lines = [
        f"p, {effect}, {word}, {SEE_NAMES}, {states}, timesheet, {scope}, {' and '.join(when) or 'always'}"
        for effect, word, states, scope, when in drawn
    ]
    lines = [
        line.replace("person:0", f"person:{people[0]}").replace("person:1", f"person:{people[1]}") for line in lines
    ]
    text = rows(
        "p, allow, anyone, read, any, timesheet, any, always, read-all",
        *(f"{line}, rule-{place}" for place, line in enumerate(dict.fromkeys(lines))),
    )
    rules = Snapshot.build(policy_file.parse(text), 1)
    for asker in map(world.asker, who):
        ambient, one_by_one = await world.look(asker)
        request = evaluate(rules, asker, "read", Resource("timesheet"), ambient).access_request
        shown = visible(rules, request, asker, ambient, world.facts)
        expected = {
            sheet
            for sheet, (owner, state, _) in world.organisation.sheets.items()
            if evaluate(
                rules, asker, SEE_NAMES, Resource("timesheet", str(sheet), owner, state, 1), one_by_one[sheet]
            ).allowed
        }
        found = await find_named_rows(shown, world.connection, list(world.organisation.sheets))
        assert found == expected
