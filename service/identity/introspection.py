"""Asks an issuer what a token is (RFC 7662), and believes only what the issuer itself said (RFC 9701 if configured).

Owns its connections; nothing is remembered here. The token goes to the configured address alone, over TLS.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from service.errors import IntrospectionUnavailable, InvalidToken, KeysUnavailable, Misconfigured
from service.identity.client_authentication import authentication
from service.identity.outbound import Outbound, Unanswered
from service.identity.signatures import check_signature
from service.identity.strict_json import read_object
from service.identity.token_format import read_token
from service.identity.token_header import algorithm, check_extensions, key_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.identity.issuer import Issuer
    from service.identity.keys import KeySet

SIGNED_TYPE = "token-introspection+jwt"
_MAX_ANSWER_BYTES = 64 * 1024
# How old a signed answer may be, in seconds: it is made for the request that it answers.
_MAX_AGE = 60
_log = structlog.get_logger(__name__)


class Introspector(Protocol):
    """Where an issuer's word about a token comes from."""

    async def ask(self, token: bytes, /) -> Mapping[str, Any]:
        """The members of the answer (RFC 7662 section 2.2). Raises IntrospectionUnavailable."""

    async def close(self) -> None:
        """Let go of connections."""


class HttpIntrospector:
    """The real one. `keys` are the issuer's, for signed answers; `clock` gives Unix seconds."""

    def __init__(
        self,
        issuer: Issuer,
        keys: KeySet,
        *,
        outbound: Outbound | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if issuer.introspection is None:
            raise Misconfigured(f"Issuer {issuer.name} has no introspection")
        self._issuer = issuer
        self._ours = issuer.introspection
        self._keys = keys
        self._clock = clock
        self._outbound = outbound or Outbound(max_bytes=_MAX_ANSWER_BYTES)
        authentication(self._ours, issuer.issuer)  # a key that cannot sign is found at start

    async def ask(self, token: bytes) -> Mapping[str, Any]:
        """One question, one answer. An answer that is not beyond doubt leaves the token unjudged."""
        headers, form = authentication(self._ours, self._issuer.issuer)
        headers["Accept"] = f"application/{SIGNED_TYPE}" if self._ours.signed else "application/json"
        question = {"token": token.decode("ascii"), "token_type_hint": "access_token", **form}
        try:
            answer = await self._outbound.ask("POST", self._ours.url, headers, question)
            media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            if self._ours.signed or media_type == f"application/{SIGNED_TYPE}":
                return await self._signed(answer.body.strip(), media_type)
            return read_object(answer.body)
        except Unanswered as error:
            raise self._unavailable(error.failure) from error
        except (ValueError, InvalidToken) as error:
            cause = error.cause if isinstance(error, InvalidToken) else "not-json"
            raise self._unavailable(f"answer-{cause}") from error
        except KeysUnavailable as error:
            raise self._unavailable("no-keys-for-the-answer") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._outbound.close()

    async def _signed(self, body: bytes, media_type: str) -> Mapping[str, Any]:
        """The claim `token_introspection` of an answer signed by this issuer, for us, just now (RFC 9701 section 5)."""
        if media_type != f"application/{SIGNED_TYPE}":
            raise Unanswered("answer-not-signed")
        answer = read_token(body)
        header = answer.unverified_header
        check_extensions(header)
        if str(header.get("typ", "")).lower().removeprefix("application/") != SIGNED_TYPE:
            raise Unanswered("answer-of-another-type")
        alg = algorithm(header, self._issuer)
        check_signature(body, await self._keys.find(key_id(header), alg), alg)
        claims = answer.unverified_claims  # verified from here on
        audience = claims.get("aud")
        made = claims.get("iat")
        if claims.get("iss") != self._issuer.issuer:
            raise Unanswered("answer-of-another-issuer")
        if self._ours.client_id not in (audience if isinstance(audience, list) else [audience]):
            raise Unanswered("answer-for-another-client")
        if isinstance(made, bool) or not isinstance(made, (int, float)) or abs(self._clock() - made) > _MAX_AGE:
            raise Unanswered("answer-of-another-time")
        told = claims.get("token_introspection")
        if not isinstance(told, dict):
            raise Unanswered("answer-without-content")
        return told

    def _unavailable(self, failure: str) -> IntrospectionUnavailable:
        _log.warning("token_not_introspected", issuer=self._issuer.name, failure=failure)
        return IntrospectionUnavailable(cause=f"introspection at issuer {self._issuer.name}: {failure}")
