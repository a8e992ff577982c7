"""The key that the tokens of a client are bound to (DPoP, RFC 9449). `timewarden-client[dpop]` has what it needs."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from .proofs import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

COORDINATE_BYTES = 32


class DpopKey:
    """A ProofSigner in the memory of this process: a new key, or that of a PEM text. Store it with a refresh token,
    which is bound to it. Raises ValueError for what is not a private key on P-256."""

    def __init__(self, pem: str | None = None) -> None:
        key = ec.generate_private_key(ec.SECP256R1()) if pem is None else load_pem_private_key(pem.encode(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("a DPoP key must be on the curve P-256")  # noqa: TRY004 — like other wrong texts
        self._key = key
        point = key.public_key().public_numbers()
        # In the order in which RFC 7638 hashes them.
        self.jwk: Mapping[str, str] = {
            "crv": "P-256",
            "kty": "EC",
            "x": encode(_fixed(point.x)),
            "y": encode(_fixed(point.y)),
        }

    @property
    def thumbprint(self) -> str:
        """The name of the key (RFC 7638): `dpop_jkt` at the authorization endpoint."""
        return encode(hashlib.sha256(msgspec.json.encode(self.jwk)).digest())

    def pem(self) -> str:
        """The private key as PEM (PKCS #8), not encrypted."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def sign(self, data: bytes) -> bytes:
        """The ES256 signature (RFC 7518 section 3.4)."""
        return b"".join(map(_fixed, decode_dss_signature(self._key.sign(data, ec.ECDSA(SHA256())))))


def _fixed(number: int) -> bytes:
    return number.to_bytes(COORDINATE_BYTES, "big")
