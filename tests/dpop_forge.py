"""A DPoP client, and makers of proofs that no client should make: real keys, each part open to change.

Shared by the tests of the sender constraint and by those of the running service (RFC 9449 section 4.2).
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.token_forge import ABSENT, encode_part

if TYPE_CHECKING:
    from collections.abc import Mapping

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_EC_HASHES: dict[str, tuple[hashes.HashAlgorithm, int]] = {
    "ES256": (hashes.SHA256(), 32),
    "ES384": (hashes.SHA384(), 48),
    "ES512": (hashes.SHA512(), 66),
}


@dataclass(frozen=True, slots=True)
class ProofKey:
    """A client's key pair for one algorithm."""

    key: PrivateKey
    alg: str = "ES256"

    @property
    def jwk(self) -> dict[str, Any]:
        """The public half, as it stands in a proof."""
        return public_jwk(self.key)

    @property
    def thumbprint(self) -> str:
        """RFC 7638, computed here apart from the service's own."""
        required = sorted(name for name in self.jwk if name in {"crv", "kty", "x", "y", "n", "e"})
        plain = "{" + ",".join(f'"{name}":"{self.jwk[name]}"' for name in required) + "}"
        return encode_part(hashlib.sha256(plain.encode()).digest()).decode()

    def header(self, **changes: Any) -> dict[str, Any]:
        """A proof's header; ABSENT takes a member out."""
        return _apply({"typ": "dpop+jwt", "alg": self.alg, "jwk": self.jwk}, changes)

    def sign(self, head: bytes | Mapping[str, Any], body: bytes | Mapping[str, Any]) -> bytes:
        """A compact JWS over any header and payload."""
        parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (head, body)]
        data = b".".join(encode_part(part) for part in parts)
        return data + b"." + encode_part(raw_signature(self.key, self.alg, data))

    def proof(self, method: str, url: str, token: bytes | str | None = None, **changes: Any) -> bytes:
        """A good proof for one request, its claims changed."""
        return self.sign(self.header(), proof_claims(method, url, token, **changes))


def proof_key(alg: str = "ES256") -> ProofKey:
    """A new key pair."""
    if alg in {"Ed25519", "EdDSA"}:
        return ProofKey(ed25519.Ed25519PrivateKey.generate(), alg)
    if alg in _EC_HASHES:
        curves: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1()}
        return ProofKey(ec.generate_private_key(curves.get(alg, ec.SECP521R1())), alg)
    return ProofKey(rsa.generate_private_key(public_exponent=65537, key_size=2048), alg)


def proof_claims(method: str, url: str, token: bytes | str | None = None, **changes: Any) -> dict[str, Any]:
    """The claims of a good proof; ABSENT removes a claim."""
    claims: dict[str, Any] = {"jti": str(uuid.uuid4()), "htm": method, "htu": url, "iat": int(time.time())}
    if token is not None:
        claims["ath"] = hash_of(token)
    return _apply(claims, changes)


def hash_of(token: bytes | str) -> str:
    """The `ath` of a token."""
    return encode_part(hashlib.sha256(token if isinstance(token, bytes) else token.encode()).digest()).decode()


def public_jwk(key: PrivateKey) -> dict[str, Any]:
    """The public JWK with its required members alone."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        written = RSAAlgorithm.to_jwk(public)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        written = ECAlgorithm.to_jwk(public)
    else:
        written = OKPAlgorithm.to_jwk(public)
    return {name: value for name, value in json.loads(written).items() if name in {"kty", "crv", "x", "y", "n", "e"}}


def private_jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    """Members that must never be in a proof."""
    secret = key.private_numbers().private_value.to_bytes(32, "big")
    return {**public_jwk(key), "d": base64.urlsafe_b64encode(secret).rstrip(b"=").decode()}


def raw_signature(key: PrivateKey, alg: str, data: bytes) -> bytes:
    """The JWS signature (RFC 7518 section 3, RFC 8037 section 3.1)."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        digest, size = _EC_HASHES.get(alg, _EC_HASHES["ES256"])
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    if alg == "PS256":
        return key.sign(data, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    return key.sign(data, padding.PKCS1v15(), hashes.SHA256())


def _apply(good: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**good, **changes}.items() if value is not ABSENT}
