"""Signed JWTs in their compact form (RFC 7515): reads the unverified parts, checks the header, checks the signature.

Pure: owns no state. Nothing that is read before the signature check is trusted; it only selects the issuer and the key
(RFC 8725bis section 3.14). Nothing in a header causes a fetch, and no key in it is used (RFC 8725 sections 3.1, 3.10,
3.11).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jwt import PyJWS
from jwt.algorithms import OKPAlgorithm
from jwt.exceptions import PyJWTError

from service.identity.issuer import NO_TYPE, shorten_type
from service.identity.refusals import refusal
from service.identity.strict_json import read_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from service.identity.issuer import Issuer
    from service.identity.jwk_set import VerificationKey


MAX_TOKEN_BYTES = 16_384
_COMPACT_JWS = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_COMPACT_JWE = re.compile(rb"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*){4}")


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A token whose signature is not checked yet."""

    unverified_header: dict[str, Any]
    unverified_claims: dict[str, Any]


def read_token(token: bytes) -> UnverifiedToken:
    """Read the header and claims of a compact JWS. Raises InvalidToken if it is not strictly one (RFC 7515 section
    7.1)."""
    if len(token) > MAX_TOKEN_BYTES:
        raise refusal("too-large")
    if _COMPACT_JWS.fullmatch(token) is None:
        raise refusal("format")
    header, claims, signature = token.split(b".")
    _decode(signature)
    return UnverifiedToken(_decode_object(header), _decode_object(claims))


def looks_like_a_jwt(token: bytes) -> bool:
    """Whether the token has the three parts of a signed JWT or the five of an encrypted one, or is a damaged JWT with a
    dot and the start of a JSON object in base64url. None of these is ever sent to an issuer."""
    damaged = token[:2] in {b"ey", b"ew"} and b"." in token
    return damaged or token.count(b".") in {2, 4} or _COMPACT_JWE.fullmatch(token) is not None


def _decode_object(segment: bytes) -> dict[str, Any]:
    try:
        return read_object(_decode(segment))
    except ValueError as error:
        raise refusal("json") from error


def _decode(segment: bytes) -> bytes:
    """Decode one part. Refuses a non-canonical spelling of the same bytes (RFC 4648 section 3.5)."""
    padded = segment + b"=" * (-len(segment) % 4)
    try:
        data = base64.b64decode(padded, altchars=b"-_", validate=True)
    except ValueError as error:
        raise refusal("encoding") from error
    if base64.urlsafe_b64encode(data).rstrip(b"=") != segment:
        raise refusal("encoding")
    return data


MAX_KID_CHARS = 256
_EXTENSIONS = ("crit", "b64", "zip")
_EMBEDDED_KEYS = ("jwk", "jku", "x5u", "x5c")


def check_extensions(header: Mapping[str, Any]) -> None:
    """Refuse extensions and embedded keys. We understand no critical extension (RFC 7515 section 4.1.11)."""
    if any(name in header for name in _EXTENSIONS):
        raise refusal("critical")
    if any(name in header for name in _EMBEDDED_KEYS):
        raise refusal("embedded-key")


def read_token_type(header: Mapping[str, Any], issuer: Issuer) -> str:
    """The token's `typ` in its short form, which must be one of the issuer's; NO_TYPE if it is absent and allowed."""
    if "typ" not in header:
        typ = NO_TYPE
    else:
        given = header["typ"]
        if not isinstance(given, str) or not given.isascii() or not given:
            raise refusal("header")
        typ = shorten_type(given)
    if typ not in issuer.accepted_types:
        raise refusal("type")
    return typ


def read_algorithm(header: Mapping[str, Any], issuer: Issuer) -> str:
    """The `alg`, which must be one of the issuer's; case-sensitive."""
    given = header.get("alg")
    if not isinstance(given, str):
        raise refusal("header")
    if given not in issuer.algorithms:
        raise refusal("algorithm")
    return given


def read_key_id(header: Mapping[str, Any]) -> str | None:
    """The `kid`, a bounded string that is only used to look up a key; None if absent."""
    if "kid" not in header:
        return None
    given = header["kid"]
    if not isinstance(given, str) or not 0 < len(given) <= MAX_KID_CHARS:
        raise refusal("header")
    return given


def check_signature(token: bytes, keys: Iterable[VerificationKey], algorithm: str) -> VerificationKey:
    """The first of `keys` that signed the token's bytes with `algorithm`. Raises InvalidToken if none of them did."""
    failure: PyJWTError | None = None
    for key in keys:
        try:
            JWS.decode_complete(token, key.by_algorithm[algorithm].key, algorithms=[algorithm])
        except PyJWTError as error:
            failure = error
        else:
            return key
    raise refusal("signature") from failure


# PyJWT knows `EdDSA` but not `Ed25519`, its name in RFC 9864. Both mean the curve Ed25519, because `jwk_set` builds no
# key of another curve.
JWS = PyJWS(options={"verify_signature": True, "enforce_minimum_key_length": True})
JWS.register_algorithm("Ed25519", OKPAlgorithm())
