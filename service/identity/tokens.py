"""Verifies access tokens: returns the Principal of a request, or raises a refusal with its cause.

Owns one KeySet per issuer and the cache of verified tokens; nothing is durable. A token is verified once and then
cached. Facts that can change during its life (its key, its revocation, its sender) is checked at every use.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from service import metrics
from service.errors import Misconfigured
from service.identity.credentials import check_form, parse_authorization, refuse_bound_tokens
from service.identity.introspection import HttpIntrospector
from service.identity.jws import MAX_TOKEN_BYTES, looks_like_a_jwt
from service.identity.jwt_access_tokens import ignore_step, verify_jwt
from service.identity.key_source import HttpKeySource
from service.identity.keys import KeySet
from service.identity.opaque_tokens import OpaqueTokens
from service.identity.refusals import refusal
from service.identity.verified_tokens import TokenCache, VerifiedToken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.identity.credentials import Charge, RequestCredentials, SenderCheck
    from service.identity.introspection import Introspector
    from service.identity.issuer import Issuer
    from service.identity.jwt_access_tokens import Step
    from service.identity.key_source import KeySource
    from service.identity.keys import KeyState, KeyTiming
    from service.identity.principal import Principal


class Tokens:
    """The verifier. `clock` returns Unix seconds. `max_cached` bounds the cached tokens. `source` makes the source of
    an issuer's keys, `introspector` the client of its introspection endpoint.

    Raises Misconfigured if there is no issuer, if two issuers have the same `iss`, name or prefix, or if two have
    introspection: an opaque token does not name its issuer.
    """

    def __init__(
        self,
        issuers: Sequence[Issuer],
        *,
        source: Callable[[Issuer], KeySource] = HttpKeySource,
        introspector: Callable[[Issuer, KeySet], Introspector] = HttpIntrospector,
        timing: KeyTiming | None = None,
        clock: Callable[[], float] = time.time,
        max_cached: int = 10_000,
        sender: SenderCheck = refuse_bound_tokens,
    ) -> None:
        known = _check_issuers(issuers)
        self._trusted = {issuer.issuer: (issuer, KeySet(issuer, source(issuer), timing=timing)) for issuer in known}
        self._opaque: OpaqueTokens | None = None
        for issuer, keys in self._trusted.values():
            if issuer.introspection is not None:
                self._opaque = OpaqueTokens(issuer, introspector(issuer, keys), clock=clock)
        self._clock = clock
        self._cache = TokenCache(max_cached)
        self._sender = sender

    async def start(self) -> None:
        """Fetch the keys of every issuer and keep them fresh. An issuer that is down is retried in the background."""
        await asyncio.gather(*(keys.start() for _, keys in self._trusted.values()))

    async def close(self) -> None:
        """Stop refreshing keys and close connections."""
        for _, keys in self._trusted.values():
            await keys.close()
        if self._opaque is not None:
            await self._opaque.close()

    def states(self) -> tuple[KeyState, ...]:
        """The state of each issuer's keys, for readiness."""
        return tuple(keys.state() for _, keys in self._trusted.values())

    def measure(self) -> None:
        """Set the metrics of each issuer's keys."""
        for state in self.states():
            issuer = (state.issuer,)
            metrics.KEYS.set(state.keys, issuer)
            metrics.KEY_FAILURES.set(state.failures, issuer)
            metrics.UNKNOWN_KEYS.set(state.unknown_kids, issuer)
            if state.age is not None:
                metrics.KEYS_AGE.set(state.age, issuer)

    async def verify(self, credentials: RequestCredentials) -> Principal:
        """The caller of a request. Raises MissingToken, MalformedCredentials, InvalidToken with a cause,
        KeysUnavailable or IntrospectionUnavailable if the issuer does not answer, and what `credentials.charge` raises.
        """
        scheme, token = parse_authorization(credentials.authorization)
        digest = hashlib.sha256(token).digest()
        verified = self._cache.get(digest, self._clock())
        if verified is None or not self._is_key_published(verified):
            check_form(token)
            verified = await self.verify_token(token, charge=credentials.charge)
            self._cache.put(digest, verified)
        await self._sender(scheme, token, verified.cnf, credentials)
        return verified.principal

    async def verify_token(self, token: bytes, step: Step = ignore_step, charge: Charge = nullcontext) -> VerifiedToken:
        """Verify the token alone, without cache, sender and revocation. `step` is called with the name of each check
        before it; `charge` is as in `RequestCredentials`.

        A token that looks like a JWT is verified as one and never sent to an issuer: a JWT that fails stays refused.
        """
        if len(token) > MAX_TOKEN_BYTES:
            step("shape")
            raise refusal("too-large")
        if self._opaque is None or looks_like_a_jwt(token):
            return await verify_jwt(token, self._trusted, self._clock(), step)
        return await self._opaque.introspect(token, step, charge)

    def _is_key_published(self, verified: VerifiedToken) -> bool:
        """Whether the key that signed is still published. An introspected token has no key."""
        if verified.key_digest is None:
            return True
        return self._trusted[verified.principal.issuer][1].has_key(verified.key_digest)


def _check_issuers(issuers: Sequence[Issuer]) -> list[Issuer]:
    """Check that the issuers can be told apart, and give each the prefixes of the others."""
    if not issuers or len({issuer.issuer for issuer in issuers}) != len(issuers):
        raise Misconfigured("Configure at least one issuer, and each only once")
    if len({issuer.name for issuer in issuers}) != len(issuers):
        raise Misconfigured("Give each issuer a name of its own")
    prefixes = [issuer.prefix for issuer in issuers]
    if len(set(prefixes)) != len(prefixes):
        raise Misconfigured("Give each issuer a prefix of its own; only one may have none")
    if sum(issuer.introspection is not None for issuer in issuers) > 1:
        raise Misconfigured("Only one issuer may have introspection: an opaque token does not name its issuer")
    return [replace(issuer, foreign_prefixes=frozenset(prefixes) - {issuer.prefix, ""}) for issuer in issuers]
