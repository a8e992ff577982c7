"""Access tokens for the client, by OAuth grants that need no browser.

Owns the current access token and, if the server rotates it, the newest refresh token, in memory.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote_plus

import httpx2

from .problems import TokenRefused
from .proofs import NEEDS_NONCE, ProofMaker
from .renewal import AsyncRenewal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .proofs import ProofSigner

LOOPBACK = ("localhost", "127.0.0.1", "::1")
RENEW_EARLY_SECONDS = 30.0
# Longer lifetimes, beyond a century, are ignored.
MAX_LIFETIME_SECONDS = 3.2e9


class Tokens(Protocol):
    """A source of access tokens. `refused` is a token that just got a 401; return another one, if possible."""

    async def __call__(self, refused: str | None = None) -> str: ...


class OAuthTokens:
    """Tokens from a token endpoint, fetched when needed, shared by all tasks, and renewed RENEW_EARLY_SECONDS before
    they expire. A renewal goes on if its caller is cancelled. `keep` is called with every new refresh token before it
    is used, so that an app can store it. `dpop`: the key that all of them are bound to. Create one with
    `client_credentials` or `refreshing`."""

    def __init__(
        self,
        endpoint: str,
        form: dict[str, str],
        auth: httpx2.Auth | None,
        keep: Callable[[str], None] | None = None,
        http: httpx2.AsyncClient | None = None,
        dpop: ProofSigner | None = None,
    ) -> None:
        self._endpoint, self._form, self._auth, self._keep = require_secure(endpoint), form, auth, keep
        self._http, self.dpop = http, dpop
        self._proofs = ProofMaker(dpop) if dpop is not None else None
        self._token, self._until = "", 0.0
        self._lock = asyncio.Lock()
        self._renewal = AsyncRenewal(self._renew)

    async def __call__(self, refused: str | None = None) -> str:
        """A valid token. Raises TokenRefused; httpx2.HTTPError when the server does not answer."""
        async with self._lock:
            if not self._token or self._token == refused or time.monotonic() >= self._until:
                await self._renewal.join()
            return self._token

    async def finish(self) -> None:
        """Wait for a renewal whose caller was cancelled, so that its refresh token is kept. Leaving `async with
        Timewarden(...)` does this."""
        await self._renewal.finish()

    async def _renew(self) -> None:
        asked = time.monotonic()
        if self._http is not None:
            answer = await self._ask(self._http)
        else:
            outside = not stays_here(self._endpoint)
            async with httpx2.AsyncClient(timeout=10, follow_redirects=False, trust_env=outside) as http:
                answer = await self._ask(http)
        given = _document(answer)
        token = given.get("access_token")
        if not answer.is_success or not isinstance(token, str) or not token:
            raise TokenRefused(str(given.get("error", answer.status_code)), str(given.get("error_description", "")))
        if self._proofs is not None and str(given.get("token_type")).lower() != "dpop":
            raise TokenRefused("not_bound", "the authorization server does not bind tokens to keys")
        lasts = _lifetime(given.get("expires_in"))
        # Without a lifetime (RFC 6749 recommends one) a token is used until it is refused.
        self._until = float("inf") if lasts is None else asked + max(lasts - RENEW_EARLY_SECONDS, lasts / 2)
        self._token = token
        new = given.get("refresh_token")
        if isinstance(new, str) and new:
            self._form["refresh_token"] = new
            if self._keep is not None:
                self._keep(new)

    async def _ask(self, http: httpx2.AsyncClient) -> httpx2.Response:
        answer, learned = await self._post(http)
        if learned and str(_document(answer).get("error")).replace("_", "-") in NEEDS_NONCE:
            answer, _ = await self._post(http)
        return answer

    async def _post(self, http: httpx2.AsyncClient) -> tuple[httpx2.Response, bool]:
        """The answer, and whether it has a nonce for the next proof."""
        headers = {"Accept": "application/json"}
        headers |= self._proofs.make("POST", self._endpoint) if self._proofs is not None else {}
        auth = self._auth or httpx2.Auth()
        answer = await http.post(self._endpoint, data=self._form, headers=headers, auth=auth)
        return answer, self._proofs is not None and self._proofs.learn(answer)


def client_credentials(
    endpoint: str,
    client: str,
    secret: str,
    scopes: Iterable[str] = (),
    *,
    audience: str | None = None,
    http: httpx2.AsyncClient | None = None,
    dpop: ProofSigner | None = None,
) -> OAuthTokens:
    """Tokens of a machine (RFC 6749 section 4.4). No scopes means all that it may have; Auth0 needs the `audience`."""
    form = {"grant_type": "client_credentials"} | _without_none(scope=" ".join(scopes), audience=audience)
    return OAuthTokens(endpoint, form, _basic(client, secret), http=http, dpop=dpop)


def refreshing(
    endpoint: str,
    client: str,
    refresh_token: str,
    *,
    secret: str | None = None,
    keep: Callable[[str], None] | None = None,
    http: httpx2.AsyncClient | None = None,
    dpop: ProofSigner | None = None,
) -> OAuthTokens:
    """Tokens of a person, by the refresh token that the app got at sign-in (RFC 6749 section 6), with the same key."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    if secret is None:
        return OAuthTokens(endpoint, form | {"client_id": client}, None, keep, http, dpop)
    return OAuthTokens(endpoint, form, _basic(client, secret), keep, http, dpop)


def require_secure(url: str) -> str:
    """Return the URL if secrets may be sent there: https, or this machine. Raises ValueError."""
    parsed = httpx2.URL(url)
    if parsed.scheme != "https" and not stays_here(url):
        raise ValueError(f"tokens are sent over https only, not to {parsed.scheme}://{parsed.host}")
    return url


def stays_here(url: str) -> bool:
    """Whether the URL is plain http to this machine. A proxy that the environment names would read the tokens."""
    parsed = httpx2.URL(url)
    return parsed.scheme == "http" and parsed.host in LOOPBACK


def _document(answer: httpx2.Response) -> dict[str, Any]:
    """The JSON object in a response; empty without one."""
    try:
        found = answer.json()
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _lifetime(value: object) -> float | None:
    """The lifetime in seconds: a number or, as some servers send, a string of digits; None if invalid."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < MAX_LIFETIME_SECONDS else None


def _basic(client: str, secret: str) -> httpx2.BasicAuth:
    # RFC 6749 section 2.3.1: both are form-encoded before they are joined.
    return httpx2.BasicAuth(quote_plus(client), quote_plus(secret))


def _without_none(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}
