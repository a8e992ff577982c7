"""Introspection: asks an issuer about a token (RFC 7662), and accepts only signed answers if so configured (RFC 9701).

Owns its connections and caches nothing. The token is sent only to the configured address, over TLS. This service
authenticates by a secret (RFC 6749 section 2.3.1, client_secret_basic) or by a JWT that it signs (RFC 7523 section 2.2,
private_key_jwt).
"""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote_plus

import structlog
from jwt.exceptions import PyJWTError

from service import metrics
from service.errors import IntrospectionUnavailable, InvalidToken, KeysUnavailable, Misconfigured
from service.identity.claims import parse_numeric_date
from service.identity.jws import JWS, check_extensions, check_signature, read_algorithm, read_key_id, read_token
from service.identity.outbound import NoAnswer, Outbound
from service.identity.strict_json import read_object
from service.ids import make_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.identity.issuer import Introspection, Issuer
    from service.identity.keys import KeySet


ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_SECONDS = 60


def authenticate(ours: Introspection, audience: str) -> tuple[dict[str, str], dict[str, str]]:
    """The headers and form fields that authenticate one request. `audience`: the issuer, the only audience of an
    assertion.

    Raises Misconfigured if the private key cannot sign.
    """
    if ours.client_secret is not None:
        # RFC 6749 appendix B: both parts are form-encoded before they are joined.
        pair = f"{quote_plus(ours.client_id)}:{quote_plus(ours.client_secret)}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}, {}
    return {}, {"client_assertion_type": ASSERTION_TYPE, "client_assertion": _sign_assertion(ours, audience)}


def _sign_assertion(ours: Introspection, audience: str) -> str:
    now = int(time.time())
    claims = {
        "iss": ours.client_id,
        "sub": ours.client_id,
        "aud": audience,
        "jti": str(make_id()),
        "iat": now,
        "exp": now + _ASSERTION_SECONDS,
    }
    header = {"kid": ours.private_key_id} if ours.private_key_id else None
    try:
        return JWS.encode(json.dumps(claims).encode(), ours.private_key or "", ours.private_key_algorithm, header)
    except (PyJWTError, ValueError, TypeError) as error:
        raise Misconfigured("The private key for introspection cannot sign with its algorithm") from error


SIGNED_TYPE = "token-introspection+jwt"
_MAX_ANSWER_BYTES = 64 * 1024
# A signed answer is made for one request, so it must be recent.
_MAX_ANSWER_AGE_SECONDS = 60
_log = structlog.get_logger(__name__)


class Introspector(Protocol):
    """The source of introspection answers."""

    async def introspect(self, token: bytes, /) -> Mapping[str, Any]:
        """The members of the answer (RFC 7662 section 2.2). Raises IntrospectionUnavailable."""

    async def close(self) -> None:
        """Close the connections."""


class HttpIntrospector:
    """Introspection over HTTP. `keys` are the issuer's, for signed answers."""

    def __init__(
        self,
        issuer: Issuer,
        keys: KeySet,
        *,
        outbound: Outbound | None = None,
    ) -> None:
        if issuer.introspection is None:
            raise Misconfigured(f"Issuer {issuer.name} has no introspection")
        self._issuer = issuer
        self._ours = issuer.introspection
        self._keys = keys
        self._outbound = outbound or Outbound(max_bytes=_MAX_ANSWER_BYTES)
        authenticate(self._ours, issuer.issuer)  # fail at the start if the key cannot sign

    async def introspect(self, token: bytes) -> Mapping[str, Any]:
        """Ask the issuer once. Raises IntrospectionUnavailable also if the answer is not valid."""
        started, outcome = time.perf_counter(), "failed"
        try:
            answer = await self._ask(token)
            outcome = "answered"
        finally:
            labels = (self._issuer.name, outcome)
            metrics.INTROSPECTION_SECONDS.observe(labels, time.perf_counter() - started)
        return answer

    async def _ask(self, token: bytes) -> Mapping[str, Any]:
        headers, form = authenticate(self._ours, self._issuer.issuer)
        headers["Accept"] = f"application/{SIGNED_TYPE}" if self._ours.signed else "application/json"
        request = {"token": token.decode("ascii"), "token_type_hint": "access_token", **form}
        try:
            answer = await self._outbound.send("POST", self._ours.url, headers, request)
            media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            if self._ours.signed or media_type == f"application/{SIGNED_TYPE}":
                return await self._read_signed(answer.body.strip(), media_type)
            return read_object(answer.body)
        except NoAnswer as error:
            raise self._unavailable(error.failure) from error
        except (ValueError, InvalidToken) as error:
            cause = error.cause if isinstance(error, InvalidToken) else "not-json"
            raise self._unavailable(f"answer-{cause}") from error
        except KeysUnavailable as error:
            raise self._unavailable("no-keys-for-the-answer") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._outbound.close()

    async def _read_signed(self, body: bytes, media_type: str) -> Mapping[str, Any]:
        """The claim `token_introspection` of a recent answer that this issuer signed for us (RFC 9701 section 5)."""
        if media_type != f"application/{SIGNED_TYPE}":
            raise NoAnswer("answer-not-signed")
        answer = read_token(body)
        header = answer.unverified_header
        check_extensions(header)
        if str(header.get("typ", "")).lower().removeprefix("application/") != SIGNED_TYPE:
            raise NoAnswer("answer-of-another-type")
        alg = read_algorithm(header, self._issuer)
        check_signature(body, await self._keys.find(read_key_id(header), alg), alg)
        claims = answer.unverified_claims  # verified from here on
        audience = claims.get("aud")
        issued_at = parse_numeric_date(claims.get("iat"))
        if claims.get("iss") != self._issuer.issuer:
            raise NoAnswer("answer-of-another-issuer")
        if self._ours.client_id not in (audience if isinstance(audience, list) else [audience]):
            raise NoAnswer("answer-for-another-client")
        if issued_at is None or abs(time.time() - issued_at) > _MAX_ANSWER_AGE_SECONDS:
            raise NoAnswer("answer-of-another-time")
        introspection = claims.get("token_introspection")
        if not isinstance(introspection, dict):
            raise NoAnswer("answer-without-content")
        return introspection

    def _unavailable(self, failure: str) -> IntrospectionUnavailable:
        _log.warning("token_not_introspected", issuer=self._issuer.name, failure=failure)
        return IntrospectionUnavailable(cause=f"introspection at issuer {self._issuer.name}: {failure}")
