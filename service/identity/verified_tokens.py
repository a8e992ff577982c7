"""Remembers tokens that were verified, by SHA-256, until they expire. In memory, bounded, least used goes first.

What may change during a token's life (the issuer's keys, revocation, possession of a bound key) is not remembered: the
verifier asks anew at every use.
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
    """What verification found, believed until `until` (Unix seconds). `key_digest` names the key that signed, None when
    the issuer itself said so; `cnf` holds the keys that the sender must have."""

    principal: Principal
    until: float
    key_digest: bytes | None
    cnf: Mapping[str, object] = field(default_factory=dict)


class VerifiedTokens:
    """At most `size` verified tokens of one process."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: OrderedDict[bytes, VerifiedToken] = OrderedDict()

    def get(self, digest: bytes, now: float) -> VerifiedToken | None:
        """The token with this SHA-256, unless it is unknown or has expired."""
        found = self._held.get(digest)
        if found is None:
            return None
        if found.until <= now:
            del self._held[digest]
            return None
        self._held.move_to_end(digest)
        return found

    def put(self, digest: bytes, token: VerifiedToken) -> None:
        """Remember a token."""
        self._held[digest] = token
        self._held.move_to_end(digest)
        while len(self._held) > self._size:
            self._held.popitem(last=False)

    def __len__(self) -> int:
        return len(self._held)
