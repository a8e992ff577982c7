"""GET /v1/me over HTTP: teams led, and what the token may do, which real requests confirm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from service.directory.entities import Part
from service.directory.people import People
from tests.integration.api import InProcess, api
from tests.integration.house import speaking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
ALL = "read:timesheets create:timesheets delete:timesheets approve:timesheets read:audit read:policies manage:directory"
# A request for each kind and action that needs no particular resource.
REQUESTS = {
    ("me", "read"): "/v1/me",
    ("timesheet", "read"): "/v1/timesheets",
    ("log", "read"): "/v1/decisions",
    ("policy", "read"): "/v1/policies/versions",
    ("directory", "read"): "/v1/people",
    ("token", "read"): "/v1/revocations",
}


@pytest.fixture
async def running(house: House, issuer: str) -> AsyncIterator[InProcess]:
    people = People(house.requests, house.log)
    lead = await people.person_for(speaking(issuer, "auth0|lea"))
    for team in ("east", "west"):
        await house.directory.add_membership(house.administrator(), lead, house.teams[team], Part.LEAD)
    async with api(house, issuer) as started:
        yield started


async def test_a_lead_sees_the_teams_that_they_lead_by_name(house: House, running: InProcess) -> None:
    found = (await running.send("GET", "/v1/me", running.token(sub="auth0|lea"))).json()
    assert found["teams_led"] == [{"id": str(house.teams[name]), "name": name} for name in ("east", "west")]
    assert (await running.send("GET", "/v1/me", running.token(sub="auth0|ana"))).json()["teams_led"] == []


@pytest.mark.parametrize("roles", [[], ["manager"], ["administrator"], ["auditor"], ["policy-author"]])
@pytest.mark.parametrize("scope", ["", "read:timesheets", ALL])
async def test_the_capabilities_agree_with_the_answers_to_requests(
    common: InProcess, roles: list[str], scope: str
) -> None:
    token = common.token(roles=roles, scope=scope)
    me = (await common.send("GET", "/v1/me", token)).json()
    may: dict[tuple[str, str], dict[str, Any]] = {(entry["kind"], entry["action"]): entry for entry in me["may"]}
    for asked, path in REQUESTS.items():
        answer = await common.send("GET", path, token)
        said = may[asked]["may"]
        assert (answer.status_code == 200) == (said in {"always", "depends"}), (asked, said, answer.text)
        if said == "needs-scope":
            assert answer.json()["required_scope"] == may[asked]["scopes"]


async def test_a_person_sees_their_groups_and_the_projects_that_they_lead(house: House, running: InProcess) -> None:
    admin, lea = house.administrator(), (await running.send("GET", "/v1/me", running.token(sub="auth0|lea"))).json()
    assert (lea["groups"], lea["projects_led"]) == ([], [])
    person = UUID(lea["person"])
    for group in ("works-council", "auditors"):
        await house.groups.add(admin, group)
        await house.members.add(admin, group, person)
    await house.project_leads.add(admin, "zeus", person)
    found = (await running.send("GET", "/v1/me", running.token(sub="auth0|lea"))).json()
    assert (found["groups"], found["projects_led"]) == (["auditors", "works-council"], ["zeus"])


async def test_a_client_for_itself_leads_no_team_and_has_capabilities(running: InProcess) -> None:
    token = running.token(sub="payroll-import", client_id="payroll-import", scope="batch:upload")
    found = (await running.send("GET", "/v1/me", token)).json()
    assert (found["kind"], found["person"], found["teams_led"]) == ("client", None, [])
    upload = next(entry for entry in found["may"] if entry["action"] == "upload")
    assert (upload["may"], upload["as"], upload["states"]) == ("depends", ["importer"], [])
