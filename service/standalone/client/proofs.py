"""Proofs that the sender of a token holds the key that the token is bound to (DPoP, RFC 9449). No I/O.

`dpop.DpopKey` is such a key; one that lies elsewhere, as in a hardware module, is any object with its `jwk` and `sign`.
"""

from __future__ import annotations

import base64
import hashlib
import time
import uuid
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx2

# With the nonce of such an answer a request is right: the server demands one, or the clock of this machine is wrong.
NEEDS_NONCE = ("use-dpop-nonce", "invalid-dpop-proof")


class ProofSigner(Protocol):
    """A private key on the curve P-256. `jwk` is its public half: kty, crv, x and y (RFC 7518 section 6.2). `sign`
    returns the ES256 signature of `data`, 64 bytes (section 3.4)."""

    @property
    def jwk(self) -> Mapping[str, str]: ...

    def sign(self, data: bytes) -> bytes: ...


class ProofMaker:
    """Makes proofs for one server. Owns its newest nonce, in memory."""

    def __init__(self, key: ProofSigner) -> None:
        self.key = key
        self._nonce: str | None = None

    def make(self, method: str, url: str, token: str | None = None) -> dict[str, str]:
        """The header of one request."""
        return {"DPoP": make_proof(self.key, method, url, token, self._nonce)}

    def learn(self, answer: httpx2.Response) -> bool:
        """Keep the nonce of an answer, if it has one; returns whether it has."""
        nonce = answer.headers.get("DPoP-Nonce")
        self._nonce = nonce or self._nonce
        return bool(nonce)


def make_proof(key: ProofSigner, method: str, url: str, token: str | None = None, nonce: str | None = None) -> str:
    """The DPoP header of one request; each attempt needs a new one. `token`: the access token that it sends, none at a
    token endpoint. `nonce`: the newest DPoP-Nonce of that server, if it sent one."""
    target = url.partition("#")[0].partition("?")[0]
    claims: dict[str, str | int] = {"jti": str(uuid.uuid4()), "htm": method, "htu": target, "iat": int(time.time())}
    claims |= {"ath": encode(hashlib.sha256(token.encode()).digest())} if token is not None else {}
    claims |= {"nonce": nonce} if nonce is not None else {}
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": {**key.jwk}}
    signed = f"{encode(msgspec.json.encode(header))}.{encode(msgspec.json.encode(claims))}"
    return f"{signed}.{encode(key.sign(signed.encode()))}"


def encode(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
