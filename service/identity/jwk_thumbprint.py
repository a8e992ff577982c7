"""The thumbprint that names a public key wherever it is written down (RFC 7638, RFC 8037 section 2). Pure."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_REQUIRED = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


def thumbprint(jwk: Mapping[str, object]) -> str:
    """The SHA-256 thumbprint, base64url. Raises ValueError for a key of another kind, or with a member amiss."""
    required = _REQUIRED.get(str(jwk.get("kty")))
    if required is None:
        raise ValueError("no public key of a known kind")
    members = {name: jwk.get(name) for name in required}
    if not all(isinstance(value, str) and _PLAIN.fullmatch(value) for value in members.values()):
        raise ValueError("a required member is absent or no plain text")
    return digest64(json.dumps(members, sort_keys=True, separators=(",", ":")).encode())


def digest64(data: bytes) -> str:
    """SHA-256 in base64url without padding, as `jkt`, `ath` and `x5t#S256` are written."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
