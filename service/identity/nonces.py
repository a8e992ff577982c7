"""Server nonces for DPoP proofs (RFC 9449 sections 8.2 and 9): the time of this API, signed. Stateless.

Every replica with the same secret gives and takes the same nonces, so there is nothing to share or to lose.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from collections.abc import Callable

STEP = 60
LIFE = 300
_TIME_BYTES = 8
_MAC_BYTES = 16
_TEXT_LENGTH = 32


class Nonces:
    """`secret`: text that all replicas share; the key for nonces is derived from it (HKDF, RFC 5869) and used for
    nothing else. A nonce is new every STEP seconds and is taken for LIFE seconds."""

    def __init__(self, secret: str, *, clock: Callable[[], float] = time.time) -> None:
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"timewarden dpop nonce")
        self._key = derived.derive(secret.encode())
        self._clock = clock

    def current(self) -> str:
        """The nonce to offer now."""
        return self._nonce(int(self._clock()) // STEP)

    def remaining(self, nonce: str) -> float | None:
        """For how many seconds a nonce of ours is still taken; None when it is not ours, or is not taken any more."""
        # One step ahead may be what a replica with a faster clock gave out.
        now = self._clock()
        step = _step_of(nonce)
        if step is None or not hmac.compare_digest(self._nonce(step).encode(), nonce.encode()):
            return None
        left = step * STEP + LIFE - now
        return left if 0 < left <= LIFE + STEP else None

    def _nonce(self, step: int) -> str:
        moment = step.to_bytes(_TIME_BYTES, "big")
        mac = hmac.digest(self._key, moment, hashlib.sha256)[:_MAC_BYTES]
        return base64.urlsafe_b64encode(moment + mac).decode()


def _step_of(nonce: str) -> int | None:
    if len(nonce) != _TEXT_LENGTH or not nonce.isascii():
        return None
    try:
        raw = base64.b64decode(nonce, altchars=b"-_", validate=True)
    except ValueError:
        return None
    return int.from_bytes(raw[:_TIME_BYTES], "big")
