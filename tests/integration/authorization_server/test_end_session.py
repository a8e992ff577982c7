"""OpenID Connect at the development authorization server: who signed in, and how an app signs them out."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from service.development.people import CLIENTS
from tests.integration.authorization_server.browser import VERIFIER, decide, make_parameters, show_consent

if TYPE_CHECKING:
    import httpx2

CONSOLE = {"client_id": "timewarden-console", "redirect_uri": "http://127.0.0.1:1234/sign-in/callback"}
AFTER = "http://127.0.0.1:1234/signed-out"


async def sign_in(browser: httpx2.AsyncClient) -> str:
    """The ID token of Ana for the console."""
    asked = {**CONSOLE, "scope": "openid profile read:timesheets", "nonce": "n-1"}
    sent = await decide(browser, await show_consent(browser, **asked), scope=["openid", "profile", "read:timesheets"])
    code = parse_qs(urlsplit(sent.headers["location"]).query)["code"][0]
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CONSOLE["redirect_uri"],
        "code_verifier": VERIFIER,
    }
    secret = CLIENTS["timewarden-console"].secret
    assert secret
    answer = await browser.post("/token", data=form, auth=("timewarden-console", secret))
    return str(answer.json()["id_token"])


async def is_signed_in(browser: httpx2.AsyncClient) -> bool:
    return "You are signed in as" in (await browser.get("/authorize", params=make_parameters())).text


async def test_an_id_token_names_person_client_and_nonce(browser: httpx2.AsyncClient, issuer: str) -> None:
    keys = KeySet.import_key_set((await browser.get("/jwks")).json())
    claims = jwt.decode(await sign_in(browser), keys, algorithms=["RS256"]).claims
    assert (claims["iss"], claims["aud"], claims["nonce"]) == (issuer, "timewarden-console", "n-1")
    assert (claims["sub"], claims["name"]) == ("dev|ana", "Ana Lima")


async def test_an_app_signs_a_person_out_and_gets_the_browser_back(browser: httpx2.AsyncClient) -> None:
    asked = {"id_token_hint": await sign_in(browser), "post_logout_redirect_uri": AFTER, "state": "s"}
    assert await is_signed_in(browser)
    ended = await browser.get("/end-session", params=asked)
    assert (ended.status_code, ended.headers["location"]) == (303, f"{AFTER}?state=s")
    assert not await is_signed_in(browser)


@pytest.mark.parametrize(
    "wrong",
    [
        {"id_token_hint": ""},
        {"id_token_hint": "a.b.c"},
        {"post_logout_redirect_uri": "https://elsewhere.example/signed-out"},
        {"post_logout_redirect_uri": ""},
    ],
)
async def test_nobody_else_signs_a_person_out_or_chooses_where_they_go(
    browser: httpx2.AsyncClient, wrong: dict[str, str]
) -> None:
    asked = {"id_token_hint": await sign_in(browser), "post_logout_redirect_uri": AFTER} | wrong
    assert (await browser.get("/end-session", params=asked)).status_code == 400
    assert await is_signed_in(browser)
