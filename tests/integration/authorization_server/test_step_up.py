"""Second factor, age and renewal of a sign-in (RFC 9470, OpenID Connect), against a running server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from service.development.authorization_server.page_walk import read_page
from service.development.authorization_server.second_factor import demo_code
from service.development.authorization_server.sessions import ACR_MFA
from service.development.authorization_server.sign_in import authorization_code_token, refresh_token_grant
from service.development.people import PEOPLE
from tests.integration.authorization_server.browser import (
    claims,
    decide,
    exchange,
    make_parameters,
    show_consent,
    told_the_client,
)

if TYPE_CHECKING:
    import httpx2


async def send(browser: httpx2.AsyncClient, page: httpx2.Response, **values: Any) -> httpx2.Response:
    """Fill in and send the page's first form, and open what comes next."""
    form = read_page(page.text).forms[0]
    hidden = {field.name: field.value for field in form.fields if field.kind == "hidden"}
    answer = await browser.post(form.action, data=hidden | values)
    return await browser.get(answer.headers["location"]) if answer.has_redirect_location else answer


def asks_for(page: httpx2.Response) -> set[str]:
    return {field.name for form in read_page(page.text).forms for field in form.fields if field.kind != "hidden"}


async def fetch_token(browser: httpx2.AsyncClient, page: httpx2.Response) -> dict[str, Any]:
    """The claims of the token that this consent page leads to."""
    sent = await decide(browser, page, scope=["read:timesheets"])
    code = parse_qs(urlsplit(sent.headers["location"]).query)["code"][0]
    return claims((await exchange(browser, code)).json()["access_token"])


async def test_a_second_factor_is_in_the_token_and_stays_when_it_is_refreshed(issuer: str) -> None:
    answer = await authorization_code_token(issuer, "mia", PEOPLE["mia"].password, "hours-app", mfa=True)
    for token in (answer, await refresh_token_grant(issuer, "hours-app", answer.refresh_token or "")):
        said = claims(token.access_token)
        assert (said["acr"], said["amr"]) == (ACR_MFA, ["pwd", "mfa"])
    plain = await authorization_code_token(issuer, "mia", PEOPLE["mia"].password, "hours-app")
    assert "acr" not in claims(plain.access_token)


async def test_a_signed_in_person_is_asked_only_for_the_second_factor(browser: httpx2.AsyncClient) -> None:
    first = await fetch_token(browser, await show_consent(browser))
    page = await browser.get("/authorize", params=make_parameters(acr_values=ACR_MFA))
    assert asks_for(page) == {"second_factor"}
    consent = await send(browser, page, second_factor=demo_code("ana"))
    said = await fetch_token(browser, consent)
    assert said["amr"] == ["pwd", "mfa"]
    assert said["auth_time"] == first["auth_time"]
    assert "decision" in asks_for(await browser.get("/authorize", params=make_parameters(acr_values=ACR_MFA)))


async def test_without_the_code_there_is_no_way_past_the_second_factor(browser: httpx2.AsyncClient) -> None:
    consent = await show_consent(browser)
    page = await browser.get("/authorize", params=make_parameters(acr_values=ACR_MFA))
    for wrong in ("", "000000" if demo_code("ana") != "000000" else "111111", demo_code("ben"), "\u0661"):
        answer = await send(browser, page, second_factor=wrong)
        assert answer.status_code == 403
        assert asks_for(answer) == {"second_factor"}
    # A consent form that was shown for another request is none for this one.
    form = {field.name: field.value for field in read_page(consent.text).forms[0].fields if field.kind == "hidden"}
    skipped = await browser.post(
        "/authorize", params=make_parameters(acr_values=ACR_MFA), data=form | {"decision": "allow"}
    )
    assert skipped.status_code == 403


@pytest.mark.parametrize("changed", [{"prompt": "login"}, {"max_age": "0"}, {"prompt": "select_account"}])
async def test_a_new_sign_in_is_required_once_for_each_request(
    browser: httpx2.AsyncClient, changed: dict[str, str | None]
) -> None:
    first = await fetch_token(browser, await show_consent(browser))
    time.sleep(1.1)  # noqa: ASYNC251  # auth_time counts whole seconds
    page = await browser.get("/authorize", params=make_parameters(**changed))
    assert {"login", "password"} <= asks_for(page)
    consent = await send(browser, page, login="ana", password=PEOPLE["ana"].password)
    assert (await fetch_token(browser, consent))["auth_time"] > first["auth_time"]
    assert "password" in asks_for(await browser.get("/authorize", params=make_parameters(**changed)))


async def test_a_sign_in_that_is_young_enough_is_enough(browser: httpx2.AsyncClient) -> None:
    await show_consent(browser)
    assert "decision" in asks_for(await browser.get("/authorize", params=make_parameters(max_age="600")))


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"prompt": "none"}, "interaction_required"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"prompt": "no-such"}, "invalid_request"),
        ({"max_age": "soon"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "99999999999999"}, "invalid_request"),
        ({"acr_values": "no-such-level"}, "unmet_authentication_requirements"),
    ],
)
async def test_a_demand_that_cannot_be_met_is_reported_to_the_client(
    browser: httpx2.AsyncClient, issuer: str, changed: dict[str, str | None], error: str
) -> None:
    assert told_the_client(await browser.get("/authorize", params=make_parameters(**changed)), issuer) == error


async def test_one_known_level_among_others_is_enough(browser: httpx2.AsyncClient) -> None:
    page = await browser.get("/authorize", params=make_parameters(acr_values=f"phr {ACR_MFA}"))
    assert asks_for(page) == {"login", "password"}
