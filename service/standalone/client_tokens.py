"""Where the client gets access tokens: the OAuth grants that need no browser. Part of `client`, which offers all of it.

Owns one access token for as long as the process lives, and, where the server changes it, the newest refresh token.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote_plus

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LOOPBACK = ("localhost", "127.0.0.1", "::1")
EARLY = 30.0
# A lifetime beyond a century is none.
FOREVER = 3.2e9


class Tokens(Protocol):
    """Gives access tokens. `refused` is one that was just answered with 401: another, if there is one."""

    async def __call__(self, refused: str | None = None) -> str: ...


class TokenRefused(Exception):
    """The authorization server gave no token; `error` is its word (RFC 6749 section 5.2)."""

    def __init__(self, error: str, description: str) -> None:
        self.error = error
        super().__init__(f"{error}: {description}" if description else error)


class OAuthTokens:
    """Tokens of a token endpoint, asked for when one is needed, shared by all tasks, and renewed `EARLY` seconds before
    they end. `keep` is told every new refresh token, for an app that wants to find it after a restart; until it returns
    nothing is sent. Make one with `client_credentials` or `refreshing`."""

    def __init__(
        self,
        endpoint: str,
        form: dict[str, str],
        auth: httpx.Auth | None,
        keep: Callable[[str], None] | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._endpoint, self._form, self._auth, self._keep = secure(endpoint), form, auth, keep
        self._http = http
        self._token, self._until = "", 0.0
        self._one = asyncio.Lock()

    async def __call__(self, refused: str | None = None) -> str:
        """A token. Raises TokenRefused; httpx.HTTPError when the server does not answer."""
        async with self._one:
            if not self._token or self._token == refused or time.monotonic() >= self._until:
                await self._renew()
            return self._token

    async def _renew(self) -> None:
        asked = time.monotonic()
        if self._http is not None:
            answer = await self._ask(self._http)
        else:
            async with httpx.AsyncClient(timeout=10, follow_redirects=False) as http:
                answer = await self._ask(http)
        given = _document(answer)
        token = given.get("access_token")
        if not answer.is_success or not isinstance(token, str) or not token:
            raise TokenRefused(str(given.get("error", answer.status_code)), str(given.get("error_description", "")))
        lasts = _lifetime(given.get("expires_in"))
        # Without a lifetime (RFC 6749 recommends one) a token is used until it is refused.
        self._until = float("inf") if lasts is None else asked + max(lasts - EARLY, lasts / 2)
        self._token = token
        new = given.get("refresh_token")
        if isinstance(new, str) and new:
            self._form["refresh_token"] = new
            if self._keep is not None:
                self._keep(new)

    async def _ask(self, http: httpx.AsyncClient) -> httpx.Response:
        headers = {"Accept": "application/json"}
        return await http.post(self._endpoint, data=self._form, headers=headers, auth=self._auth or httpx.Auth())


def client_credentials(
    endpoint: str,
    client: str,
    secret: str,
    scopes: Iterable[str] = (),
    *,
    audience: str | None = None,
    http: httpx.AsyncClient | None = None,
) -> OAuthTokens:
    """A machine's own tokens (RFC 6749 section 4.4). No scopes means all it may have; Auth0 wants the `audience`."""
    form = {"grant_type": "client_credentials"} | _given(scope=" ".join(scopes), audience=audience)
    return OAuthTokens(endpoint, form, _basic(client, secret), http=http)


def refreshing(
    endpoint: str,
    client: str,
    refresh_token: str,
    *,
    secret: str | None = None,
    keep: Callable[[str], None] | None = None,
    http: httpx.AsyncClient | None = None,
) -> OAuthTokens:
    """A person's tokens, from the refresh token that their sign-in gave the app (RFC 6749 section 6)."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    if secret is None:
        return OAuthTokens(endpoint, form | {"client_id": client}, None, keep, http)
    return OAuthTokens(endpoint, form, _basic(client, secret), keep, http)


def secure(url: str) -> str:
    """The URL, if secrets may be sent there: https, or this machine. Raises ValueError."""
    parsed = httpx.URL(url)
    if parsed.scheme != "https" and not (parsed.scheme == "http" and parsed.host in LOOPBACK):
        raise ValueError(f"tokens are sent over https alone, not to {parsed.scheme}://{parsed.host}")
    return url


def _document(answer: httpx.Response) -> dict[str, Any]:
    """What was answered, if it is a JSON object."""
    try:
        found = answer.json()
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _lifetime(said: object) -> float | None:
    """Seconds: a number, or, as some servers write it, a text of digits."""
    if isinstance(said, str) and said.isascii() and said.isdigit():
        said = float(said)
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    return float(said) if 0 < said < FOREVER else None


def _basic(client: str, secret: str) -> httpx.BasicAuth:
    # RFC 6749 section 2.3.1: both are form-encoded before they are joined.
    return httpx.BasicAuth(quote_plus(client), quote_plus(secret))


def _given(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}
