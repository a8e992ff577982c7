"""The device flow (RFC 8628), against a running server: device and person are two HTTP clients that share nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import jwt
import pytest
import pytest_asyncio

from service.development.authorization_server.page_walk import read_page
from service.development.authorization_server.proof_keys import ProofKey
from service.development.authorization_server.sign_in import (
    DEVICE_GRANT,
    SignInRefused,
    device_token,
    refresh_token_grant,
)
from service.development.people import PEOPLE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CLIENT = "timesheets-cli"


@pytest_asyncio.fixture(loop_scope="session")
async def device(issuer: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=issuer, trust_env=False) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def browser(issuer: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=issuer, trust_env=False, follow_redirects=True) as client:
        yield client


async def begin(device: httpx2.AsyncClient, **form: str) -> httpx2.Response:
    return await device.post("/device_authorization", data={"client_id": CLIENT} | form)


async def poll(device: httpx2.AsyncClient, code: str, **form: str) -> httpx2.Response:
    asked = {"grant_type": DEVICE_GRANT, "client_id": CLIENT, "device_code": code}
    return await device.post("/token", data=asked | form)


async def send(browser: httpx2.AsyncClient, page: httpx2.Response, **values: Any) -> httpx2.Response:
    form = read_page(page.text).forms[0]
    hidden = {field.name: field.value for field in form.fields if field.kind == "hidden"}
    return await browser.post(form.action, data=hidden | values)


async def consent(browser: httpx2.AsyncClient, user_code: str, login: str = "ana") -> httpx2.Response:
    page = await browser.get("/device", params={"user_code": user_code})
    return await send(browser, page, login=login, password=PEOPLE[login].password)


async def test_a_person_signs_in_for_a_device_that_has_no_browser(issuer: str) -> None:
    key = ProofKey()
    answer = await device_token(
        issuer, "ana", PEOPLE["ana"].password, CLIENT, ["read:timesheets", "read:audit"], dpop=key
    )
    claims = jwt.decode(answer.access_token, options={"verify_signature": False})
    assert (claims["sub"], claims["client_id"], claims["scope"]) == ("dev|ana", CLIENT, "read:timesheets")
    assert claims["cnf"] == {"jkt": key.thumbprint}
    assert (await refresh_token_grant(issuer, CLIENT, answer.refresh_token or "", dpop=key)).scope == "read:timesheets"


async def test_a_device_is_told_where_to_send_the_person(device: httpx2.AsyncClient, issuer: str) -> None:
    answer = await begin(device)
    assert answer.headers["cache-control"] == "no-store"
    given = answer.json()
    assert given["verification_uri"] == f"{issuer}/device"
    assert given["verification_uri_complete"] == f"{issuer}/device?user_code={given['user_code']}"
    assert (given["expires_in"], given["interval"]) == (600, 1)
    assert given["user_code"] not in given["device_code"]


async def test_a_device_waits_for_the_decision_and_is_slowed_down(device: httpx2.AsyncClient) -> None:
    code = (await begin(device)).json()["device_code"]
    told = [(await poll(device, code)) for _ in range(2)]
    assert [(answer.status_code, answer.json()["error"]) for answer in told] == [
        (400, "authorization_pending"),
        (400, "slow_down"),
    ]


async def test_the_code_is_good_once_however_it_is_spelt(
    device: httpx2.AsyncClient, browser: httpx2.AsyncClient
) -> None:
    given = (await begin(device, scope="read:timesheets")).json()
    page = await consent(browser, given["user_code"].replace("-", " ").lower())
    assert given["user_code"] in page.text
    done = await send(browser, page, decision="allow", scope=["read:timesheets"])
    assert "has its answer" in done.text
    assert (await browser.get("/device", params={"user_code": given["user_code"]})).status_code == 404
    first, second = await poll(device, given["device_code"]), await poll(device, given["device_code"])
    assert (first.status_code, first.json()["scope"]) == (200, "read:timesheets")
    assert (second.status_code, second.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("values", [{"decision": "deny"}, {"decision": "allow"}, {"decision": "allow", "scope": "x"}])
async def test_a_device_without_granted_scopes_is_refused(
    device: httpx2.AsyncClient, browser: httpx2.AsyncClient, values: dict[str, str]
) -> None:
    given = (await begin(device)).json()
    await send(browser, await consent(browser, given["user_code"]), **values)
    answer = await poll(device, given["device_code"])
    assert (answer.status_code, answer.json()["error"]) == (400, "access_denied")


async def test_an_unknown_user_code_shows_no_sign_in(browser: httpx2.AsyncClient) -> None:
    assert (await browser.get("/device")).status_code == 200
    for code in ("AAAA-BBBB", "<script>", "x" * 3000):
        page = await browser.get("/device", params={"user_code": code})
        assert page.status_code == 404
        assert "<script" not in page.text
    assert (
        await browser.post("/device", params={"user_code": "AAAA-BBBB"}, data={"step": "consent"})
    ).status_code == 404


async def test_a_form_that_was_not_shown_to_this_browser_decides_nothing(
    device: httpx2.AsyncClient, browser: httpx2.AsyncClient
) -> None:
    given = (await begin(device)).json()
    form = {"step": "consent", "decision": "allow", "scope": "read:timesheets", "form_token": "guess"}
    answer = await browser.post("/device", params={"user_code": given["user_code"]}, data=form)
    assert answer.status_code == 403
    assert (await poll(device, given["device_code"])).json()["error"] == "authorization_pending"


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"client_id": "hours-app"}, "unauthorized_client"),
        ({"client_id": "payroll-import"}, "invalid_client"),
        ({"client_id": "no-such-client"}, "invalid_client"),
        ({"scope": "batch:upload"}, "invalid_scope"),
        ({"scope": "no:such"}, "invalid_scope"),
        ({"resource": "https://elsewhere.example"}, "invalid_target"),
        ({"audience": "https://elsewhere.example"}, "invalid_target"),
    ],
)
async def test_a_device_that_may_not_start_gets_the_reason(
    device: httpx2.AsyncClient, form: dict[str, str], error: str
) -> None:
    answer = await begin(device, **form)
    assert answer.status_code in (400, 401)
    assert answer.json()["error"] == error


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"device_code": "guess"}, "invalid_grant"),
        ({"device_code": ""}, "invalid_request"),
        ({"client_id": "hours-app"}, "unauthorized_client"),
        ({"client_id": "no-such-client"}, "invalid_client"),
    ],
)
async def test_a_poll_with_a_fault_gives_no_token(device: httpx2.AsyncClient, form: dict[str, str], error: str) -> None:
    code = (await begin(device)).json()["device_code"]
    answer = await poll(device, code, **form)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_a_person_who_refuses_ends_the_flow(issuer: str) -> None:
    with pytest.raises(SignInRefused) as refused:
        await device_token(issuer, "ana", PEOPLE["ana"].password, CLIENT, granted=[])
    assert refused.value.error == "access_denied"
