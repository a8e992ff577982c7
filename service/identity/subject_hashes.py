"""Keyed hashes of (issuer, subject), which recognize a person after an erasure. Pure: owns no state.

HMAC-SHA256 (RFC 2104) with keys from the settings, outside the database. Without the key, a stored hash can neither be
inverted nor compared with guessed subjects.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from service.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_KEY_CHARS: Final = 32
_HASH: Final = b"timewarden erased subject 1\x00"
_NAME: Final = b"timewarden erasure key name 1\x00"


class SubjectHashes:
    """`keys`: the newest first. The newest makes the hashes that are stored; the others still recognize older hashes.
    Raises Misconfigured for a key that is too short."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        if any(len(key) < MIN_KEY_CHARS for key in keys):
            raise Misconfigured(f"Each of TIMEWARDEN_ERASURE_KEYS must have {MIN_KEY_CHARS} characters or more")
        self._keys = tuple(key.encode() for key in keys)
        self.names = tuple(hmac.digest(key, _NAME, hashlib.sha256)[:8].hex() for key in self._keys)

    def compute(self, issuer: str, subject: str) -> list[bytes]:
        """The hash under every key, the newest key's first; empty without a key."""
        message = _HASH + _frame(issuer) + _frame(subject)
        return [hmac.digest(key, message, hashlib.sha256) for key in self._keys]


# Recognizes nobody, which is enough until the first erasure.
NO_KEYS: Final = SubjectHashes()


def _frame(text: str) -> bytes:
    """The length and then the text, so that no two pairs of texts give the same bytes."""
    raw = text.encode()
    return len(raw).to_bytes(4, "big") + raw
