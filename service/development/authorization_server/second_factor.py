"""The demo second factor: one-time codes (RFC 6238) of public secrets, so that the page itself can show the code.

It protects nothing, but makes `amr` and `acr` true. Owns no state.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import time

_STEP_SECONDS = 30
_DIGITS = 6


def demo_code(login: str, at: float | None = None) -> str:
    """The six digits of this demo person at this time; now by default."""
    counter = int((time.time() if at is None else at) // _STEP_SECONDS)
    digest = hmac.new(_secret(login), struct.pack(">Q", counter), hashlib.sha1).digest()
    offset = digest[-1] & 0xF
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return str(number % 10**_DIGITS).zfill(_DIGITS)


def is_demo_code(login: str, code: str) -> bool:
    """Whether it is the code of this half minute or of the previous one."""
    now = time.time()
    given = "".join(code.split())
    return any(hmac.compare_digest(demo_code(login, at).encode(), given.encode()) for at in (now, now - _STEP_SECONDS))


def _secret(login: str) -> bytes:
    return hashlib.sha256(f"demo second factor of {login}".encode()).digest()[:20]
