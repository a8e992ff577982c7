"""Step-up (RFC 9470) over HTTP: a caller who misses only a stronger or fresher sign-in gets a challenge, recorded."""

from __future__ import annotations

from dataclasses import replace
from time import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from service.administration.checks import examination
from service.directory.entities import Part
from service.directory.people import People
from tests.integration.api import InProcess, api
from tests.integration.house import activate_unread, at, speaking
from tests.policy_forge import read_shipped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
ACR = "http://schemas.openid.net/pape/policies/2007/06/multi-factor"
SCOPES = "read:timesheets create:timesheets delete:timesheets approve:timesheets"
APPROVE = "p, allow,  manager,            approve,  submitted,         timesheet, approve:timesheets, {}, approve-team"
READ = "p, allow,  manager,            read,     any,               timesheet, read:timesheets,    {}, read-team"


@pytest.fixture
async def running(house: House, issuer: str) -> AsyncIterator[InProcess]:
    """Mia leads ana's team; both sign in at the issuer."""
    people = People(house.requests, house.log)
    manager = await people.person_for(speaking(issuer, "auth0|lea"))
    await house.directory.add_membership(house.administrator(), manager, house.teams["east"], Part.LEAD)
    async with api(house, issuer, step_up_acr=ACR) as started:
        yield started


async def under(house: House, *edits: tuple[str, str]) -> None:
    """Activate the shipped policy with rows replaced, or added (an empty word)."""
    text = read_shipped()
    rules = text.rules
    for row, when in edits:
        name = row.rpartition(" ")[2]
        kept = [line for line in rules.splitlines() if not line.endswith(f" {name}")]
        rules = "\n".join([*kept, row.format(when)]) + "\n"
    changed = replace(text, rules=rules, cases={})
    examination.load(changed, 2)
    await activate_unread(house, changed)


async def attempt(running: InProcess, house: House, action: str = "approve", **claims: Any) -> httpx2.Response:
    sheet = await house.submit_week("ana")
    token = running.token(sub="auth0|lea", scope=SCOPES, **claims)
    path = f"/v1/timesheets/{sheet.id}"
    if action == "read":
        return await running.send("GET", path, token)
    return await running.send("POST", f"{path}/{action}", token, headers={"If-Match": f'"{sheet.version}"'})


def read_challenge(answer: httpx2.Response) -> dict[str, str]:
    """The parameters of the challenge, which the response must be."""
    assert answer.status_code == 401, answer.text
    assert answer.json()["type"] == "urn:timewarden:problem:step-up-needed"
    scheme, _, rest = answer.headers["WWW-Authenticate"].partition(" ")
    assert scheme == "Bearer"
    parameters = dict(part.split("=", 1) for part in rest.split(", ") if "=" in part)
    assert parameters["error"] == '"insufficient_user_authentication"'
    return {name: value.strip('"') for name, value in parameters.items()}


async def read_record(house: House, answer: httpx2.Response) -> str:
    uid = UUID(answer.headers["Decision-Id"])
    assert answer.json()["decision_id"] == str(uid)
    outcome = await house.owner.fetchval("SELECT outcome FROM audit_record WHERE uid = $1", uid)
    return str(outcome)


@pytest.mark.parametrize("claims", [{}, {"amr": ["pwd"]}, {"amr": []}], ids=["unknown", "password", "none"])
async def test_a_missing_second_factor_is_challenged_by_its_acr(
    house: House, running: InProcess, claims: dict[str, Any]
) -> None:
    await under(house, (APPROVE, "mfa"))
    answer = await attempt(running, house, **claims)
    found = read_challenge(answer)
    assert found["acr_values"] == ACR
    assert "max_age" not in found
    assert await read_record(house, answer) == "deny"


@pytest.mark.parametrize("age", [None, 901, 86_000])
async def test_an_old_sign_in_is_challenged_by_its_maximum_age(
    house: House, running: InProcess, age: int | None
) -> None:
    await under(house, (APPROVE, "recent_sign_in"))
    claims: dict[str, Any] = {} if age is None else {"auth_time": int(time()) - age}
    answer = await attempt(running, house, **claims)
    found = read_challenge(answer)
    assert found["max_age"] == "900"
    assert "acr_values" not in found
    assert await read_record(house, answer) == "deny"


async def test_both_are_challenged_together_and_each_alone_if_only_it_is_missing(
    house: House, running: InProcess
) -> None:
    await under(house, (APPROVE, "mfa and recent_sign_in"))
    sheet = await house.submit_week("ana")

    async def read_step_up(**claims: Any) -> dict[str, str]:
        token = running.token(sub="auth0|lea", scope=SCOPES, **claims)
        path = f"/v1/timesheets/{sheet.id}/approve"
        return read_challenge(await running.send("POST", path, token, headers={"If-Match": f'"{sheet.version}"'}))

    now = int(time())
    neither = await read_step_up(jti="1")
    assert (neither["acr_values"], neither["max_age"]) == (ACR, "900")
    assert "acr_values" not in await read_step_up(jti="2", amr=["pwd", "mfa"])
    assert "max_age" not in await read_step_up(jti="3", auth_time=now - 5)


