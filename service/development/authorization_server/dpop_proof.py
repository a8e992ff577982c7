"""Checks the DPoP proofs of token requests (RFC 9449 sections 4.3 and 5).

Owns the used proofs, in memory, bounded, for as long as a proof is accepted. The service has its own implementation;
the two are independent, so that each finds mistakes of the other.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749 import OAuth2Error
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import import_key

from service.development.authorization_server.expiring import ExpiringStore

if TYPE_CHECKING:
    from collections.abc import Sequence

PROOF_ALGORITHMS = ("ES256", "RS256", "PS256", "EdDSA", "Ed25519")
_TOLERANCE_SECONDS = 60
_MAX_PROOF_CHARS = 4096
_MAX_ID_CHARS = 256


class InvalidProof(OAuth2Error):  # type: ignore[misc]  # Authlib ships no types
    """RFC 9449 section 5."""

    error = "invalid_dpop_proof"


class ProofCheck:
    """The check of one server. A proof can be used once."""

    def __init__(self) -> None:
        self._used: ExpiringStore[bool] = ExpiringStore(seconds=2 * _TOLERANCE_SECONDS, capacity=50_000)

    def key_thumbprint(self, proofs: Sequence[str], method: str, url: str) -> str | None:
        """The thumbprint (RFC 7638) of the key that the client proved to hold; None without a proof.

        Raises InvalidProof that names the failed check.
        """
        if not proofs:
            return None
        if len(proofs) > 1 or len(proofs[0]) > _MAX_PROOF_CHARS:
            raise InvalidProof("There must be one DPoP header, of at most 4096 characters")
        claims, thumbprint = _verify(proofs[0])
        self._check(claims, thumbprint, method, url)
        return thumbprint

    def _check(self, claims: dict[str, Any], thumbprint: str, method: str, url: str) -> None:
        if claims.get("htm") != method:
            raise InvalidProof("The proof is for another method")
        htu = claims.get("htu")
        if not isinstance(htu, str) or htu.partition("#")[0].partition("?")[0] != url:
            raise InvalidProof("The proof is for another address")
        issued_at = claims.get("iat")
        if (
            not isinstance(issued_at, int)
            or isinstance(issued_at, bool)
            or abs(time.time() - issued_at) > _TOLERANCE_SECONDS
        ):
            raise InvalidProof("The proof is too old or from the future")
        jti = claims.get("jti")
        if not isinstance(jti, str) or not 0 < len(jti) <= _MAX_ID_CHARS:
            raise InvalidProof("The proof has no jti")
        if self._used.find(f"{thumbprint} {jti}"):
            raise InvalidProof("The proof was used before")
        self._used.put(f"{thumbprint} {jti}", value=True)


def _verify(proof: str) -> tuple[dict[str, Any], str]:
    """Verify the signature with the public key in the header. Returns the claims and the key's thumbprint."""
    try:
        header = jws.extract_compact(proof.encode("ascii")).headers()
        if header.get("typ") != "dpop+jwt" or header.get("alg") not in PROOF_ALGORITHMS:
            raise InvalidProof("The proof has a wrong type, or an algorithm that is not accepted")
        key = import_key(header["jwk"])
        if key.key_type == "oct" or key.is_private:
            raise InvalidProof("The proof's header must contain a public key")
        verified = jws.deserialize_compact(proof, key, algorithms=[str(header["alg"])])
        claims = json.loads(verified.payload or b"")
    except (JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidProof("The proof is malformed, or its signature is not valid") from error
    if not isinstance(claims, dict):
        raise InvalidProof("The proof has no claims")
    return claims, key.thumbprint()
