"""Caches verified tokens by SHA-256 until they expire. In memory, bounded; the least recently used is dropped first.

What can change during a token's life (the issuer's keys, revocation, possession of a bound key) is not cached: the
verifier checks it at every use.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.identity.principal import Principal


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """The result of a verification, valid from `since` until `until` (Unix seconds): a clock that was set back must not
    make it last longer. `key_digest` is that of the signing key, None for an introspected token. `cnf` names the keys
    that the sender must hold."""

    principal: Principal
    since: float
    until: float
    key_digest: bytes | None
    cnf: Mapping[str, object] = field(default_factory=dict)


class TokenCache:
    """At most `size` verified tokens of one process."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._tokens: OrderedDict[bytes, VerifiedToken] = OrderedDict()

    def get(self, digest: bytes, now: float) -> VerifiedToken | None:
        """The token with this SHA-256; None if it is unknown or not valid now."""
        found = self._tokens.get(digest)
        if found is None:
            return None
        if not found.since <= now < found.until:
            del self._tokens[digest]
            return None
        self._tokens.move_to_end(digest)
        return found

    def put(self, digest: bytes, token: VerifiedToken) -> None:
        """Store a token."""
        self._tokens[digest] = token
        self._tokens.move_to_end(digest)
        while len(self._tokens) > self._size:
            self._tokens.popitem(last=False)

    def __len__(self) -> int:
        return len(self._tokens)