async def test_a_sufficient_sign_in_is_allowed(house: House, running: InProcess) -> None:
    await under(house, (APPROVE, "mfa and recent_sign_in"))
    answer = await attempt(running, house, amr=["pwd", "mfa"], auth_time=int(time()) - 60)
    assert answer.status_code == 200, answer.text


async def test_there_is_no_challenge_if_more_than_the_sign_in_is_missing(house: House, running: InProcess) -> None:
    await under(house, (APPROVE, "mfa"))
    sheet = await house.submit_week("carl")
    token = running.token(sub="auth0|lea", scope=SCOPES)
    answer = await running.send("POST", f"/v1/timesheets/{sheet.id}/approve", token, headers={"If-Match": '"3"'})
    assert answer.status_code == 404
    narrow = running.token(sub="auth0|lea", scope="read:timesheets", jti="token-2")
    answer = await running.send("POST", f"/v1/timesheets/{sheet.id}/approve", narrow, headers={"If-Match": '"3"'})
    assert answer.json()["type"] == "urn:timewarden:problem:insufficient-scope"


async def test_a_rule_that_denies_without_a_second_factor_asks_for_one(house: House, running: InProcess) -> None:
    deny = "p, deny, anyone, approve, any, timesheet, any, {}, deny-weak"
    await under(house, (deny, "not mfa"))
    answer = await attempt(running, house)
    assert read_challenge(answer)["acr_values"] == ACR
    assert await read_record(house, answer) == "deny"


async def test_single_reads_and_lists_can_need_a_stronger_sign_in(house: House, running: InProcess) -> None:
    own = READ.replace("manager,", "owner,  ").replace("read-team", "read-own")
    others = [
        (READ.replace("manager,", f"{who},").replace("read-team", f"read-as-{who.replace('_', '-')}"), "mfa")
        for who in ("delegate", "fallback", "temporary_approver")
    ]
    await under(house, (READ, "mfa"), (own, "mfa"), *others)
    reading = await attempt(running, house, "read")
    assert read_challenge(reading)["acr_values"] == ACR
    token = running.token(sub="auth0|lea", scope=SCOPES, jti="token-2")
    listed = await running.send("GET", "/v1/timesheets", token)
    assert read_challenge(listed)["acr_values"] == ACR
    assert await read_record(house, listed) == "deny"
    stranger = running.token(sub="auth0|new", scope=SCOPES, jti="token-3")
    sheet = reading.request.url.path
    assert (await running.send("GET", sheet, stranger)).status_code == 404


async def test_an_inbox_tells_a_delegate_that_a_stronger_sign_in_would_show_more(
    house: House, running: InProcess
) -> None:
    lea = await People(house.requests, house.log).person_for(speaking(running.issuer, "auth0|lea"))
    anas, carls = await house.submit_week("ana"), await house.submit_week("carl")

    async def inbox(**claims: Any) -> tuple[list[str], Any, int]:
        answer = await running.send("GET", "/v1/approvals", running.token(sub="auth0|lea", scope=SCOPES, **claims))
        found = answer.json()
        header = answer.headers.get("WWW-Authenticate")
        if header is not None:
            assert 'error="insufficient_user_authentication"' in header
            assert f'acr_values="{ACR}"' in header
        assert (header is not None) == (found["step_up"] is not None)
        return [item["timesheet"]["id"] for item in found["items"]], found["step_up"], answer.status_code

    # Lea is a manager and not a delegate yet.
    assert await inbox(jti="1") == ([str(anas.id)], None, 200)
    await house.delegations.grant(house.manager("max"), house.people["max"], lea)
    wanted = {"acr_values": ACR, "max_age": None}
    assert await inbox(jti="2", amr=["pwd"]) == ([str(anas.id)], wanted, 200)
    assert await inbox(jti="3", amr=["pwd", "mfa"]) == ([str(anas.id), str(carls.id)], None, 200)
    await house.timesheets.approve(house.caller("mia"), anas.id, at(anas.version))
    assert await inbox(jti="4") == ([], wanted, 200)
    await house.timesheets.approve(house.caller("max"), carls.id, at(carls.version))
    assert await inbox(jti="5") == ([], None, 200)


async def test_the_state_of_a_sheet_is_hidden_until_the_caller_has_signed_in_strongly_enough(
    house: House, running: InProcess
) -> None:
    drafts = READ.replace("any,               timesheet", "draft,             timesheet").replace("team", "drafts")
    await under(house, (READ, "mfa"), (drafts, "always"))
    answer = await attempt(running, house, "read")
    assert read_challenge(answer)["acr_values"] == ACR


async def test_an_item_of_a_batch_says_which_sign_in_would_allow_it(house: House, running: InProcess) -> None:
    await under(house, (APPROVE, "mfa and recent_sign_in"))
    sheet = await house.submit_week("ana")
    token = running.token(sub="auth0|lea", scope=SCOPES, auth_time=int(time()) - 3_000)
    body = {"items": [{"id": str(sheet.id), "version": sheet.version}], "mode": "per-item"}
    (item,) = (await running.send("POST", "/v1/timesheets/batch-approve", token, body=body)).json()["items"]
    assert (item["status"], item["problem"]["type"]) == (401, "urn:timewarden:problem:step-up-needed")
    assert item["problem"]["step_up"] == {"acr_values": ACR, "max_age": 900}
