"""A JWK Set as published by an issuer: which of its keys may check which signature (RFC 7517). Pure: owns no state.

Keys that are not for us (encryption keys, secrets, unknown kinds) are skipped silently: an issuer may publish keys that
we do not understand (RFC 7517 section 5). Signature keys that are weak, unreadable or published with their private part
are refused by name. Neither affects the other keys of the set.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jwt import PyJWK
from jwt.exceptions import PyJWTError

from service.identity.issuer import KEY_TYPES
from service.identity.strict_json import read_object
from service.identity.weak_keys import find_weakness

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


MAX_KEYS = 100
# A signature is checked with each key of the name that the token gives, as long as there are no more.
MAX_KEYS_PER_KID = 8
MAX_KID_CHARS_SHOWN = 64
_MEMBERS = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y"), "OKP": ("kty", "crv", "x")}
# PyJWT's name for what RFC 9864 calls Ed25519; KEY_TYPES limits both to that curve.
_PYJWT_NAMES = {"Ed25519": "EdDSA"}
_PRIVATE_MEMBERS = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A usable public key. `digest` identifies its material inside this process; `by_algorithm` holds it ready for
    use."""

    kid: str | None
    digest: bytes
    by_algorithm: Mapping[str, PyJWK] = field(repr=False)


@dataclass(frozen=True, slots=True)
class RefusedKey:
    """A signature key that is not used. `why` is a slug of `weak_keys`, `unreadable` or `private`. A token that names
    the key is refused with the cause `key-` and the slug (`refusals`)."""

    kid: str | None
    why: str

    def __str__(self) -> str:
        name = "a key without kid" if self.kid is None else f"key {self.kid[:MAX_KID_CHARS_SHOWN]!a}"
        return f"{name} ({self.why})"


@dataclass(frozen=True, slots=True)
class JwkSet:
    """The usable keys of one answer, and the refused ones."""

    keys: tuple[VerificationKey, ...]
    digests: frozenset[bytes]
    refused: tuple[RefusedKey, ...] = ()

    def candidates(self, kid: str | None, algorithm: str) -> tuple[VerificationKey, ...]:
        """The keys that may have made a signature, each once: those with this `kid`, or all if the token has none."""
        fitting = (key for key in self.keys if (kid is None or key.kid == kid) and algorithm in key.by_algorithm)
        return tuple({key.digest: key for key in fitting}.values())

    def refused_for(self, kid: str | None) -> RefusedKey | None:
        """The refused key that a token names; the first one if the token has no `kid`."""
        return next((key for key in self.refused if kid is None or key.kid == kid), None)


def read_jwk_set(body: bytes, algorithms: Iterable[str]) -> JwkSet:
    """The keys of `body` that fit `algorithms`. Raises ValueError if it is not a JWK Set or has more than 100 keys."""
    listed = read_object(body).get("keys")
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise ValueError("no list of at most 100 keys")
    allowed = frozenset(algorithms)
    # Also of keys that are not for us: every reader of the set can sign with them.
    shown = [
        _material(jwk) for jwk in listed if isinstance(jwk, dict) and any(name in jwk for name in _PRIVATE_MEMBERS)
    ]
    read = [_read_key(jwk, allowed, shown) for jwk in listed]
    keys = tuple(key for key in read if isinstance(key, VerificationKey))
    refused = tuple(key for key in read if isinstance(key, RefusedKey))
    return JwkSet(keys, frozenset(key.digest for key in keys), refused)


def _material(jwk: Mapping[str, Any]) -> dict[str, Any]:
    """The members that make up the public key."""
    return {name: jwk.get(name) for name in _MEMBERS.get(str(jwk.get("kty")), ())}


def _read_key(
    jwk: object, allowed: frozenset[str], shown: Sequence[dict[str, Any]]
) -> VerificationKey | RefusedKey | None:
    """None for a key that is not for us. `shown`: the material of keys that are published with their private part."""
    if not isinstance(jwk, dict) or not _is_for_signatures(jwk):
        return None
    kty, crv, kid = jwk.get("kty"), jwk.get("crv"), jwk.get("kid")
    if kid is not None and not isinstance(kid, str):
        return None
    fitting = [name for name in allowed if KEY_TYPES[name] == (kty, None if kty == "RSA" else crv)]
    if "alg" in jwk:
        fitting = [name for name in fitting if name == jwk["alg"]]
    if not fitting:
        return None
    material = _material(jwk)
    by_algorithm = {name: built for name in fitting if (built := _build(material, name)) is not None}
    if material in shown:
        why: str | None = "private"
    else:
        why = find_weakness(next(iter(by_algorithm.values())).key) if by_algorithm else "unreadable"
    if why is not None:
        return RefusedKey(kid, why)
    canonical = json.dumps([kid, material], sort_keys=True).encode()
    return VerificationKey(kid, hashlib.sha256(canonical).digest(), by_algorithm)


def _is_for_signatures(jwk: Mapping[str, Any]) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _build(material: dict[str, Any], algorithm: str) -> PyJWK | None:
    """The key for one algorithm. The algorithm is passed because PyJWK would bind an RSA key without `alg` to RS256."""
    try:
        return PyJWK(material, algorithm=_PYJWT_NAMES.get(algorithm, algorithm))
    except (PyJWTError, ValueError, TypeError, AttributeError):
        return None


_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")


def thumbprint(jwk: Mapping[str, object]) -> str:
    """The SHA-256 thumbprint in base64url (RFC 7638, RFC 8037 section 2). Raises ValueError for an unknown kind of key
    or an invalid member."""
    required = _MEMBERS.get(str(jwk.get("kty")))
    if required is None:
        raise ValueError("no public key of a known kind")
    members = {name: jwk.get(name) for name in required}
    if not all(isinstance(value, str) and _BASE64URL.fullmatch(value) for value in members.values()):
        raise ValueError("a required member is missing or not base64url")
    return digest64(json.dumps(members, sort_keys=True, separators=(",", ":")).encode())


def digest64(data: bytes) -> str:
    """SHA-256 in base64url without padding, as `jkt`, `ath` and `x5t#S256` are written."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
