"""Judges opaque tokens by what their issuer says of them (RFC 7662 section 4). Owns the questions under way, a small
memory of denials and one of tokens that were good; all are bounded and die with the process. Positive answers are
remembered by `tokens`.

Anybody can make up tokens, so a question about an unknown one is counted before it is asked. A token that was good is
asked about again without being counted: a neighbour who sends junk from the same address cannot lock its holder out.
While the issuer fails, such a token is asked about once in a while, however often it is sent.
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
from service.identity.claims import TokenValidity, check_audience, check_time, check_use, confirmation
from service.identity.issuer import NO_TYPE
from service.identity.jwt_access_tokens import unwatched
from service.identity.principal_claims import client_id, principal
from service.identity.refusals import refusal
from service.identity.verified_tokens import VerifiedToken
from service.slots import slot_free

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.identity.introspection import Introspector
    from service.identity.issuer import Issuer
    from service.identity.jwt_access_tokens import Step
    from service.identity.presented import Asking

# Questions under way about any tokens, and how many more there may be about tokens that were good.
MAX_UNDER_WAY = 100
MAX_MORE_ABOUT_GOOD = 20
MAX_DENIED = 1000
MAX_GOOD = 10_000
PAUSE_AFTER_FAILURE_SECONDS = 1.0
_TYPES = frozenset({"bearer", "dpop", "access_token"})


class OpaqueTokens:
    """The tokens of the one issuer that is asked about them. `clock` gives Unix seconds."""

    def __init__(self, issuer: Issuer, introspector: Introspector, *, clock: Callable[[], float] = time.time) -> None:
        if issuer.introspection is None:
            raise Misconfigured(f"Issuer {issuer.name} has no introspection")
        self._issuer = issuer
        self._rules = issuer.introspection
        self._introspector = introspector
        self._clock = clock
        self._under_way: dict[bytes, asyncio.Task[Mapping[str, Any]]] = {}
        self._denied: OrderedDict[bytes, float] = OrderedDict()
        # When the token expires, and when it may be asked about again.
        self._good: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    async def judge(self, token: bytes, step: Step = unwatched, asking: Asking = nullcontext) -> VerifiedToken:
        """What the issuer says the token is. `asking` is as in `Presented`; who joins a question does not enter it.

        Raises InvalidToken, IntrospectionUnavailable when the issuer does not say, and what `asking` raises.
        """
        digest = hashlib.sha256(token).digest()
        step("introspection")
        if self._clock() < self._denied.get(digest, 0.0):
            raise refusal("inactive")
        if digest not in self._under_way and self._clock() < self._good.get(digest, (0.0, 0.0))[1]:
            raise IntrospectionUnavailable(cause="the issuer failed a moment ago")
        counted = asking if digest not in self._under_way and not self._was_good(digest) else nullcontext
        async with counted():
            try:
                claims = await self._ask_once(digest, token)
            except IntrospectionUnavailable:
                self._pause(digest)
                raise
            try:
                verified = self._read(claims, step)
            except InvalidToken:
                self._deny(digest)
                raise
        self._remember_good(digest, verified.principal.expires_at)
        return verified

    async def close(self) -> None:
        """Give up what is under way."""
        for task in tuple(self._under_way.values()):
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        await self._introspector.close()

    def _read(self, claims: Mapping[str, Any], step: Step) -> VerifiedToken:
        """Nothing but `active: true` lets a token in; all else is checked as in a JWT that has no type of its own."""
        if claims.get("active") is not True:
            raise refusal("inactive")
        step("issuer")
        if claims.get("iss", self._issuer.issuer) != self._issuer.issuer:
            raise refusal("issuer")
        step("type")
        cnf = confirmation(claims)
        _check_type(claims, cnf)
        now = self._clock()
        step("time")
        validity = self._validity(claims, now)
        step("client")
        client = client_id(claims, self._issuer, NO_TYPE)
        step("audience")
        if "aud" in claims or not self._rules.audience_optional:
            check_audience(claims, self._issuer, client)
        step("use")
        check_use({**claims, "token_use": _use(claims)}, NO_TYPE, client)
        if self._rules.subject_optional and "sub" not in claims and "username" not in claims:
            claims = {**claims, "sub": client}  # nobody authorized it but the client itself (RFC 7662 section 2.2)
        asker = principal(claims, self._issuer, NO_TYPE, client, validity, step)
        step("sender")
        return VerifiedToken(asker, min(asker.expires_at, now + self._rules.positive_seconds), None, cnf)

    def _validity(self, claims: Mapping[str, Any], now: float) -> TokenValidity:
        """As in a JWT, but that `iat` may be absent: the token then counts as older than any revocation."""
        if "iat" in claims:
            return check_time(claims, self._issuer, now)
        validity = check_time({**claims, "iat": int(now)}, self._issuer, now)
        return replace(validity, issued_at=0)

    async def _ask_once(self, digest: bytes, token: bytes) -> Mapping[str, Any]:
        """One question for all who present this token now; who goes away does not stop it for the others."""
        task = self._under_way.get(digest)
        if task is None:
            most = MAX_UNDER_WAY + (MAX_MORE_ABOUT_GOOD if self._was_good(digest) else 0)
            if len(self._under_way) >= most:
                raise IntrospectionUnavailable(cause="too many introspections under way")
            task = asyncio.create_task(self._introspector.ask(token))
            self._under_way[digest] = task
            task.add_done_callback(lambda done: self._finished(digest, done))
        async with slot_free():
            return await asyncio.shield(task)

    def _finished(self, digest: bytes, done: asyncio.Task[Mapping[str, Any]]) -> None:
        del self._under_way[digest]
        if not done.cancelled():
            done.exception()  # whoever waited has it; nobody may have waited to the end

    def _was_good(self, digest: bytes) -> bool:
        return self._clock() < self._good.get(digest, (0.0, 0.0))[0]

    def _pause(self, digest: bytes) -> None:
        if digest in self._good:
            self._good[digest] = self._good[digest][0], self._clock() + PAUSE_AFTER_FAILURE_SECONDS

    def _remember_good(self, digest: bytes, expires_at: float) -> None:
        self._good[digest] = expires_at, 0.0
        self._good.move_to_end(digest)
        while len(self._good) > MAX_GOOD:
            self._good.popitem(last=False)

    def _deny(self, digest: bytes) -> None:
        self._good.pop(digest, None)
        while len(self._denied) >= MAX_DENIED:
            self._denied.popitem(last=False)
        self._denied[digest] = self._clock() + self._rules.negative_seconds


def _check_type(claims: Mapping[str, Any], cnf: Mapping[str, Any]) -> None:
    """`token_type`, if told, is that of an access token; one that is called DPoP must name its key."""
    told = claims.get("token_type", "bearer")
    if not isinstance(told, str) or told.lower() not in _TYPES:
        raise refusal("type")
    if told.lower() == "dpop" and "jkt" not in cnf:
        raise refusal("sender-constrained")


def _use(claims: Mapping[str, Any]) -> object:
    """`token_use`, in one spelling: some servers say `access_token`."""
    told = claims.get("token_use", "access")
    return "access" if told == "access_token" else told
