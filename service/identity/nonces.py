"""Server nonces for DPoP proofs (RFC 9449 sections 8.2 and 9): the server's time, signed. Stateless.

All replicas with the same secret make and accept the same nonces, so they share no state.
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

STEP_SECONDS = 60
LIFETIME_SECONDS = 300
_TIME_BYTES = 8
_MAC_BYTES = 16
_TEXT_LENGTH = 32


class Nonces:
    """`secret`: text that all replicas share; a key for nonces only is derived from it (HKDF, RFC 5869). There is a new
    nonce every STEP_SECONDS, valid for LIFETIME_SECONDS."""

    def __init__(self, secret: str, *, clock: Callable[[], float] = time.time) -> None:
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"timewarden dpop nonce")
        self._key = derived.derive(secret.encode())
        self._clock = clock

    def current(self) -> str:
        """The current nonce."""
        return self._make_nonce(int(self._clock()) // STEP_SECONDS)

    def remaining(self, nonce: str) -> float | None:
        """For how many seconds a nonce is still valid; None if it is not ours or has expired."""
        # A replica with a faster clock may have made a nonce that is one step ahead.
        now = self._clock()
        step = _parse_step(nonce)
        if step is None or not hmac.compare_digest(self._make_nonce(step).encode(), nonce.encode()):
            return None
        left = step * STEP_SECONDS + LIFETIME_SECONDS - now
        return left if 0 < left <= LIFETIME_SECONDS + STEP_SECONDS else None

    def _make_nonce(self, step: int) -> str:
        moment = step.to_bytes(_TIME_BYTES, "big")
        mac = hmac.digest(self._key, moment, hashlib.sha256)[:_MAC_BYTES]
        return base64.urlsafe_b64encode(moment + mac).decode()


def _parse_step(nonce: str) -> int | None:
    if len(nonce) != _TEXT_LENGTH or not nonce.isascii():
        return None
    try:
        raw = base64.b64decode(nonce, altchars=b"-_", validate=True)
    except ValueError:
        return None
    return int.from_bytes(raw[:_TIME_BYTES], "big")
