"""Makes access tokens, good and bad, with real keys, and the key sets for them.

Tokens that no library would sign (repeated members, other encodings, odd headers) are built byte by byte.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from functools import cache
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from service.identity.credentials import RequestCredentials
from service.identity.issuer import Issuer
from service.identity.key_source import FetchedKeys
from service.identity.keys import KeyTiming
from service.identity.outbound import NoAnswer
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


def encode_part(data: bytes) -> bytes:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def sign(head: bytes | Mapping[str, Any], body: bytes | Mapping[str, Any], key: PrivateKey | None = None) -> bytes:
    """A compact JWS over any header and payload; the signature is that of the header's family, by default RS256."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (head, body)]
    signing_input = b".".join(encode_part(part) for part in parts)
    return signing_input + b"." + encode_part(signature(signing_input, key or rsa_key(), parts[0]))


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
    return sign(header(), claims(**changes))


def good_ec_token(**changes: Any) -> bytes:
    """An ES256 token with these claims."""
    return sign(header(alg="ES256", kid="ec-1"), claims(**changes), ec_key())


Members = dict[str, Any]

# Each fault of the claims, as a change of good ones; ABSENT removes a claim.
CLAIM_FAULTS: Mapping[str, Callable[[Members], Members]] = {
    "no-issuer": lambda _: {"iss": ABSENT},
    "other-issuer": lambda good: {"iss": f"{good['iss']}/"},
    "no-audience": lambda _: {"aud": ABSENT},
    "other-audience": lambda good: {"aud": f"{good['aud']}/"},
    "no-expiry": lambda _: {"exp": ABSENT},
    "expiry-as-text": lambda good: {"exp": str(good["exp"])},
    "endless": lambda _: {"exp": 1e30},
    "not-yet": lambda good: {"nbf": good["iat"] + 3600},
    "from-the-future": lambda good: {"iat": good["iat"] + 1800, "exp": good["iat"] + 3600},
    "no-subject": lambda _: {"sub": ABSENT},
    "numeric-subject": lambda _: {"sub": 7},
    "nul-in-subject": lambda good: {"sub": f"{good['sub']}\x00"},
    "no-client": lambda _: {"client_id": ABSENT},
    "no-id": lambda _: {"jti": ABSENT},
    "id-token": lambda good: {"nonce": "n", "aud": good["client_id"]},
    "bound-to-a-key": lambda _: {"cnf": {"jkt": "0" * 43}},
    "bound-to-an-unknown-kind": lambda _: {"cnf": {"no-such-binding": "x"}},
}


def change_signature(head: Members, body: Members, key: rsa.RSAPrivateKey) -> bytes:
    start, _, last = sign(head, body, key).rpartition(b".")
    raw = base64.urlsafe_b64decode(last + b"==")
    return start + b"." + encode_part(bytes([raw[0] ^ 1]) + raw[1:])


def change_claims(head: Members, body: Members, key: rsa.RSAPrivateKey) -> bytes:
    first, _, last = sign(head, body, key).split(b".")
    return b".".join((first, encode_part(json.dumps({**body, "sub": "dev|adam"}).encode()), last))


def remove_signature(head: Members, body: Members, key: rsa.RSAPrivateKey) -> bytes:
    return sign({**head, "alg": "none"}, body, key).rpartition(b".")[0] + b"."


def use_public_key_as_secret(head: Members, body: Members, key: rsa.RSAPrivateKey) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    secret = key.public_key().public_bytes(serialization.Encoding.PEM, form)
    start = b".".join(encode_part(json.dumps(part).encode()) for part in ({**head, "alg": "HS256"}, body))
    return start + b"." + encode_part(hmac.digest(secret, start, "sha256"))


def embed_key(head: Members, body: Members, _: rsa.RSAPrivateKey) -> bytes:
    return sign({**head, "jwk": jwk(rsa_key("attacker"), None)}, body, rsa_key("attacker"))


def add_extension(head: Members, body: Members, key: rsa.RSAPrivateKey) -> bytes:
    return sign({**head, "crit": ["no-such-extension"], "no-such-extension": True}, body, key)


def repeat_claim(head: Members, body: Members, key: rsa.RSAPrivateKey) -> bytes:
    return sign(head, json.dumps(body).encode()[:-1] + b',"sub":"dev|adam"}', key)


TOKEN_FAULTS: Mapping[str, Callable[[Members, Members, rsa.RSAPrivateKey], bytes]] = {
    "changed-signature": change_signature,
    "changed-claims": change_claims,
    "unsigned": remove_signature,
    "public-key-as-secret": use_public_key_as_secret,
    "unknown-key": lambda head, body, _: sign({**head, "kid": "no-such-key"}, body, rsa_key("attacker")),
    "foreign-key": lambda head, body, _: sign(head, body, rsa_key("attacker")),
    "embedded-key": embed_key,
    "critical": add_extension,
    "repeated-claim": repeat_claim,
}
FAULTS = (*TOKEN_FAULTS, *CLAIM_FAULTS)


def forge(fault: str, head: Members, body: Members, key: rsa.RSAPrivateKey) -> bytes:
    """A token with one fault of FAULTS. `head` and `body` are those of a good RS256 token that `key` signs."""
    if fault in TOKEN_FAULTS:
        return TOKEN_FAULTS[fault](head, body, key)
    changed = {**body, **CLAIM_FAULTS[fault](body)}
    return sign(head, {name: value for name, value in changed.items() if value is not ABSENT}, key)


class HeldKeys:
    """A key source in memory: what it serves can be changed, and it counts how often it was asked."""

    def __init__(self, body: bytes | None, *, max_age: float = 300.0) -> None:
        self.body = body
        self.max_age = max_age
        self.asked = 0
        self.wait: Callable[[], Any] | None = None

    async def fetch(self) -> FetchedKeys:
        self.asked += 1
        body = self.body
        if self.wait is not None:
            await self.wait()
        if body is None:
            raise NoAnswer("unreachable")
        return FetchedKeys(body, self.max_age)

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
