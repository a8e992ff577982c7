"""Gets tokens like an app: walks the browser flow over HTTP, or uses a client's own credentials.

For the command line, the demo and tests. Owns no state.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2

from service.development.authorization_server.page_walk import Account, SignInRefused, read_code, walk
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
    "exchanged_token",
    "refresh_token_grant",
    "revoke",
]

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  # a type, no secret


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """The answer of the token endpoint (RFC 6749 section 5.1). `scope`: the granted scopes. `expires_in`: seconds.
    `token_type`: Bearer, or DPoP for a token that is bound to a key.
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

    `scopes`: the requested scopes; none: all that the client may request. `granted`: the boxes to leave ticked; None:
    all that are offered. Only scopes that the person's roles allow are offered, so the answer's `scope` may be smaller.
    `mfa`: with a second factor (RFC 9470). `max_age`: maximum seconds since the password was given. `opaque`: no JWT.
    `dpop`: the key that the token is bound to. Raises SignInRefused, ValueError if `granted` has a scope that is not
    requested, and httpx2.HTTPError if the server does not answer.
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
        location = await walk(http, httpx2.URL(server["authorization_endpoint"], params=asked), account, back)
        code = read_code(location, state, server["issuer"])
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
    """A client's own token (RFC 6749 section 4.4). Without scopes it has all that the client may have. Raises
    SignInRefused."""
    form = {"grant_type": "client_credentials"} | ({"scope": " ".join(scopes)} if scopes else {})
    async with _browser() as http:
        server = await _discover(http, issuer_url)
        return await _ask(http, server, form, opaque=opaque, dpop=dpop, auth=httpx2.BasicAuth(client_id, secret))


async def refresh_token_grant(
    issuer_url: str,
    client_id: str,
    refresh_token: str,
    scopes: Sequence[str] = (),
    *,
    dpop: ProofKey | None = None,
) -> TokenAnswer:
    """A new access token of a public client, and its next refresh token; the old one is used up.

    `scopes` may be a subset of the granted ones. `dpop`: the key of the first token. Raises SignInRefused.
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
    """A person's token by the device flow (RFC 8628): the app polls, and the person consents in a browser.

    Parameters as for `authorization_code_token`. Raises SignInRefused.
    """
    account = Account.of(login, password, granted)
    _refuse_ungranted(account, scopes)
    asked = {"client_id": client_id} | ({"scope": " ".join(scopes)} if scopes else {})
    async with _browser() as device, _browser() as person:
        server = await _discover(device, issuer_url)
        given = _check(await device.post(server["device_authorization_endpoint"], data=asked))
        first = httpx2.URL(given["verification_uri_complete"])
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
    raise SignInRefused("expired_token", "Nobody consented in time")


async def exchanged_token(
    issuer_url: str,
    client_id: str,
    secret: str,
    subject_token: str,
    scopes: Sequence[str] = (),
    *,
    opaque: bool = False,
    dpop: ProofKey | None = None,
) -> TokenAnswer:
    """A token with which this client acts for the person of `subject_token` (RFC 8693). Without scopes it has all that
    both may have. Raises SignInRefused."""
    form = {"grant_type": EXCHANGE_GRANT, "subject_token": subject_token, "subject_token_type": ACCESS_TOKEN_TYPE}
    form |= {"scope": " ".join(scopes)} if scopes else {}
    async with _browser() as http:
        server = await _discover(http, issuer_url)
        return await _ask(http, server, form, opaque=opaque, dpop=dpop, auth=httpx2.BasicAuth(client_id, secret))


async def revoke(issuer_url: str, client_id: str, token: str) -> None:
    """Revoke an access token or a refresh token of this public client (RFC 7009). Raises SignInRefused."""
    async with _browser() as http:
        server = await _discover(http, issuer_url)
        _check(await http.post(server["revocation_endpoint"], data={"client_id": client_id, "token": token}))


def _refuse_ungranted(account: Account, scopes: Sequence[str]) -> None:
    if account.ticked is not None and scopes and not account.ticked <= frozenset(scopes):
        raise ValueError("Only requested scopes can be granted")


def _browser() -> httpx2.AsyncClient:
    # The server is on loopback, so the environment's proxies are not used.
    return httpx2.AsyncClient(timeout=10, follow_redirects=False, trust_env=False)


async def _discover(http: httpx2.AsyncClient, issuer_url: str) -> dict[str, Any]:
    """The server's metadata. Its issuer must be `issuer_url` (RFC 8414 section 3.3)."""
    answer = await http.get(f"{issuer_url.rstrip('/')}/.well-known/oauth-authorization-server")
    answer.raise_for_status()
    document: dict[str, Any] = answer.json()
    if document.get("issuer") != issuer_url:
        raise SignInRefused("wrong_issuer", "The server at this address is another issuer")
    return document


async def _ask(
    http: httpx2.AsyncClient,
    server: dict[str, Any],
    form: dict[str, str],
    *,
    opaque: bool = False,
    dpop: ProofKey | None = None,
    auth: httpx2.Auth | None = None,
) -> TokenAnswer:
    endpoint = server["token_endpoint"]
    headers = {"DPoP": dpop.proof("POST", endpoint)} if dpop else {}
    data = form | ({"token_format": "opaque"} if opaque else {})
    given = _check(await http.post(endpoint, data=data, headers=headers, auth=auth or httpx2.Auth()))
    return TokenAnswer(
        given["access_token"],
        given.get("scope", ""),
        given["expires_in"],
        given["token_type"],
        given.get("refresh_token"),
    )


def _check(answer: httpx2.Response) -> dict[str, Any]:
    given: dict[str, Any] = answer.json()
    if answer.status_code != httpx2.codes.OK:
        raise SignInRefused(given.get("error", "sign_in_failed"), given.get("error_description", ""))
    return given


def _s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
