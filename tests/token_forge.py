"""Makes access tokens, good and bad, with real keys, and the key sets for them. Shared by the tests of identity.

What no library would sign (repeated members, other encodings, odd headers) is put together here byte by byte.
"""

from __future__ import annotations

import base64
import json
import time
from functools import cache
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from service.identity.credentials import RequestCredentials
from service.identity.issuer import Issuer
from service.identity.key_source import FetchedKeys, KeysNotFetched
from service.identity.keys import KeyTiming
from service.identity.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# When the tests were collected: a long run must not make tokens expire under way.
NOW = int(time.time())
ISSUER = "https://issuer.example/"
AUDIENCE = "https://api.example/timesheets"
ABSENT = object()
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@cache
def rsa_key(name: str = "first", bits: int = 2048) -> rsa.RSAPrivateKey:
    """A real RSA key, the same for the same name in one run."""
    assert name
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ec_key(name: str = "first") -> ec.EllipticCurvePrivateKey:
    """A real P-256 key."""
    assert name
    return ec.generate_private_key(ec.SECP256R1())


@cache
def ed_key(name: str = "first") -> ed25519.Ed25519PrivateKey:
    """A real Ed25519 key."""
    assert name
    return ed25519.Ed25519PrivateKey.generate()


def jwk(key: PrivateKey, kid: str | None, **members: Any) -> dict[str, Any]:
    """The public JWK of a key."""
    if isinstance(key, rsa.RSAPrivateKey):
        public = json.loads(RSAAlgorithm.to_jwk(key.public_key()))
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        public = json.loads(OKPAlgorithm.to_jwk(key.public_key()))
    else:
        public = json.loads(ECAlgorithm.to_jwk(key.public_key()))
    public.pop("key_ops", None)
    return {**public, **({} if kid is None else {"kid": kid}), **members}


def jwks(*keys: Mapping[str, Any]) -> bytes:
    """A JWK Set as served."""
    return json.dumps({"keys": keys}).encode()


def good_jwks() -> bytes:
    """The key set with which `good_token` verifies."""
    return jwks(
        jwk(rsa_key(), "rsa-1", use="sig"),
        jwk(ec_key(), "ec-1", use="sig", alg="ES256"),
        jwk(ed_key(), "ed-1", use="sig"),
    )


def claims(**changes: Any) -> dict[str, Any]:
    """Claims that are accepted, changed; ABSENT takes one out."""
    now = NOW
    good: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "auth0|ana",
        "client_id": "web-app",
        "jti": "token-1",
        "iat": now - 10,
        "exp": now + 3600,
        "scope": "read:timesheets create:timesheets",
        **changes,
    }
    return {name: value for name, value in good.items() if value is not ABSENT}


def header(**changes: Any) -> dict[str, Any]:
    """A header that is accepted for the RSA key, changed."""
    good: dict[str, Any] = {"alg": "RS256", "typ": "at+jwt", "kid": "rsa-1", **changes}
    return {name: value for name, value in good.items() if value is not ABSENT}


def encoded(data: bytes) -> bytes:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def signed(head: bytes | Mapping[str, Any], body: bytes | Mapping[str, Any], key: PrivateKey | None = None) -> bytes:
    """A compact JWS over any header and payload; the signature is that of the header's family, by default RS256."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (head, body)]
    signing_input = b".".join(encoded(part) for part in parts)
    return signing_input + b"." + encoded(signature(signing_input, key or rsa_key(), parts[0]))


def signature(data: bytes, key: PrivateKey, head: bytes = b"") -> bytes:
    """The raw JWS signature (RFC 7518 sections 3.3 to 3.5)."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if b'"PS256"' in head:
        return key.sign(data, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    return key.sign(data, padding.PKCS1v15(), hashes.SHA256())


def good_token(**changes: Any) -> bytes:
    """An RS256 token with these claims."""
    return signed(header(), claims(**changes))


def good_ec_token(**changes: Any) -> bytes:
    """An ES256 token with these claims."""
    return signed(header(alg="ES256", kid="ec-1"), claims(**changes), ec_key())


class HeldKeys:
    """A key source in memory: what it serves can be changed, and it counts how often it was asked."""

    def __init__(self, body: bytes | None, *, max_age: float = 300.0) -> None:
        self.body = body
        self.max_age = max_age
        self.asked = 0
        self.wait: Callable[[], Any] | None = None

    async def fetch(self) -> FetchedKeys:
        self.asked += 1
        if self.wait is not None:
            await self.wait()
        if self.body is None:
            raise KeysNotFetched("unreachable")
        return FetchedKeys(self.body, self.max_age)

    async def close(self) -> None:
        """Nothing is held open."""


def issuer(**changes: Any) -> Issuer:
    """The issuer of good tokens, changed."""
    return Issuer(**{"name": "example", "issuer": ISSUER, "audience": AUDIENCE, "jwks_url": f"{ISSUER}jwks", **changes})


def verifier(*issuers: Issuer, body: bytes | None = None, **options: Any) -> Tokens:
    """A verifier that holds the good keys, or `body`, and for which it is always NOW."""
    held = HeldKeys(good_jwks() if body is None else body)
    given = {"clock": lambda: float(NOW), "timing": KeyTiming(spacing=0.0), **options}
    return Tokens(issuers or (issuer(),), source=lambda _: held, **given)


def bearer(token: bytes | str) -> RequestCredentials:
    """A request with this token."""
    return RequestCredentials((b"Bearer " + (token if isinstance(token, bytes) else token.encode()),))
