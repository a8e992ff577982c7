"""From a token's bytes to its unverified parts: size, alphabet, canonical encoding, strict JSON. Pure: owns no state.

Nothing in here is trusted yet; what is read only picks the issuer and the key (RFC 8725bis section 3.14: shape first).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any

from service.identity.refusals import refusal
from service.identity.strict_json import read_object

MAX_TOKEN_BYTES = 16_384
_SHAPE = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_ENCRYPTED = re.compile(rb"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*){4}")


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A token whose signature nobody has checked yet."""

    unverified_header: dict[str, Any]
    unverified_claims: dict[str, Any]


def read_token(token: bytes) -> UnverifiedToken:
    """The header and claims of a compact JWS. Raises InvalidToken if it is not strictly one (RFC 7515 section 7.1)."""
    if len(token) > MAX_TOKEN_BYTES:
        raise refusal("too-large")
    if _SHAPE.fullmatch(token) is None:
        raise refusal("format")
    header, claims, signature = token.split(b".")
    _decoded(signature)
    return UnverifiedToken(_object(header), _object(claims))


def looks_like_a_jwt(token: bytes) -> bool:
    """Whether the token has the three parts of a signed JWT or the five of an encrypted one, or is a damaged one: it
    begins as a JSON object does in base64url, and has a dot. None of these is ever shown to an issuer."""
    damaged = token[:2] in {b"ey", b"ew"} and b"." in token
    return damaged or token.count(b".") in {2, 4} or _ENCRYPTED.fullmatch(token) is not None


def _object(segment: bytes) -> dict[str, Any]:
    try:
        return read_object(_decoded(segment))
    except ValueError as error:
        raise refusal("json") from error


def _decoded(segment: bytes) -> bytes:
    """The bytes of one part. Refuses a second spelling of the same bytes (RFC 4648 section 3.5)."""
    padded = segment + b"=" * (-len(segment) % 4)
    try:
        data = base64.b64decode(padded, altchars=b"-_", validate=True)
    except ValueError as error:
        raise refusal("encoding") from error
    if base64.urlsafe_b64encode(data).rstrip(b"=") != segment:
        raise refusal("encoding")
    return data
