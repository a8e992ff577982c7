"""What the authorization endpoint refuses and how its pages behave: with a browser of our own, against a running
server.
"""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import parse_qs, quote, urlsplit

import httpx2
import pytest

from service.development.authorization_server.page_walk import read_page
from tests.integration.authorization_server.browser import (
    BACK,
    decide,
    exchange,
    get_code,
    make_parameters,
    show_consent,
    told_the_client,
)


async def test_the_code_goes_back_with_state_and_issuer_and_buys_one_token(
    browser: httpx2.AsyncClient, issuer: str
) -> None:
    sent = await decide(browser, await show_consent(browser), scope=["read:timesheets"])
    given = parse_qs(urlsplit(sent.headers["location"]).query)
    assert given["state"] == ["some state"]
    assert given["iss"] == [issuer]
    first = await exchange(browser, given["code"][0])
    assert first.status_code == 200
    assert first.headers["cache-control"] == "no-store"
    assert first.json()["token_type"] == "Bearer"
    assert first.json()["scope"] == "read:timesheets"
    replayed = await exchange(browser, given["code"][0])
    assert (replayed.status_code, replayed.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    "changed",
    [
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
        {"code_challenge": None},
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge": "short"},
    ],
)
async def test_a_request_without_s256_is_refused(
    browser: httpx2.AsyncClient, issuer: str, changed: dict[str, str | None]
) -> None:
    answer = await browser.get("/authorize", params=make_parameters(**changed))
    assert told_the_client(answer, issuer) == "invalid_request"


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"scope": "read:audit"}, "invalid_scope"),
        ({"scope": "no:such"}, "invalid_scope"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"audience": "https://elsewhere.example"}, "invalid_target"),
        ({"resource": "https://elsewhere.example"}, "invalid_target"),
    ],
)
async def test_an_error_of_a_known_client_is_sent_to_the_client(
    browser: httpx2.AsyncClient, issuer: str, changed: dict[str, str | None], error: str
) -> None:
    assert told_the_client(await browser.get("/authorize", params=make_parameters(**changed)), issuer) == error


@pytest.mark.parametrize(
    "changed",
    [
        {"redirect_uri": "http://127.0.0.1:4201/callback"},
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": '"><script>alert(1)</script>'},
        {"redirect_uri": None},
        {"client_id": "no-such-client"},
        {"client_id": "<script>alert(1)</script>"},
        {"client_id": None},
        {"client_id": "payroll-import"},
        {"redirect_uri": "https://evil.example/", "response_type": "token"},
        {"state": "x\r\nSet-Cookie: a=b"},
        {"state": "\u00e9"},
    ],
)
async def test_where_the_redirect_uri_cannot_be_trusted_a_page_is_shown_instead(
    browser: httpx2.AsyncClient, changed: dict[str, str | None]
) -> None:
    answer = await browser.get("/authorize", params=make_parameters(**changed))
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert answer.headers["content-type"].startswith("text/html")
    assert "This request is not valid" in answer.text
    assert "<script" not in answer.text


async def test_a_repeated_parameter_shows_a_page(browser: httpx2.AsyncClient) -> None:
    answer = await browser.get(
        "/authorize", params=[*make_parameters().items(), ("redirect_uri", "https://evil.example")]
    )
    assert (answer.status_code, answer.headers.get("location")) == (400, None)


async def test_hostile_parameters_are_shown_as_text(browser: httpx2.AsyncClient) -> None:
    hostile = "'><script>alert(1)</script>"
    page = await browser.get("/authorize", params=make_parameters(state=hostile, extra=hostile))
    assert page.status_code == 200
    assert "<script" not in page.text
    sent = await decide(browser, await show_consent(browser, state=hostile), scope=["read:timesheets"])
    assert parse_qs(urlsplit(sent.headers["location"]).query)["state"] == [hostile]


async def test_pages_run_no_script_are_not_framed_and_are_not_stored(browser: httpx2.AsyncClient) -> None:
    page = await show_consent(browser)
    policy = page.headers["content-security-policy"]
    for rule in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self' http://127.0"):
        assert rule in policy
    assert "unsafe" not in policy
    style = page.text.partition("<style>")[2].partition("</style>")[0]
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "http" not in page.text.partition("<body>")[2].replace(quote(BACK, safe=""), "").replace(BACK, "")


async def test_the_sign_in_cookie_is_for_the_browser_alone_and_changes_at_sign_in(browser: httpx2.AsyncClient) -> None:
    shown = await browser.get("/authorize", params=make_parameters())
    cookie = shown.headers["set-cookie"]
    assert "httponly" in cookie.lower()
    assert "samesite=lax" in cookie.lower()
    before = dict(browser.cookies)
    await show_consent(browser)
    assert dict(browser.cookies) != before
    async with httpx2.AsyncClient(base_url=browser.base_url, cookies=before, trust_env=False) as planted:
        assert "Password" in (await planted.get("/authorize", params=make_parameters())).text


async def test_a_form_without_its_token_or_with_another_forms_token_does_nothing(browser: httpx2.AsyncClient) -> None:
    page = await show_consent(browser)
    allow = {"scope": ["read:timesheets"], "decision": "allow"}
    consent, switch = read_page(page.text).forms
    for token in ("", "0" * 64, switch.values("form_token")[0]):
        sent = await browser.post(consent.action, data={"step": "consent", "form_token": token} | allow)
        assert (sent.status_code, sent.headers.get("location")) == (403, None)
    widened = {"step": "consent", "form_token": consent.values("form_token")[0]} | allow
    sent = await browser.post("/authorize", params=make_parameters(scope="delete:timesheets"), data=widened)
    assert sent.status_code == 403
    browser.cookies.clear()
    sent = await browser.post(consent.action, data=widened)
    assert sent.status_code == 403


async def test_a_signed_in_browser_skips_the_password_but_never_the_consent_page(browser: httpx2.AsyncClient) -> None:
    await get_code(browser)
    again = await browser.get("/authorize", params=make_parameters())
    assert again.status_code == 200
    assert "Ana Lima" in again.text
    assert read_page(again.text).forms[0].has("checkbox")


async def test_somebody_else_can_sign_in_instead(browser: httpx2.AsyncClient) -> None:
    switch = read_page((await show_consent(browser)).text).forms[1]
    sent = await browser.post(switch.action, data={field.name: field.value for field in switch.fields})
    assert "Password" in (await browser.get(sent.headers["location"])).text


async def test_consent_offers_only_scopes_that_the_person_can_grant(browser: httpx2.AsyncClient) -> None:
    page = await show_consent(browser)
    boxes = read_page(page.text).forms[0].values("scope")
    assert boxes == ["read:timesheets", "create:timesheets"]
    assert "You cannot grant these" in page.text
    forged = await decide(browser, page, scope=["approve:timesheets", "delete:timesheets", "read:timesheets"])
    code = parse_qs(urlsplit(forged.headers["location"]).query)["code"][0]
    assert (await exchange(browser, code)).json()["scope"] == "read:timesheets"


async def test_a_refusal_on_the_consent_page_is_sent_to_the_client(browser: httpx2.AsyncClient, issuer: str) -> None:
    page = await show_consent(browser)
    assert told_the_client(await decide(browser, page, decision="deny"), issuer) == "access_denied"
    assert told_the_client(await decide(browser, page, scope=[]), issuer) == "access_denied"
