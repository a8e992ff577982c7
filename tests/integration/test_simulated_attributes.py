"""Simulations under a version that declares attributes, facts, paths and agents: what follows from the given values."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from click.testing import CliRunner

from service.administration.versions import version_store
from service.commands import policy_simulate
from tests.integration.test_simulation import SUBMITTED, auditor, author, record, simulate
from tests.policy_forge import with_more

if TYPE_CHECKING:
    from tests.integration.api import InProcess
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
pytestmark = pytest.mark.usefixtures("linked")

DECLARED = """
[directory.people]
country = "string"
level = { type = "int", personal = true }
hired = "timestamp"
skills = "list<string>"
[directory.projects]
customer = "string"
[kinds.timesheet.facts.same_country]
is = "resource.owner.country == principal.country"
yes = "you are in the same country"
no = "you are in another country"
[kinds.timesheet.facts.overtime]
is = "resource.minutes > 2400"
yes = "this week has more than 40 hours"
no = "this week has 40 hours or less"
[kinds.timesheet.facts.senior]
is = "principal.level >= 5 || 'law' in principal.skills"
yes = "you are senior"
no = "you are not senior"
[request.facts.in_finance]
is = "'finance' in principal.groups && !context.delegated"
yes = "you are in finance"
no = "you are not in finance"
"""
ROWS = """
p, deny, manager, approve, any, timesheet, any, not same_country, other-country
p, deny, anyone, reject, any, timesheet, any, not in_finance, finance-rejects
p, allow, actor:assistant, read, any, timesheet, any, overtime, assistant-reads-overtime
p, allow, group:berlin, read, any, timesheet, any, senior, berlin-reads
"""
VERSION = 2


@pytest.fixture
async def declared(running: InProcess, house: House) -> InProcess:
    """A second version with these words, which is not active."""
    text = with_more(ROWS, DECLARED)
    made = await version_store.insert(house.owner, text, message="draft", author_person=None, author_client="c")
    assert made.number == VERSION
    return running


async def ask(running: InProcess, action: str, subject: dict[str, Any], **resource: Any) -> dict[str, Any]:
    who = {"client": "approvals", "scopes": ["approve:timesheets", "read:timesheets"], **subject}
    asked = {"version": VERSION, "action": action, "subject": who, "resource": {**SUBMITTED, **resource}}
    answer = await simulate(running, author(running), **asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_facts_follow_from_the_given_attributes(declared: InProcess) -> None:
    german, french = {"attributes": {"country": "DE"}}, {"attributes": {"country": "FR"}}
    found = await ask(declared, "approve", german, attributes={"owner.country": "DE", "minutes": 2580})
    assert (found["verdict"], found["facts"]["same_country"], found["facts"]["overtime"]) == ("allow", True, True)
    found = await ask(declared, "approve", french, attributes={"owner.country": "DE"})
    assert (found["verdict"], found["rules"], found["told"]) == (
        "deny",
        ["other-country"],
        ["you lead this person's team; you are in another country"],
    )
    found = await ask(declared, "approve", french)
    assert (found["verdict"], found["facts"]["same_country"]) == ("deny", None)
    assert any("these facts are unknown" in sentence and "same_country" in sentence for sentence in found["assumed"])
    missing = "principal.level, principal.skills, resource.minutes, resource.owner.country"
    assert f"these attributes that they read are missing: {missing}" in found["assumed"]
    # A given fact counts for more than the attributes.
    given = {**SUBMITTED["facts"], "same_country": True}  # type: ignore[dict-item]
    assert (await ask(declared, "approve", french, attributes={"owner.country": "DE"}, facts=given))[
        "verdict"
    ] == "allow"


async def test_groups_lists_and_actors_of_the_subject_count(declared: InProcess) -> None:
    finance = {"attributes": {"groups": ["finance"]}}
    assert (await ask(declared, "reject", finance))["verdict"] == "allow"
    found = await ask(declared, "reject", {**finance, "actors": ["assistant"]})
    assert (found["verdict"], found["rules"]) == ("deny", ["finance-rejects"])
    nobody: dict[str, list[str]] = {"relations": []}
    berlin = {"attributes": {"groups": ["berlin"], "skills": "law"}, "person": "0198c0de-0000-7000-8000-0000000000aa"}
    assert (await ask(declared, "read", berlin, **nobody))["rules"] == ["berlin-reads"]
    acting = await ask(declared, "read", {"actors": ["assistant"]}, attributes={"minutes": 2500}, **nobody)
    assert acting["rules"] == ["assistant-reads-overtime"]
    agent = await ask(
        declared, "approve", {"actors": ["assistant"], "agent": True, "attributes": {"country": "DE"}},
        attributes={"owner.country": "DE"},
    )  # fmt: skip
    assert (agent["rules"], agent["told"]) == (["agents-never-approve"], ["you act through an agent"])


@pytest.mark.parametrize(
    ("subject", "resource", "field", "says"),
    [
        ({"attributes": {"county": "DE"}}, {}, "subject.attributes", "has no 'county'; did you mean 'country'?"),
        ({"attributes": {"country": 7}}, {}, "subject.attributes", "'country' must be of the type string"),
        ({"attributes": {"level": "7"}}, {}, "subject.attributes", "'level' must be of the type int"),
        ({"attributes": {"level": 2**60}}, {}, "subject.attributes", "'level' must be of the type int"),
        ({"attributes": {"level": True}}, {}, "subject.attributes", "'level' must be of the type int"),
        ({"attributes": {"hired": "yesterday"}}, {}, "subject.attributes", "'hired' must be of the type timestamp"),
        ({"attributes": {"skills": ["law", 7]}}, {}, "subject.attributes", "'skills' must be of the type list<string>"),
        ({"attributes": {"skills": ["law", "law"]}}, {}, "subject.attributes", "must be of the type list<string>"),
        ({"attributes": {"id": "x"}}, {}, "subject.attributes", "has no 'id'"),
        ({"attributes": {"country": "D\nE"}}, {}, "subject.attributes", "'country' must be of the type string"),
        ({"attributes": {"country": "D" * 256}}, {}, "subject.attributes", "'country' must be of the type string"),
        ({}, {"attributes": {"minutes": "many"}}, "resource.attributes", "'minutes' must be of the type int"),
        ({}, {"attributes": {"owner.county": "DE"}}, "resource.attributes", "has no 'owner.county'"),
        ({}, {"attributes": {"projects.customer": [["x"]]}}, "body", ""),
        ({"actors": ["a b"]}, {}, "subject.actors", "must be words"),
    ],
)  # fmt: skip
async def test_wrong_attributes_are_refused_with_their_names(
    declared: InProcess, subject: dict[str, Any], resource: dict[str, Any], field: str, says: str
) -> None:
    answer = await simulate(
        declared, author(declared), version=VERSION, action="approve",
        subject={"client": "approvals", **subject}, resource={**SUBMITTED, **resource},
    )  # fmt: skip
    assert answer.status_code == 422, answer.text
    [problem] = answer.json()["fields"]
    if field != "body":
        assert problem["field"] == field
        assert says in str(problem)


async def test_a_real_sheet_has_its_own_attributes_and_those_of_the_directory(
    declared: InProcess, house: House
) -> None:
    sheet = (await house.submit_week("ana")).id
    await house.owner.execute(
        """UPDATE person SET attributes = '{"country": "DE"}' WHERE id = $1""", house.people["ana"]
    )
    await house.owner.execute("UPDATE directory_revision SET revision = revision + 1")
    resource = {"kind": "timesheet", "id": str(sheet)}
    asked = {"version": VERSION, "action": "approve", "resource": resource}
    subject = {"client": "approvals", "scopes": ["approve:timesheets"], "person": str(house.people["mia"])}
    found = (await simulate(declared, auditor(declared), subject=subject, **asked)).json()
    # Nobody knows the country of Mia: what is unknown fulfils a deny.
    assert (found["verdict"], found["rules"], found["facts"]["same_country"]) == ("deny", ["other-country"], None)
    for wrong in ({"subject": {**subject, "attributes": {"country": "DE"}}},
                  {"subject": subject, "resource": {**resource, "attributes": {"minutes": 1}}}):  # fmt: skip
        answer = await simulate(declared, auditor(declared), **{**asked, **wrong})
        assert (answer.status_code, "must be left out" in answer.text) == (422, True)


async def test_the_record_holds_what_was_simulated_without_personal_values(declared: InProcess, house: House) -> None:
    answer = await simulate(
        declared, author(declared), version=VERSION, action="approve",
        subject={"client": "approvals", "attributes": {"country": "DE", "level": 31}, "actors": ["assistant"]},
        resource={**SUBMITTED, "attributes": {"minutes": 2580}},
    )  # fmt: skip
    simulation = (await record(house, answer))["simulation"]
    assert simulation["attributes"] == {"principal.country": "DE", "resource.minutes": 2580}
    assert simulation["principal"]["actors"] == ["assistant"]
    assert "31" not in str(simulation["attributes"])


async def test_the_command_line_sends_attributes_and_actors(
    declared: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []

    class Recorder:
        def response(self, method: str, path: str, body: dict[str, Any], **_: object) -> httpx2.Response:
            assert (method, path) == ("POST", "/v1/policies/simulate")
            sent.append(body)
            return httpx2.Response(200, json={})

        def decode(self, answer: httpx2.Response) -> Any:
            return answer.json()

    monkeypatch.setattr(policy_simulate, "connect", lambda _: Recorder())
    words = [
        "approve", "--json", "--actor", "assistant", "--agent", "--attribute", "resource.minutes=2580",
        "--attribute", "principal.country=DE", "--attribute", 'resource.projects=["ATLAS"]', "--relation", "manager",
        "--scope", "approve:timesheets", "--state", "submitted", "--fact", "acted_for_owner=false",
        "--version", str(VERSION),
    ]  # fmt: skip
    told = await asyncio.to_thread(CliRunner().invoke, policy_simulate.simulate, words)
    assert told.exit_code == 0, told.output
    assert sent[0]["resource"]["attributes"] == {"minutes": 2580, "projects": ["ATLAS"]}
    assert (sent[0]["subject"]["attributes"], sent[0]["subject"]["actors"]) == ({"country": "DE"}, ["assistant"])
    answer = await simulate(declared, author(declared), **sent[0])
    assert set(answer.json()["rules"]) == {"other-country", "agents-never-approve"}
    for wrong in ("minutes=1", "resource=1", "context.now=1", "resource.minutes"):
        told = await asyncio.to_thread(CliRunner().invoke, policy_simulate.simulate, ["approve", "--attribute", wrong])
        assert (told.exit_code, "is not resource.NAME=VALUE" in told.output) == (2, True)
