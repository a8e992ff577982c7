"""Gets tokens as an app would: walks the browser flow over HTTP, or asks with a client's own credentials.

For the command line, the demo and tests. Owns no state; nothing is kept but the token that is returned.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from service.development.authorization_server.page_walk import Account, SignInRefused, code_in, walk
from service.development.authorization_server.sessions import ACR_MFA
from service.development.people import CLIENTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from service.development.authorization_server.proof_keys import ProofKey

__all__ = [
    "SignInRefused",
    "TokenAnswer",
    "authorization_code_token",
    "client_credentials_token",
    "device_token",
    "refreshed_token",
    "revoke",
]

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """What the token endpoint answered (RFC 6749 section 5.1). `scope` is what was granted, `expires_in` in seconds,
    `token_type` Bearer, or DPoP for a token that is bound to a key.
    """

    access_token: str = field(repr=False)
    scope: str
    expires_in: int
    token_type: str = "Bearer"  # noqa: S105  # a scheme, no secret
    refresh_token: str | None = field(default=None, repr=False)


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
    mfa: bool = False,
    max_age: int | None = None,
    opaque: bool = False,
    dpop: ProofKey | None = None,
) -> TokenAnswer:
    """A person's token for this client, by the authorization code flow with PKCE: signs in and ticks boxes on the
    real pages.

    `scopes`: what the app asks for, none meaning all that it may; `granted`: the boxes that are left ticked, None
    meaning all that are offered. Boxes are offered for what the person's roles allow, so `scope` of the answer may be
    less. `mfa`: with a second factor (RFC 9470); `max_age`: seconds since the password was given; `opaque`: no JWT;
    `dpop`: the key that the token is bound to. Raises SignInRefused; ValueError when a scope is to be granted that is
    not asked for; httpx.HTTPError when there is no server.
    """
    account = Account.of(login, password, granted)
    _refuse_ungranted(account, scopes)
    back = redirect_uri or CLIENTS[client_id].redirect_uris[0]
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
    asked: dict[str, str] = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": back,
        "state": state,
        "code_challenge": _s256(verifier),
        "code_challenge_method": "S256",
    }
    asked |= {"scope": " ".join(scopes)} if scopes else {}
    asked |= {"audience": audience} if audience else {}
    asked |= {"acr_values": ACR_MFA} if mfa else {}
    asked |= {"max_age": str(max_age)} if max_age is not None else {}
    asked |= {"dpop_jkt": dpop.thumbprint} if dpop else {}
    async with _browser() as http:
        server = await _discover(http, issuer_url)
        location = await walk(http, httpx.URL(server["authorization_endpoint"], params=asked), account, back)
        code = code_in(location, state, server["issuer"])
        form = {"grant_type": "authorization_code", "client_id": client_id, "redirect_uri": back, "code": code}
        return await _ask(http, server, form | {"code_verifier": verifier}, opaque=opaque, dpop=dpop)


async def client_credentials_token(
    issuer_url: str,
    client_id: str,
    secret: str,
    scopes: Sequence[str] = (),
    *,
    opaque: bool = False,
    dpop: ProofKey | None = None,
) -> TokenAnswer:
    """A client's token for itself (RFC 6749 section 4.4). No scopes means all it may have. Raises SignInRefused."""
    form = {"grant_type": "client_credentials"} | ({"scope": " ".join(scopes)} if scopes else {})
    async with _browser() as http:
        server = await _discover(http, issuer_url)
        return await _ask(http, server, form, opaque=opaque, dpop=dpop, auth=httpx.BasicAuth(client_id, secret))


async def refreshed_token(
    issuer_url: str,
    client_id: str,
    refresh_token: str,
    scopes: Sequence[str] = (),
    *,
    dpop: ProofKey | None = None,
) -> TokenAnswer:
    """A new access token of a public client, and the refresh token to use next time: the old one is spent.

    `scopes` may be fewer than were granted; `dpop` is the key of the first time. Raises SignInRefused.
    """
    form = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": refresh_token}
    form |= {"scope": " ".join(scopes)} if scopes else {}
    async with _browser() as http:
        return await _ask(http, await _discover(http, issuer_url), form, dpop=dpop)


async def device_token(
    issuer_url: str,
    login: str,
    password: str,
    client_id: str,
    scopes: Sequence[str] = (),
    granted: Iterable[str] | None = None,
    *,
    opaque: bool = False,
    dpop: ProofKey | None = None,
) -> TokenAnswer:
    """A person's token by the device flow (RFC 8628): the app asks and polls, the person says yes in a browser.

    Parameters as for `authorization_code_token`. Raises SignInRefused.
    """
    account = Account.of(login, password, granted)
    _refuse_ungranted(account, scopes)
    asked = {"client_id": client_id} | ({"scope": " ".join(scopes)} if scopes else {})
    async with _browser() as device, _browser() as person:
        server = await _discover(device, issuer_url)
        given = _checked(await device.post(server["device_authorization_endpoint"], data=asked))
        first = httpx.URL(given["verification_uri_complete"])
        await walk(person, first, account, f"{given['verification_uri']}/done")
        form = {"grant_type": DEVICE_GRANT, "client_id": client_id, "device_code": given["device_code"]}
        end = time.monotonic() + given["expires_in"]
        while time.monotonic() < end:
            try:
                return await _ask(device, server, form, opaque=opaque, dpop=dpop)
            except SignInRefused as refused:
                if refused.error not in ("authorization_pending", "slow_down"):
                    raise
            await asyncio.sleep(given["interval"])
    raise SignInRefused("expired_token", "Nobody said yes in time")


async def revoke(issuer_url: str, client_id: str, token: str) -> None:
    """Revoke an access token or a refresh token of this public client (RFC 7009). Raises SignInRefused."""
    async with _browser() as http:
        server = await _discover(http, issuer_url)
        _checked(await http.post(server["revocation_endpoint"], data={"client_id": client_id, "token": token}))


def _refuse_ungranted(account: Account, scopes: Sequence[str]) -> None:
    if account.ticked is not None and scopes and not account.ticked <= frozenset(scopes):
        raise ValueError("A scope cannot be granted that is not asked for")


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


async def _ask(
    http: httpx.AsyncClient,
    server: dict[str, Any],
    form: dict[str, str],
    *,
    opaque: bool = False,
    dpop: ProofKey | None = None,
    auth: httpx.Auth | None = None,
) -> TokenAnswer:
    endpoint = server["token_endpoint"]
    headers = {"DPoP": dpop.proof("POST", endpoint)} if dpop else {}
    data = form | ({"token_format": "opaque"} if opaque else {})
    given = _checked(await http.post(endpoint, data=data, headers=headers, auth=auth or httpx.Auth()))
    return TokenAnswer(
        given["access_token"],
        given.get("scope", ""),
        given["expires_in"],
        given["token_type"],
        given.get("refresh_token"),
    )


def _checked(answer: httpx.Response) -> dict[str, Any]:
    given: dict[str, Any] = answer.json()
    if answer.status_code != httpx.codes.OK:
        raise SignInRefused(given.get("error", "sign_in_failed"), given.get("error_description", ""))
    return given


def _s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
