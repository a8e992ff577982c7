"""Verifies access tokens: from what a request presents to a Principal, or a refusal with its cause.

Tokens owns one KeySet an issuer and the memory of verified tokens; nothing is durable. A token is judged once and then
remembered; what may change while it lives (its key, its revocation, its sender) is asked about at every use.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from service.errors import Misconfigured
from service.identity.credentials import credentials
from service.identity.introspection import HttpIntrospector
from service.identity.jwt_access_tokens import judge, unwatched
from service.identity.key_source import HttpKeySource
from service.identity.keys import KeySet
from service.identity.opaque_tokens import OpaqueTokens
from service.identity.presented import unbound_tokens_alone
from service.identity.refusals import refusal
from service.identity.token_format import MAX_TOKEN_BYTES, looks_like_a_jwt
from service.identity.verified_tokens import VerifiedToken, VerifiedTokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.identity.introspection import Introspector
    from service.identity.issuer import Issuer
    from service.identity.jwt_access_tokens import Step
    from service.identity.key_source import KeySource
    from service.identity.keys import KeyState, KeyTiming
    from service.identity.presented import Asking, Presented, SenderCheck
    from service.identity.principal import Principal


class Tokens:
    """The verifier. `clock` gives Unix seconds; `remembered` bounds the tokens kept; `source` says where keys are had
    and `introspector` how an issuer is asked about opaque tokens.

    Raises Misconfigured when there is no issuer, when two have the same `iss`, name or prefix, or when two want to be
    asked about opaque tokens: such a token does not say which of them made it.
    """

    def __init__(
        self,
        issuers: Sequence[Issuer],
        *,
        source: Callable[[Issuer], KeySource] = HttpKeySource,
        introspector: Callable[[Issuer, KeySet], Introspector] = HttpIntrospector,
        timing: KeyTiming | None = None,
        clock: Callable[[], float] = time.time,
        remembered: int = 10_000,
        sender: SenderCheck = unbound_tokens_alone,
    ) -> None:
        known = _apart(issuers)
        self._trusted = {one.issuer: (one, KeySet(one, source(one), timing=timing)) for one in known}
        asked = [one for one in known if one.introspection is not None]
        self._opaque = (
            OpaqueTokens(asked[0], introspector(asked[0], self._trusted[asked[0].issuer][1]), clock=clock)
            if asked
            else None
        )
        self._clock = clock
        self._verified = VerifiedTokens(remembered)
        self._sender = sender

    async def start(self) -> None:
        """Fetch the keys of every issuer and keep them fresh; those that are down are tried again in the background."""
        await asyncio.gather(*(keys.start() for _, keys in self._trusted.values()))

    async def close(self) -> None:
        """Stop refreshing keys and let go of connections."""
        for _, keys in self._trusted.values():
            await keys.close()
        if self._opaque is not None:
            await self._opaque.close()

    def states(self) -> tuple[KeyState, ...]:
        """The state of each issuer's keys, for readiness."""
        return tuple(keys.state() for _, keys in self._trusted.values())

    async def verify(self, presented: Presented) -> Principal:
        """Who asks. Raises MissingToken, MalformedCredentials, InvalidToken (with a cause), KeysUnavailable or
        IntrospectionUnavailable when the token could not be judged because its issuer cannot be asked, and what
        `presented.asking` raises.
        """
        scheme, token = credentials(presented.authorization)
        digest = hashlib.sha256(token).digest()
        verified = self._verified.get(digest, self._clock())
        if verified is None or not self._still_signed(verified):
            verified = await self.judge(token, asking=presented.asking)
            self._verified.put(digest, verified)
        await self._sender(scheme, token, verified.cnf, presented)
        return verified.principal

    async def judge(self, token: bytes, step: Step = unwatched, asking: Asking = nullcontext) -> VerifiedToken:
        """What the token says by itself, without memory, sender and revocation. `step` hears of each check before it;
        `asking` is as in `Presented`.

        What looks like a JWT is judged as one and never shown to an issuer: a JWT that fails here stays refused.
        """
        if len(token) > MAX_TOKEN_BYTES:
            step("shape")
            raise refusal("too-large")
        if self._opaque is None or looks_like_a_jwt(token):
            return await judge(token, self._trusted, self._clock(), step)
        return await self._opaque.judge(token, step, asking)

    def _still_signed(self, verified: VerifiedToken) -> bool:
        """Whether the key that signed is still published. An introspected token has none."""
        if verified.key_digest is None:
            return True
        return self._trusted[verified.principal.issuer][1].holds(verified.key_digest)


def _apart(issuers: Sequence[Issuer]) -> list[Issuer]:
    """The issuers, each knowing the others' prefixes."""
    if not issuers or len({issuer.issuer for issuer in issuers}) != len(issuers):
        raise Misconfigured("Name at least one issuer, and each only once")
    if len({issuer.name for issuer in issuers}) != len(issuers):
        raise Misconfigured("Give each issuer a name of its own")
    prefixes = [issuer.prefix for issuer in issuers]
    if len(set(prefixes)) != len(prefixes):
        raise Misconfigured("Give each issuer a prefix of its own; one of them may go without")
    if sum(issuer.introspection is not None for issuer in issuers) > 1:
        raise Misconfigured("Only one issuer can be asked about opaque tokens, which do not say who made them")
    return [replace(issuer, foreign_prefixes=frozenset(prefixes) - {issuer.prefix, ""}) for issuer in issuers]
