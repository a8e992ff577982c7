"""Gets tokens as an app would: walks the browser flow over HTTP, or asks with a client's own credentials.

For the command line, the demo and tests. Owns no state; nothing is kept but the token that is returned.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx

from service.development.authorization_server.forms import Form, Page, read_page
from service.development.people import CLIENTS
from service.errors import TimewardenError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MOST_PAGES = 8

Values = dict[str, str | list[str]]


class SignInRefused(TimewardenError):
    """The authorization server gave no token. `error` is its OAuth error code, or `sign_in_failed`."""

    slug = "sign-in-refused"
    summary = "The authorization server gave no token"

    def __init__(self, error: str, description: str = "") -> None:
        super().__init__(f"No token: {description or error}", extra={"error": error})
        self.error = error
        self.description = description


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """What the token endpoint answered (RFC 6749 section 5.1). `scope` is what was granted, `expires_in` in seconds."""

    access_token: str = field(repr=False)
    scope: str
    expires_in: int


async def authorization_code_token(
    issuer_url: str,
    login: str,
    password: str,
    client_id: str,
    scopes: Sequence[str] = (),
    granted: Iterable[str] | None = None,
    *,
    redirect_uri: str | None = None,
    audience: str | None = None,
) -> TokenAnswer:
    """A person's token for this client, by the authorization code flow with PKCE: signs in and ticks boxes on the
    real pages.

    `scopes`: what the app asks for, none meaning all that it may; `granted`: the boxes that are left ticked, None
    meaning all that are offered. Boxes are offered for what the person's roles allow, so `scope` of the answer may be
    less. Raises SignInRefused; ValueError when a scope is to be granted that is not asked for; httpx.HTTPError when
    there is no server.
    """
    ticked = None if granted is None else frozenset(granted)
    if ticked is not None and scopes and not ticked <= frozenset(scopes):
        raise ValueError("A scope cannot be granted that is not asked for")
    back = redirect_uri or CLIENTS[client_id].redirect_uris[0]
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
    asked = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": back,
        "state": state,
        "code_challenge": _s256(verifier),
        "code_challenge_method": "S256",
    }
    asked |= {"scope": " ".join(scopes)} if scopes else {}
    asked |= {"audience": audience} if audience else {}
    async with _browser() as http:
        server = await _discover(http, issuer_url)
        first = httpx.URL(server["authorization_endpoint"], params=asked)
        location = await _walk(http, first, back, (login, password), ticked)
        code = _code_in(location, state, server["issuer"])
        form = {"grant_type": "authorization_code", "client_id": client_id, "redirect_uri": back}
        answer = await http.post(server["token_endpoint"], data=form | {"code": code, "code_verifier": verifier})
    return _token(answer)


async def client_credentials_token(
    issuer_url: str, client_id: str, secret: str, scopes: Sequence[str] = ()
) -> TokenAnswer:
    """A client's token for itself (RFC 6749 section 4.4). No scopes means all it may have. Raises SignInRefused."""
    async with _browser() as http:
        server = await _discover(http, issuer_url)
        form = {"grant_type": "client_credentials"} | ({"scope": " ".join(scopes)} if scopes else {})
        answer = await http.post(server["token_endpoint"], data=form, auth=httpx.BasicAuth(client_id, secret))
    return _token(answer)


def _browser() -> httpx.AsyncClient:
    # The server is on loopback: a proxy named in the environment has no part in this.
    return httpx.AsyncClient(timeout=10, follow_redirects=False, trust_env=False)


async def _discover(http: httpx.AsyncClient, issuer_url: str) -> dict[str, Any]:
    """The server's metadata; its issuer must be the one that was asked for (RFC 8414 section 3.3)."""
    answer = await http.get(f"{issuer_url.rstrip('/')}/.well-known/oauth-authorization-server")
    answer.raise_for_status()
    document: dict[str, Any] = answer.json()
    if document.get("issuer") != issuer_url:
        raise SignInRefused("wrong_issuer", "The server at this address calls itself by another name")
    return document


async def _walk(
    http: httpx.AsyncClient, first: httpx.URL, back: str, account: tuple[str, str], ticked: frozenset[str] | None
) -> str:
    """From page to page until the browser is sent to the app: that address, which is not opened."""
    answer = await http.get(first)
    for _ in range(_MOST_PAGES):
        if answer.has_redirect_location:
            location = answer.headers["location"]
            if location.partition("?")[0] == back:
                return str(location)
            answer = await http.get(answer.url.join(location))
            continue
        page = read_page(answer.text)
        if answer.status_code != httpx.codes.OK:
            raise SignInRefused("sign_in_failed", page.alert or f"The page answered {answer.status_code}")
        form, values = _fill(page, account, ticked)
        answer = await http.post(answer.url.join(form.action), data=values)
    raise SignInRefused("sign_in_failed", "The pages lead in a circle")


def _fill(page: Page, account: tuple[str, str], ticked: frozenset[str] | None) -> tuple[Form, Values]:
    for form in page.forms:
        values: Values = {one.name: one.value for one in form.fields if one.kind == "hidden"}
        if form.has("password"):
            return form, values | {"login": account[0], "password": account[1]}
        if "deny" in form.values("decision"):
            boxes = [one.value for one in form.fields if one.kind == "checkbox" and one.name == "scope"]
            chosen = [scope for scope in boxes if ticked is None or scope in ticked]
            return form, values | {"scope": chosen, "decision": "allow" if chosen else "deny"}
    raise SignInRefused("sign_in_failed", page.alert or "The server showed a page without a form to fill")


def _code_in(location: str, state: str, issuer: str) -> str:
    given = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
    if given.get("state") != state or given.get("iss") != issuer:
        raise SignInRefused("sign_in_failed", "The answer does not belong to this request")  # RFC 6749 10.12, RFC 9207
    if "code" not in given:
        raise SignInRefused(given.get("error", "sign_in_failed"), given.get("error_description", ""))
    return given["code"]


def _token(answer: httpx.Response) -> TokenAnswer:
    given: dict[str, Any] = answer.json()
    if answer.status_code != httpx.codes.OK:
        raise SignInRefused(given.get("error", "sign_in_failed"), given.get("error_description", ""))
    return TokenAnswer(given["access_token"], given.get("scope", ""), given["expires_in"])


def _s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
