"""A JWK Set as published by an issuer: which of its keys may check which signature (RFC 7517). Pure: owns no state.

Keys that are unfit for us (encryption keys, secrets, short RSA keys, unknown kinds) are left out, not fatal: an issuer
may publish keys that we do not understand (RFC 7517 section 5).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from service.identity.issuer import KEY_TYPES
from service.identity.strict_json import read_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_KEYS = 100
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
_MATERIAL = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y"), "OKP": ("kty", "crv", "x")}
# PyJWT's name for what RFC 9864 calls Ed25519; KEY_TYPES holds both to that curve.
_PYJWT_NAMES = {"Ed25519": "EdDSA"}
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One fit public key. `digest` names its material and never leaves; `by_algorithm` holds it ready for use."""

    kid: str | None
    digest: bytes
    by_algorithm: Mapping[str, PyJWK] = field(repr=False)


@dataclass(frozen=True, slots=True)
class JwkSet:
    """The fit keys of one answer."""

    keys: tuple[VerificationKey, ...]
    digests: frozenset[bytes]

    def candidates(self, kid: str | None, algorithm: str) -> tuple[VerificationKey, ...]:
        """The keys that may have made a signature: those of this `kid`, or all when the token names none."""
        return tuple(key for key in self.keys if (kid is None or key.kid == kid) and algorithm in key.by_algorithm)


def read_jwk_set(body: bytes, algorithms: Iterable[str]) -> JwkSet:
    """The keys of `body` that fit `algorithms`. Raises ValueError when it is not a JWK Set, or one of over 100 keys."""
    listed = read_object(body).get("keys")
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise ValueError("no list of at most 100 keys")
    allowed = frozenset(algorithms)
    keys = tuple(key for key in (_read_key(jwk, allowed) for jwk in listed) if key is not None)
    return JwkSet(keys, frozenset(key.digest for key in keys))


def _read_key(jwk: object, allowed: frozenset[str]) -> VerificationKey | None:
    if not isinstance(jwk, dict) or not _may_verify(jwk):
        return None
    kty, crv, kid = jwk.get("kty"), jwk.get("crv"), jwk.get("kid")
    if kid is not None and not isinstance(kid, str):
        return None
    fitting = [name for name in allowed if KEY_TYPES[name] == (kty, None if kty == "RSA" else crv)]
    if "alg" in jwk:
        fitting = [name for name in fitting if name == jwk["alg"]]
    if not fitting:
        return None
    material = {name: jwk.get(name) for name in _MATERIAL[str(kty)]}
    by_algorithm = {name: built for name in fitting if (built := _build(material, name)) is not None}
    if not by_algorithm:
        return None
    canonical = json.dumps([kid, material], sort_keys=True).encode()
    return VerificationKey(kid, hashlib.sha256(canonical).digest(), by_algorithm)


def _may_verify(jwk: Mapping[str, Any]) -> bool:
    """A key for signatures, and public: one that was published with its private part belongs to everybody."""
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and not any(name in jwk for name in _PRIVATE)
    )


def _build(material: dict[str, Any], algorithm: str) -> PyJWK | None:
    """The key for one algorithm. Named explicitly: PyJWK alone would bind every RSA key without `alg` to RS256."""
    try:
        key = PyJWK(material, algorithm=_PYJWT_NAMES.get(algorithm, algorithm))
    except (PyJWTError, ValueError, TypeError, AttributeError):
        return None
    if isinstance(key.key, RSAPublicKey) and not MIN_RSA_BITS <= key.key.key_size <= MAX_RSA_BITS:
        return None
    return key
