"""A browser and an app for the tests of the development authorization server: each step by itself, so that it can be
wrong.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import jwt

from service.development.authorization_server.page_walk import read_page
from service.development.authorization_server.sign_in import authorization_code_token
from service.development.local_servers import held_port
from service.development.people import PEOPLE

if TYPE_CHECKING:
    import socket

    import httpx2

    from service.development.authorization_server.sign_in import TokenAnswer

AUDIENCE = "https://api.example.test/timesheets"
BACK = "http://127.0.0.1:4200/callback"
VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
ASKED = {
    "response_type": "code",
    "client_id": "hours-app",
    "redirect_uri": BACK,
    "scope": "read:timesheets create:timesheets approve:timesheets",
    "state": "some state",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


def held_issuer() -> tuple[str, socket.socket]:
    """A loopback issuer, and the socket that holds its port for it."""
    held = held_port(0)
    return f"http://127.0.0.1:{held.getsockname()[1]}", held


def claims(token: str) -> dict[str, Any]:
    """The claims of a token, unverified."""
    read: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return read


async def ana(issuer: str, **asked: Any) -> TokenAnswer:
    """Ana signs in to an app."""
    return await authorization_code_token(issuer, "ana", PEOPLE["ana"].password, "hours-app", **asked)


def make_parameters(**changed: str | None) -> dict[str, str]:
    return {name: value for name, value in (ASKED | changed).items() if value is not None}


async def show_consent(browser: httpx2.AsyncClient, login: str = "ana", **changed: str | None) -> httpx2.Response:
    """The consent page, after signing in."""
    page = await browser.get("/authorize", params=make_parameters(**changed))
    form = read_page(page.text).forms[0]
    hidden = {field.name: field.value for field in form.fields if field.kind == "hidden"}
    sent = await browser.post(form.action, data=hidden | {"login": login, "password": PEOPLE[login].password})
    assert sent.status_code == 303
    return await browser.get(sent.headers["location"])


async def decide(browser: httpx2.AsyncClient, page: httpx2.Response, **values: Any) -> httpx2.Response:
    form = read_page(page.text).forms[0]
    hidden = {field.name: field.value for field in form.fields if field.kind == "hidden"}
    return await browser.post(form.action, data=hidden | {"decision": "allow"} | values)


async def get_code(browser: httpx2.AsyncClient) -> str:
    sent = await decide(browser, await show_consent(browser), scope=["read:timesheets"])
    return parse_qs(urlsplit(sent.headers["location"]).query)["code"][0]


async def exchange(browser: httpx2.AsyncClient, given: str, /, **changed: str | None) -> httpx2.Response:
    form = {
        "grant_type": "authorization_code",
        "client_id": "hours-app",
        "redirect_uri": BACK,
        "code": given,
        "code_verifier": VERIFIER,
    }
    return await browser.post("/token", data={name: value for name, value in (form | changed).items() if value})


def told_the_client(answer: httpx2.Response, issuer: str) -> str:
    """The error in a redirect to the client, which names state and issuer."""
    assert answer.status_code == 303, answer.text
    location = answer.headers["location"]
    assert location.startswith(f"{BACK}?")
    given = parse_qs(urlsplit(location).query)
    assert given["state"] == ["some state"]
    assert given["iss"] == [issuer]
    assert "code" not in given
    return given["error"][0]
