"""Verifies opaque tokens by introspection at their issuer (RFC 7662 section 4).

Owns the running introspections, a small cache of denials and one of tokens that were valid, all bounded and in memory.
`tokens` caches positive answers.

Anybody can make up tokens, so the caller is charged before an unknown token is introspected. A token that was valid
before is introspected again without charge, so that junk from the same address cannot lock out its holder. While the
issuer fails, such a token is introspected only once per pause, however often it is sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from service.errors import IntrospectionUnavailable, InvalidToken, Misconfigured
from service.identity.claims import TokenValidity, check_audience, check_time, check_use, read_confirmation
from service.identity.issuer import NO_TYPE
from service.identity.jwt_access_tokens import ignore_step
from service.identity.principal_claims import build_principal, read_client_id
from service.identity.refusals import refusal
from service.identity.verified_tokens import VerifiedToken
from service.slots import slot_free

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.identity.credentials import Charge
    from service.identity.introspection import Introspector
    from service.identity.issuer import Issuer
    from service.identity.jwt_access_tokens import Step

# How many introspections may run at once, and how many more for tokens that were valid before.
MAX_INTROSPECTIONS = 100
MAX_EXTRA_INTROSPECTIONS = 20
MAX_DENIED_TOKENS = 1000
MAX_VALID_TOKENS = 10_000
PAUSE_AFTER_FAILURE_SECONDS = 1.0
NEVER = float("-inf")
_TYPES = frozenset({"bearer", "dpop", "access_token"})


class OpaqueTokens:
    """The opaque tokens of one issuer. `clock` returns Unix seconds."""

    def __init__(self, issuer: Issuer, introspector: Introspector, *, clock: Callable[[], float] = time.time) -> None:
        if issuer.introspection is None:
            raise Misconfigured(f"Issuer {issuer.name} has no introspection")
        self._issuer = issuer
        self._rules = issuer.introspection
        self._introspector = introspector
        self._clock = clock
        self._running: dict[bytes, asyncio.Task[Mapping[str, Any]]] = {}
        # When the token was denied.
        self._denied: OrderedDict[bytes, float] = OrderedDict()
        # When the token expires, and when the issuer last failed to answer about it.
        self._valid: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    async def introspect(self, token: bytes, step: Step = ignore_step, charge: Charge = nullcontext) -> VerifiedToken:
        """Introspect a token. `charge` is as in `RequestCredentials`; joining a running introspection is free.

        Raises InvalidToken, IntrospectionUnavailable if the issuer does not answer, and what `charge` raises.
        """
        digest = hashlib.sha256(token).digest()
        step("introspection")
        if self._is_within(self._rules.negative_seconds, self._denied.get(digest, NEVER)):
            raise refusal("inactive")
        failed = self._valid.get(digest, (NEVER, NEVER))[1]
        if digest not in self._running and self._is_within(PAUSE_AFTER_FAILURE_SECONDS, failed):
            raise IntrospectionUnavailable(cause="the issuer failed a moment ago")
        is_charged = digest not in self._running and not self._was_valid(digest)
        async with charge() if is_charged else nullcontext():
            try:
                claims = await self._introspect_once(digest, token)
            except IntrospectionUnavailable:
                self._pause(digest)
                raise
            try:
                verified = self._read(claims, step)
            except InvalidToken:
                self._deny(digest)
                raise
        self._remember_valid(digest, verified.principal.expires_at)
        return verified

    async def close(self) -> None:
        """Cancel running introspections."""
        for task in tuple(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        await self._introspector.close()

    def _read(self, claims: Mapping[str, Any], step: Step) -> VerifiedToken:
        """Verify an answer: `active` must be true, and all else is checked as in a JWT without a type."""
        if claims.get("active") is not True:
            raise refusal("inactive")
        step("issuer")
        if claims.get("iss", self._issuer.issuer) != self._issuer.issuer:
            raise refusal("issuer")
        step("type")
        cnf = read_confirmation(claims)
        _check_type(claims, cnf)
        now = self._clock()
        step("time")
        validity = self._validity(claims, now)
        step("client")
        client = read_client_id(claims, self._issuer, NO_TYPE)
        step("audience")
        if "aud" in claims or not self._rules.audience_optional:
            check_audience(claims, self._issuer, client)
        step("use")
        check_use({**claims, "token_use": _read_use(claims)}, NO_TYPE, client)
        if self._rules.subject_optional and "sub" not in claims and "username" not in claims:
            claims = {**claims, "sub": client}  # the client's own token (RFC 7662 section 2.2)
        principal = build_principal(claims, self._issuer, NO_TYPE, client, validity, step)
        step("sender")
        until = min(principal.expires_at, now + self._rules.positive_seconds)
        return VerifiedToken(principal, now, until, None, cnf)

    def _validity(self, claims: Mapping[str, Any], now: float) -> TokenValidity:
        """As in a JWT, but `iat` may be absent: the token then counts as older than any revocation."""
        if "iat" in claims:
            return check_time(claims, self._issuer, now)
        validity = check_time({**claims, "iat": int(now)}, self._issuer, now)
        return replace(validity, issued_at=0)

    async def _introspect_once(self, digest: bytes, token: bytes) -> Mapping[str, Any]:
        """Run one introspection for all requests with this token. A request that is cancelled does not cancel it."""
        task = self._running.get(digest)
        if task is None:
            limit = MAX_INTROSPECTIONS + (MAX_EXTRA_INTROSPECTIONS if self._was_valid(digest) else 0)
            if len(self._running) >= limit:
                raise IntrospectionUnavailable(cause="too many introspections are running")
            task = asyncio.create_task(self._introspector.introspect(token))
            self._running[digest] = task
            task.add_done_callback(lambda done: self._remove_finished(digest, done))
        async with slot_free():
            return await asyncio.shield(task)

    def _remove_finished(self, digest: bytes, done: asyncio.Task[Mapping[str, Any]]) -> None:
        del self._running[digest]
        if not done.cancelled():
            done.exception()  # mark it as retrieved, in case every waiting request was cancelled

    def _is_within(self, seconds: float, since: float) -> bool:
        """Whether it is at most so many seconds since then. Not before it: the clock was set back meanwhile."""
        return 0 <= self._clock() - since < seconds

    def _was_valid(self, digest: bytes) -> bool:
        return self._clock() < self._valid.get(digest, (NEVER, NEVER))[0]

    def _pause(self, digest: bytes) -> None:
        if digest in self._valid:
            self._valid[digest] = self._valid[digest][0], self._clock()

    def _remember_valid(self, digest: bytes, expires_at: float) -> None:
        self._valid[digest] = expires_at, NEVER
        self._valid.move_to_end(digest)
        while len(self._valid) > MAX_VALID_TOKENS:
            self._valid.popitem(last=False)

    def _deny(self, digest: bytes) -> None:
        self._valid.pop(digest, None)
        while len(self._denied) >= MAX_DENIED_TOKENS:
            self._denied.popitem(last=False)
        self._denied[digest] = self._clock()


def _check_type(claims: Mapping[str, Any], cnf: Mapping[str, Any]) -> None:
    """`token_type`, if present, must be that of an access token; a DPoP token must name its key."""
    token_type = claims.get("token_type", "bearer")
    if not isinstance(token_type, str) or token_type.lower() not in _TYPES:
        raise refusal("type")
    if token_type.lower() == "dpop" and "jkt" not in cnf:
        raise refusal("sender-constrained")


def _read_use(claims: Mapping[str, Any]) -> object:
    """`token_use` in one spelling; some servers write `access_token`."""
    use = claims.get("token_use", "access")
    return "access" if use == "access_token" else use
