"""Signs people in at the authorization server, as an OAuth client: code flow with PKCE, and OpenID where it is offered.

Authlib prepares and checks the messages; this module sends them. Owns the server's metadata and keys, for an hour in
memory.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

import httpx2
import msgspec
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from service.standalone.client import TokenRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

METADATA_SECONDS: Final = 3600.0
MAX_ANSWER_BYTES: Final = 262_144
LEEWAY_SECONDS: Final = 60
# Algorithms by which an ID token may be signed; never a shared secret.
ID_TOKEN_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519")
# Scopes of OpenID, which a server that knows no OpenID would refuse.
OPENID_SCOPES: Final = ("openid", "profile", "offline_access")


class SignInFailed(Exception):
    """The person could not be signed in; the sentence says why."""


class SignInUnavailable(Exception):
    """The authorization server does not answer, or not as it should."""


class Demand(msgspec.Struct, frozen=True):
    """A stronger or more recent sign-in, as the API demands it (RFC 9470)."""

    acr_values: str | None = None
    max_age: int | None = None


class Attempt(msgspec.Struct, frozen=True):
    """A sign-in that a browser began, and the path to which it returns."""

    state: str
    nonce: str
    verifier: str
    next_path: str
    demand: Demand = Demand()


class Grant(msgspec.Struct, frozen=True):
    """Tokens of a person, until when the access token is valid (Unix seconds), and the claims of the ID token."""

    access_token: str
    expires_at: float
    refresh_token: str | None = None
    id_token: str | None = None
    claims: dict[str, Any] = {}


class SignInServer:
    """The authorization server with this issuer, for the client `client`, which has a `secret` unless it is public.

    `audience` is that of the API; `audience_parameter` names the parameter that carries it, or is empty.
    """

    def __init__(
        self,
        http: httpx2.AsyncClient,
        *,
        issuer: str,
        client: str,
        secret: str,
        redirect_uri: str,
        scopes: tuple[str, ...],
        audience: str,
        audience_parameter: str,
    ) -> None:
        self._http, self.issuer, self._client, self._secret = http, issuer, client, secret
        self._redirect_uri, self._scopes = redirect_uri, scopes
        self._resource = {audience_parameter: audience} if audience_parameter else {}
        self._metadata: dict[str, Any] = {}
        self._keys: KeySet | None = None
        self._read_at = -METADATA_SECONDS

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins to which a form of ours may lead a browser."""
        known = (self.issuer, self._metadata.get("authorization_endpoint"), self._metadata.get("end_session_endpoint"))
        return tuple(sorted({origin_of(url) for url in known if url}))

    async def begin(self, next_path: str, demand: Demand) -> tuple[str, Attempt]:
        """The URL to send the browser to, and the attempt to remember. Raises SignInUnavailable."""
        metadata = await self._read_metadata()
        attempt = Attempt(_random(), _random(), _random(), next_path, demand)
        offered = metadata.get("scopes_supported", ())
        scopes = [scope for scope in self._scopes if scope not in OPENID_SCOPES or scope in offered]
        url = prepare_grant_uri(
            metadata["authorization_endpoint"],
            self._client,
            "code",
            redirect_uri=self._redirect_uri,
            scope=scopes,
            state=attempt.state,
            nonce=attempt.nonce if "openid" in scopes else None,
            code_challenge=create_s256_code_challenge(attempt.verifier),
            code_challenge_method="S256",
            acr_values=demand.acr_values,
            max_age=None if demand.max_age is None else str(demand.max_age),
            # Without consent some servers give no refresh token (OpenID Connect Core section 11).
            prompt="consent" if "offline_access" in scopes else None,
            **self._resource,
        )
        return str(url), attempt

    async def finish(self, attempt: Attempt, answer: Mapping[str, str]) -> Grant:
        """The tokens for the code in the answer to an attempt. Raises SignInFailed and SignInUnavailable."""
        metadata = await self._read_metadata()
        names_itself = metadata.get("authorization_response_iss_parameter_supported") is True
        if (names_itself or "iss" in answer) and answer.get("iss") != self.issuer:
            raise SignInFailed("The answer is of another sign-in server")  # RFC 9207
        if "error" in answer:
            raise SignInFailed(_describe(answer))
        if not answer.get("code"):
            raise SignInFailed("The sign-in server sent no code")
        form = {"code": answer["code"], "redirect_uri": self._redirect_uri, "code_verifier": attempt.verifier}
        try:
            document = await self._ask_for_tokens(form | {"grant_type": "authorization_code"} | self._resource)
        except TokenRefused as error:
            raise SignInFailed(
                "The sign-in server did not accept the code; it can be used once, for a minute"
            ) from error
        grant = _read_grant(document)
        if grant.id_token is None:
            return grant
        return msgspec.structs.replace(grant, claims=await self._check_id_token(grant, attempt))

    async def refresh(self, grant: Grant) -> Grant:
        """A newer grant. Raises TokenRefused if the sign-in is over, and SignInUnavailable."""
        if grant.refresh_token is None:
            raise TokenRefused("invalid_grant", "there is no refresh token")
        form = {"grant_type": "refresh_token", "refresh_token": grant.refresh_token, **self._resource}
        newer = _read_grant(await self._ask_for_tokens(form))
        return msgspec.structs.replace(
            newer,
            refresh_token=newer.refresh_token or grant.refresh_token,
            id_token=grant.id_token,
            claims=grant.claims,
        )

    async def revoke(self, grant: Grant) -> None:
        """Revoke the refresh token, and with it what else the server revokes (RFC 7009). Raises SignInUnavailable."""
        endpoint = (await self._read_metadata()).get("revocation_endpoint")
        if endpoint and grant.refresh_token:
            await self._post(endpoint, {"token": grant.refresh_token, "token_type_hint": "refresh_token"})

    async def end_session_url(self, grant: Grant, return_to: str) -> str | None:
        """Where a browser ends its session at the server (OpenID Connect RP-Initiated Logout), if the server can."""
        endpoint = (await self._read_metadata()).get("end_session_endpoint")
        if not endpoint:
            return None
        query = {"client_id": self._client, "post_logout_redirect_uri": return_to}
        query |= {"id_token_hint": grant.id_token} if grant.id_token else {}
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def _check_id_token(self, grant: Grant, attempt: Attempt) -> dict[str, Any]:
        """The claims of the ID token (OpenID Connect Core section 3.1.3.7). Raises SignInFailed."""
        try:
            token = jwt.decode(grant.id_token or "", await self._read_keys(), algorithms=list(ID_TOKEN_ALGORITHMS))
            claims = CodeIDToken(
                token.claims,
                token.header,
                options={
                    "iss": {"essential": True, "value": self.issuer},
                    "aud": {"essential": True, "value": self._client},
                },
                params={
                    "nonce": attempt.nonce,
                    "client_id": self._client,
                    "access_token": grant.access_token,
                    "max_age": attempt.demand.max_age,
                },
            )
            claims.validate(now=int(time.time()), leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            self._keys = None
            raise SignInFailed("The sign-in server sent an ID token that is not valid") from error
        return {name: value for name, value in token.claims.items() if name in ("name", "sub", "sid", "auth_time")}

    async def _ask_for_tokens(self, form: dict[str, str]) -> dict[str, Any]:
        metadata = await self._read_metadata()
        answer = await self._post(metadata["token_endpoint"], form)
        document = _read_object(answer)
        if answer.status_code in (httpx2.codes.BAD_REQUEST, httpx2.codes.UNAUTHORIZED):
            raise TokenRefused(str(document.get("error", "")), str(document.get("error_description", "")))
        if not answer.is_success:
            raise SignInUnavailable(f"The token endpoint answered {answer.status_code}")
        return document

    async def _post(self, url: str, form: dict[str, str]) -> httpx2.Response:
        # RFC 6749 section 2.3.1: both are form-encoded before they are joined.
        pair = quote_plus(self._client), quote_plus(self._secret)
        basic = httpx2.BasicAuth(*pair) if self._secret else httpx2.Auth()
        named = form if self._secret else form | {"client_id": self._client}
        try:
            return await self._http.post(url, data=named, auth=basic, headers={"Accept": "application/json"})
        except httpx2.HTTPError as error:
            raise SignInUnavailable("The sign-in server does not answer") from error

    async def _read_metadata(self) -> dict[str, Any]:
        if time.monotonic() - self._read_at < METADATA_SECONDS:
            return self._metadata
        try:
            found = await self._get(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
            if found.get("issuer") != self.issuer:
                raise SignInUnavailable("The metadata of the sign-in server name another issuer")
            if not all(isinstance(found.get(name), str) for name in ("authorization_endpoint", "token_endpoint")):
                raise SignInUnavailable("The metadata of the sign-in server name no endpoints")
        except SignInUnavailable:
            if self._metadata:  # better an old address than nobody signed in
                return self._metadata
            raise
        self._metadata, self._read_at, self._keys = found, time.monotonic(), None
        return found

    async def _read_keys(self) -> KeySet:
        if self._keys is None:
            found = await self._get(str((await self._read_metadata()).get("jwks_uri", "")))
            self._keys = KeySet.import_key_set(found)  # type: ignore[arg-type]  # checked while importing
        return self._keys

    async def _get(self, url: str) -> dict[str, Any]:
        try:
            answer = await self._http.get(url, headers={"Accept": "application/json"})
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise SignInUnavailable("The sign-in server does not answer") from error
        if not answer.is_success:
            raise SignInUnavailable(f"The sign-in server answered {answer.status_code}")
        return _read_object(answer)


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _random() -> str:
    return secrets.token_urlsafe(32)


def _read_grant(document: Mapping[str, Any]) -> Grant:
    token, lifetime = document.get("access_token"), document.get("expires_in")
    if not isinstance(token, str) or not token or str(document.get("token_type", "")).lower() != "bearer":
        raise SignInUnavailable("The sign-in server sent no bearer token")
    seconds = float(lifetime) if isinstance(lifetime, int | float) and lifetime > 0 else METADATA_SECONDS
    refresh, identity = document.get("refresh_token"), document.get("id_token")
    return Grant(
        token,
        time.time() + seconds,
        refresh if isinstance(refresh, str) else None,
        identity if isinstance(identity, str) else None,
    )


def _read_object(answer: httpx2.Response) -> dict[str, Any]:
    if len(answer.content) > MAX_ANSWER_BYTES:
        raise SignInUnavailable("The sign-in server sent too much")
    try:
        found = answer.json()
    except (ValueError, RecursionError) as error:
        raise SignInUnavailable("The sign-in server sent no JSON") from error
    if not isinstance(found, dict):
        raise SignInUnavailable("The sign-in server sent no JSON object")
    return found


def _describe(answer: Mapping[str, str]) -> str:
    """The sentence for an error of the authorization endpoint (RFC 6749 section 4.1.2.1). The server's own text is not
    shown: anybody can write it into a link."""
    known = {
        "access_denied": "You did not allow it, or you may not use the console",
        "login_required": "The sign-in server wants you to sign in",
        "temporarily_unavailable": "The sign-in server is overloaded; try again in a moment",
    }
    return known.get(answer["error"], "The sign-in server did not accept the request of the console")
