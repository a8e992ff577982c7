"""Verifies access tokens: from the Authorization headers of a request to a Principal, or a refusal with its cause.

Tokens owns one KeySet an issuer and the memory of verified tokens; nothing is durable. The order of the checks is
that of RFC 8725 and 9068: shape, header, issuer, key, signature, and only then what the claims say.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import TYPE_CHECKING, Protocol

from jwt import PyJWS
from jwt.exceptions import PyJWTError

from service.errors import Misconfigured
from service.identity.claims import check_audience, check_time, check_use, confirmation
from service.identity.credentials import credentials
from service.identity.key_source import HttpKeySource
from service.identity.keys import KeySet
from service.identity.presented import unbound_tokens_alone
from service.identity.principal_claims import client_id, principal
from service.identity.refusals import refusal
from service.identity.token_format import read_token
from service.identity.token_header import algorithm, check_extensions, key_id, token_type
from service.identity.verified_tokens import VerifiedToken, VerifiedTokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.identity.issuer import Issuer
    from service.identity.jwk_set import VerificationKey
    from service.identity.key_source import KeySource
    from service.identity.keys import KeyState, KeyTiming
    from service.identity.presented import Presented, SenderCheck
    from service.identity.principal import Principal


class RevocationCheck(Protocol):
    """Asked at every use of a token, remembered or not. Raises InvalidToken for a revoked one."""

    async def __call__(self, principal: Principal, /) -> None: ...


class Tokens:
    """The verifier. `clock` gives Unix seconds; `remembered` bounds the tokens kept; `source` says where keys are had.

    Raises Misconfigured when there is no issuer, or two with the same `iss`.
    """

    def __init__(
        self,
        issuers: Sequence[Issuer],
        *,
        source: Callable[[Issuer], KeySource] = HttpKeySource,
        timing: KeyTiming | None = None,
        clock: Callable[[], float] = time.time,
        remembered: int = 10_000,
        revocation: RevocationCheck | None = None,
        sender: SenderCheck = unbound_tokens_alone,
    ) -> None:
        self._issuers = {one.issuer: one for one in issuers}
        if not issuers or len(self._issuers) != len(issuers):
            raise Misconfigured("Name at least one issuer, and each only once")
        self._keys = {one.issuer: KeySet(one, source(one), timing=timing) for one in issuers}
        self._clock = clock
        self._verified = VerifiedTokens(remembered)
        self._revocation = revocation
        self._sender = sender

    async def start(self) -> None:
        """Fetch the keys of every issuer and keep them fresh; those that are down are tried again in the background."""
        await asyncio.gather(*(keys.start() for keys in self._keys.values()))

    async def close(self) -> None:
        """Stop refreshing keys."""
        for keys in self._keys.values():
            await keys.close()

    def states(self) -> tuple[KeyState, ...]:
        """The state of each issuer's keys, for readiness and metrics."""
        return tuple(keys.state() for keys in self._keys.values())

    async def verify(self, presented: Presented) -> Principal:
        """Who asks. Raises MissingToken, MalformedCredentials, InvalidToken (with a cause), or KeysUnavailable when the
        token could not be judged because its issuer's keys cannot be had.
        """
        scheme, token = credentials(presented.authorization)
        digest = hashlib.sha256(token).digest()
        verified = self._verified.get(digest, self._clock())
        if verified is None or not self._keys[verified.principal.issuer].holds(verified.key_digest):
            verified = await self._judge(token)
            self._verified.put(digest, verified)
        await self._sender(scheme, token, verified.cnf, presented)
        if self._revocation is not None:
            await self._revocation(verified.principal)
        return verified.principal

    async def _judge(self, token: bytes) -> VerifiedToken:
        unverified = read_token(token)
        header = unverified.unverified_header
        check_extensions(header)
        issuer = self._issuer(unverified.unverified_claims.get("iss"))
        typ, alg, kid = token_type(header, issuer), algorithm(header, issuer), key_id(header)
        key = await self._keys[issuer.issuer].find(kid, alg)
        _check_signature(token, key, alg)
        claims = unverified.unverified_claims  # verified from here on
        validity = check_time(claims, issuer, self._clock())
        check_audience(claims, issuer)
        client = client_id(claims, typ)
        check_use(claims, typ, client)
        asker = principal(claims, issuer, typ, client, validity)
        return VerifiedToken(asker, key.digest, confirmation(claims))

    def _issuer(self, iss: object) -> Issuer:
        """The issuer of exactly this `iss`, chosen before any key is."""
        found = self._issuers.get(iss) if isinstance(iss, str) else None
        if found is None:
            raise refusal("issuer")
        return found


def _check_signature(token: bytes, key: VerificationKey, alg: str) -> None:
    """The signature over the token's own bytes, with the one key and algorithm that were chosen before."""
    try:
        _JWS.decode_complete(token, key.by_algorithm[alg], algorithms=[alg])
    except PyJWTError as error:
        raise refusal("signature") from error


_JWS = PyJWS(options={"verify_signature": True, "enforce_minimum_key_length": True})
