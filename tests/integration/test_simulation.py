"""POST /v1/policies/simulate over HTTP: it decides like the real request and is never recorded as one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from service.administration.replay import recorded_request
from service.administration.versions import version_store
from service.log.packing import unpack
from service.policy.policy_file import PolicyText
from tests.integration.house import activate_unread
from tests.policy_forge import read_shipped

if TYPE_CHECKING:
    import httpx2

    from tests.integration.api import InProcess
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
pytestmark = pytest.mark.usefixtures("linked")

PATH = "/v1/policies/simulate"
MANAGER = {"client": "approvals", "scopes": ["approve:timesheets"]}
SUBMITTED = {"kind": "timesheet", "state": "submitted", "relations": ["manager"], "facts": {"acted_for_owner": False}}


def author(running: InProcess, **changes: Any) -> str:
    return running.token(**{"sub": "adam", "roles": ["policy-author"], "scope": "read:policies", **changes})


def auditor(running: InProcess) -> str:
    return running.token(sub="adam", roles=["auditor"], scope="read:policies read:audit")


async def simulate(running: InProcess, token: str, **question: Any) -> httpx2.Response:
    return await running.send("POST", PATH, token, body=question)


async def record(house: House, answer: httpx2.Response) -> dict[str, Any]:
    row = await house.owner.fetchrow("SELECT * FROM audit_record WHERE uid = $1", UUID(answer.headers["Decision-Id"]))
    assert row is not None
    return {**json.loads(unpack(row["body"])), "columns": dict(row)}


async def test_a_simulation_of_an_imagined_resource_names_the_rule(running: InProcess) -> None:
    answer = await simulate(running, author(running), subject=MANAGER, action="approve", resource=SUBMITTED)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["verdict"], found["rules"], found["version"]) == ("allow", ["approve-team"], 1)
    assert len(found["digest"]) == 64


async def test_a_simulation_does_not_tell_an_author_which_people_exist(running: InProcess, house: House) -> None:
    async def ask(token: str, person: str) -> httpx2.Response:
        subject = {**MANAGER, "person": person}
        return await simulate(running, token, subject=subject, action="approve", resource=SUBMITTED)

    await house.owner.execute("UPDATE person SET email = 'dora@example.com' WHERE id = $1", house.people["dora"])
    dora = (str(house.people["dora"]), "Dora@example.com")
    found = [await ask(author(running), person) for person in (str(uuid4()), "nobody@example.com", *dora)]
    assert [answer.status_code for answer in found] == [200] * 4
    assert all(answer.json() == found[0].json() for answer in found)
    for nobody in (str(uuid4()), "nobody@example.com"):
        unknown = await ask(auditor(running), nobody)
        assert (unknown.status_code, unknown.json()["fields"][0]["field"]) == (422, "subject.person")
    for person in dora:
        simulated = await ask(auditor(running), person)
        assert simulated.status_code == 200, simulated.text
        # The record has the id alone.
        assert dora[0] in str(recorded := await record(house, simulated))
        assert "@example.com" not in str(recorded).lower()
    machine = author(running, sub="job", client_id="job")
    refused = await ask(machine, "me")
    assert refused.json()["fields"][0]["message"].startswith("`me` is a person"), refused.text


async def test_a_denial_lists_missing_conditions_and_the_sentences_for_the_subject(running: InProcess) -> None:
    draft = {**SUBMITTED, "state": "draft"}
    found = (await simulate(running, author(running), subject=MANAGER, action="approve", resource=draft)).json()
    assert (found["verdict"], found["reason"]) == ("deny", "no-rule")
    about_them = ["the timesheet was a draft, not submitted"]
    nearest = {"rule": "approve-team", "conditions": [["state", "submitted"]], "missing": about_them}
    assert found["near_misses"][0] == nearest
    assert found["told"][0] == "the timesheet is a draft, not submitted"


async def test_facts_that_are_not_given_are_unknown_and_match_no_allow_rule(running: InProcess) -> None:
    vague = {"kind": "timesheet", "state": "submitted", "relations": ["manager"]}
    found = (await simulate(running, author(running), subject=MANAGER, action="approve", resource=vague)).json()
    assert (found["verdict"], found["rules"]) == ("deny", ["never-for-owner"])
    assert found["denied_because"] == [{"rule": "never-for-owner", "conditions": [["fact", "acted_for_owner"]]}]
    assert "these facts are unknown, because they are not given: acted_for_owner, locked_by_asker" in found["assumed"]


async def test_a_role_that_no_rule_names_is_reported_with_the_nearest_one(running: InProcess) -> None:
    subject = {**MANAGER, "roles": ["payrol", "role:payroll", "x"]}
    found = (await simulate(running, author(running), subject=subject, action="approve", resource=SUBMITTED)).json()
    told = [assumption for assumption in found["assumed"] if "no rule names" in assumption]
    assert told[0] == "no rule names the role payrol, so it changes nothing (did you mean 'payroll'?)"
    assert [sentence.split(",")[0] for sentence in told] == [
        "no rule names the role payrol",
        "no rule names the role x",
    ]
    prefixed = "role:payroll stands for the role payroll; a token that names role:payroll itself meets no rule"
    assert [assumption for assumption in found["assumed"] if "stands for" in assumption] == [prefixed]


async def test_a_simulated_client_that_acts_for_itself_has_no_sign_in(running: InProcess) -> None:
    subject = {"client": "approvals", "as": "client", "scopes": ["approve:timesheets"]}
    found = (await simulate(running, author(running), subject=subject, action="approve", resource=SUBMITTED)).json()
    assert "the token does not say how anybody signed in" in found["assumed"]
    assert not any("the person" in assumption for assumption in found["assumed"])


async def test_a_missing_scope_is_named(running: InProcess) -> None:
    subject = {"client": "approvals", "scopes": ["read:timesheets"]}
    found = (await simulate(running, author(running), subject=subject, action="approve", resource=SUBMITTED)).json()
    assert (found["verdict"], found["reason"]) == ("deny", "insufficient-scope")
    assert (found["near_misses"][0]["rule"], found["near_misses"][0]["missing"]) == (
        "approve-team",
        ["the token did not hold the scope approve:timesheets"],
    )


@pytest.mark.parametrize(("name", "verdict"), [("mia", "allow"), ("dora", "allow"), ("max", "deny"), ("ana", "deny")])
async def test_a_real_sheet_is_decided_on_the_persons_current_relations(
    house: House, running: InProcess, name: str, verdict: str
) -> None:
    sheet = (await house.submit_week("ana")).id
    await house.owner.execute("UPDATE person SET email = 'who@example.com' WHERE id = $1", house.people[name])
    subject = {**MANAGER, "person": {"email": "who@example.com"}}
    resource = {"kind": "timesheet", "id": str(sheet)}
    answer = await simulate(running, auditor(running), subject=subject, action="approve", resource=resource)
    assert answer.status_code == 200, answer.text
    assert answer.json()["verdict"] == verdict
    real = await running.send(
        "POST",
        f"/v1/timesheets/{sheet}/approve",
        running.token(sub=name, scope="approve:timesheets"),
        headers={"If-Match": '"999"'},
    )
    assert (await record(house, real))["outcome"] == verdict


async def test_a_real_sheet_needs_permission_to_read_it_or_the_log(house: House, running: InProcess) -> None:
    sheet = (await house.submit_week("ana")).id
    asks = {"subject": {**MANAGER, "person": str(house.people["mia"])}, "action": "approve"}
    hidden = await simulate(running, author(running), **asks, resource={"kind": "timesheet", "id": str(sheet)})
    unknown = await simulate(running, author(running), **asks, resource={"kind": "timesheet", "id": str(uuid4())})
    assert (hidden.status_code, unknown.status_code) == (422, 422)
    assert hidden.json()["fields"] == unknown.json()["fields"]
    assert hidden.json()["fields"][0]["field"] == "resource.id"
    assert "describe the timesheet by its state, relations, facts and attributes" in hidden.json()["detail"]
    lead = author(running, sub="mia", scope="read:policies read:timesheets")
    assert (await simulate(running, lead, **asks, resource={"kind": "timesheet", "id": str(sheet)})).status_code == 200


async def test_a_simulation_is_recorded_as_an_access_to_the_sheet_and_not_as_a_decision_on_it(
    house: House, running: InProcess
) -> None:
    sheet = (await house.submit_week("ana")).id
    subject = {**MANAGER, "person": str(house.people["mia"])}
    answer = await simulate(
        running, auditor(running), subject=subject, action="approve", resource={"kind": "timesheet", "id": str(sheet)}
    )
    kept = await record(house, answer)
    assert (kept["kind"], kept["action"], kept["resource"]["kind"]) == ("decision", "simulate", "policy")
    assert (kept["columns"]["resource_id"], kept["columns"]["owner_id"]) == (None, None)
    assert kept["returned"] == [str(sheet)]
    assert kept["principal"]["person"] == str(house.people["adam"])
    noted = kept["simulation"]
    assert (noted["outcome"], noted["rules"], noted["action"]) == ("allow", ["approve-team"], "approve")
    assert noted["resource"]["id"] == str(sheet)
    assert noted["principal"]["person"] == str(house.people["mia"])
    found = await running.send("GET", f"/v1/decisions?resource={sheet}&limit=200", auditor(running))
    [access] = [item for item in found.json()["items"] if item["id"] == answer.headers["Decision-Id"]]
    listed = access["record"]
    assert (listed["action"], listed["resource"]["kind"], listed["resource"]["id"]) == ("simulate", "policy", None)


async def test_a_simulation_of_an_imagined_or_hidden_sheet_is_no_access_to_a_sheet(
    house: House, running: InProcess
) -> None:
    sheet = (await house.submit_week("ana")).id
    subject = {**MANAGER, "person": str(house.people["mia"])}
    imagined = await simulate(running, author(running), subject=MANAGER, action="approve", resource=SUBMITTED)
    hidden = await simulate(
        running, author(running), subject=subject, action="approve", resource={"kind": "timesheet", "id": str(sheet)}
    )
    assert (imagined.status_code, hidden.status_code) == (200, 422)
    assert [(await record(house, answer))["returned"] for answer in (imagined, hidden)] == [[], []]


async def test_the_nearest_misses_are_listed_with_the_number_of_the_others(house: House, running: InProcess) -> None:
    text = read_shipped()
    more = "".join(f"p, allow, role:r{n}, approve, submitted, timesheet, any, always, r-{n}\n" for n in range(60))
    many = replace(text, rules=text.rules + more)
    made = await version_store.insert(house.owner, many, message="many", author_person=None, author_client="c")
    draft = {**SUBMITTED, "state": "draft"}
    asks: dict[str, Any] = {"subject": MANAGER, "action": "approve", "resource": draft}
    found = (await simulate(running, author(running), **asks, version=made.number)).json()
    assert len(found["near_misses"]) == 50
    assert found["near_misses"][0]["rule"] == "approve-team"
    # The shipped rules (manager, delegate, fallback, temporary approver) and sixty more.
    assert found["more_near_misses"] == 14
    assert (await simulate(running, author(running), **asks)).json()["more_near_misses"] == 0


async def test_an_older_version_can_be_simulated_and_an_unknown_one_is_refused(running: InProcess) -> None:
    asks: dict[str, Any] = {"subject": MANAGER, "action": "approve", "resource": SUBMITTED}
    assert (await simulate(running, author(running), **asks, version=1)).json()["version"] == 1
    unknown = await simulate(running, author(running), **asks, version=77)
    assert unknown.status_code == 422
    assert unknown.json()["fields"] == [{"field": "version", "message": "there is no such policy version"}]
    assert unknown.json()["decision_id"]


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("action", {"action": "aprove"}),
    ("resource.kind", {"resource": {"kind": "timeshet"}}),
    ("resource.state", {"resource": {"kind": "timesheet", "state": "lost"}}),
    ("resource.relations", {"resource": {"kind": "timesheet", "relations": ["boss"]}}),
    ("resource.facts", {"resource": {"kind": "timesheet", "facts": {"mfa": True}}}),
    ("resource.facts.acted_for_owner", {"resource": {"kind": "timesheet", "facts": {"acted_for_owner": "yes"}}}),
    ("resource.id", {"resource": {"kind": "timesheet", "id": "17"}}),
    ("subject.scopes", {"subject": {"client": "x", "scopes": ["all"]}}),
    ("subject.roles", {"subject": {"client": "x", "roles": ["a free text"]}}),
    ("subject.person", {"subject": {"client": "x", "person": "mine"}}),
    ("subject.auth_age", {"subject": {"client": "x", "auth_age": -1}}),
    ("subject.client", {"subject": {}}),
    ("subject.as", {"subject": {"client": "x", "as": "machine"}}),
    ("version", {"version": 0}),
]


async def test_a_wrong_word_is_refused_with_its_field(running: InProcess) -> None:
    for field, changes in WRONG:
        asks: dict[str, Any] = {"subject": MANAGER, "action": "approve", "resource": SUBMITTED, **changes}
        answer = await simulate(running, author(running), **asks)
        assert answer.status_code == 422, answer.text
        assert answer.json()["fields"][0]["field"] == field


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"action": "aprove"}, "action: 'aprove' is unknown to this version; did you mean 'approve'?"),
        ({"action": "xyz"}, "'xyz' is unknown to this version; known: approve, create, delete, edit"),
        ({"resource": {"kind": "timeshets"}}, "resource.kind: 'timeshets' is unknown to this version; did you mean"),
        (
            {"resource": {"kind": "log", "state": "lost"}},
            "resource.state: 'lost' is unknown to this version; known: none",
        ),
        (
            {"resource": {**SUBMITTED, "relations": ["owner", "boss"]}},
            "'boss' is unknown to this version; known: delegate",
        ),
        (
            {"resource": {**SUBMITTED, "facts": {"mfa": True}}},
            "'mfa' is a fact about the sign-in, not about the resource",
        ),
        ({"subject": {"client": "x", "scopes": ["read:timesheet"]}}, "did you mean 'read:timesheets'?"),
    ],
)
async def test_a_wrong_word_is_told_with_the_nearest_known_one(
    running: InProcess, changes: dict[str, Any], says: str
) -> None:
    asks: dict[str, Any] = {"subject": MANAGER, "action": "approve", "resource": SUBMITTED, **changes}
    assert says in (await simulate(running, author(running), **asks)).json()["detail"]


async def test_a_version_that_cannot_be_loaded_is_named_and_the_active_version_stays_ready(
    house: House, running: InProcess
) -> None:
    broken = PolicyText("m", "r", "v")
    await version_store.insert(house.owner, broken, message="broken", author_person=None, author_client="owner")
    question = {"subject": MANAGER, "action": "approve", "resource": SUBMITTED}
    answer = await simulate(running, author(running), **question, version=2)
    assert answer.status_code == 503
    assert answer.json()["detail"] == "Policy version 2 cannot be loaded here now, so nothing was decided"
    assert (await simulate(running, author(running), **question)).status_code == 200


@pytest.mark.parametrize(
    ("roles", "scope", "status"),
    [(["auditor"], "read:policies", 200), (["manager"], "read:policies", 403), (["policy-author"], "read:audit", 403)],
)
async def test_the_policy_decides_who_may_simulate(
    running: InProcess, roles: list[str], scope: str, status: int
) -> None:
    token = running.token(sub="adam", roles=roles, scope=scope)
    answer = await simulate(running, token, subject=MANAGER, action="approve", resource=SUBMITTED)
    assert answer.status_code == status
    assert answer.headers["Decision-Id"]


async def test_an_active_version_without_the_simulate_action_refuses_simulations_and_still_shows_actions(
    house: House, running: InProcess
) -> None:
    text = read_shipped()
    rules = "\n".join(line for line in text.rules.splitlines() if "simulate" not in line)
    vocabulary = "\n".join(line for line in text.vocabulary.splitlines() if not line.startswith("simulate ="))
    old = replace(text, rules=rules + "\n", vocabulary=vocabulary + "\n", cases={})
    number = await activate_unread(house, old)
    answer = await simulate(running, author(running), subject=MANAGER, action="approve", resource=SUBMITTED)
    assert answer.status_code == 403
    assert (await record(house, answer))["policy"]["version"] == number
    await house.submit_week("ana")
    shown = await running.send("GET", "/v1/timesheets?include=actions", running.token(sub="ana"))
    assert shown.json()["items"][0]["actions"] == ["read", "withdraw"]


async def test_the_record_of_a_simulation_is_reevaluated_as_a_request_to_simulate(
    house: House, running: InProcess
) -> None:
    answer = await simulate(running, author(running), subject=MANAGER, action="approve", resource=SUBMITTED)
    body = await house.owner.fetchval(
        "SELECT body FROM audit_record WHERE uid = $1", UUID(answer.headers["Decision-Id"])
    )
    again = recorded_request.parse_request(unpack(body))
    asked = (again.request.resource.kind, again.request.action, again.verdict.rules)
    assert asked == ("policy", "simulate", ("policy-simulate",))
