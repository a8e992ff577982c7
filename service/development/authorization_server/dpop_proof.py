"""Checks the DPoP proofs that come with token requests (RFC 9449 sections 4.3 and 5).

Owns the memory of proofs already used, bounded and for as long as a proof is young enough; nothing is durable. The
service has checks of its own: the two were written apart, so that each finds the other's mistakes.
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
_LONGEST = 4096
_LONGEST_ID = 256


class InvalidProof(OAuth2Error):  # type: ignore[misc]  # Authlib ships no types
    """RFC 9449 section 5."""

    error = "invalid_dpop_proof"


class ProofCheck:
    """One for a server: a proof is good once."""

    def __init__(self) -> None:
        self._used: ExpiringStore[bool] = ExpiringStore(seconds=2 * _TOLERANCE_SECONDS, capacity=50_000)

    def key_thumbprint(self, proofs: Sequence[str], method: str, url: str) -> str | None:
        """The thumbprint (RFC 7638) of the key that the client proved to hold; None when it sent no proof.

        Raises InvalidProof, which names the check that failed.
        """
        if not proofs:
            return None
        if len(proofs) > 1 or len(proofs[0]) > _LONGEST:
            raise InvalidProof("There must be one DPoP header, of at most 4096 characters")
        claims, thumbprint = _verified(proofs[0])
        self._check(claims, thumbprint, method, url)
        return thumbprint

    def _check(self, claims: dict[str, Any], thumbprint: str, method: str, url: str) -> None:
        if claims.get("htm") != method:
            raise InvalidProof("The proof is for another method")
        htu = claims.get("htu")
        if not isinstance(htu, str) or htu.partition("#")[0].partition("?")[0] != url:
            raise InvalidProof("The proof is for another address")
        made = claims.get("iat")
        if not isinstance(made, int) or isinstance(made, bool) or abs(time.time() - made) > _TOLERANCE_SECONDS:
            raise InvalidProof("The proof was not made just now")
        jti = claims.get("jti")
        if not isinstance(jti, str) or not 0 < len(jti) <= _LONGEST_ID:
            raise InvalidProof("The proof has no jti")
        if self._used.find(f"{thumbprint} {jti}"):
            raise InvalidProof("The proof was used before")
        self._used.put(f"{thumbprint} {jti}", value=True)


def _verified(proof: str) -> tuple[dict[str, Any], str]:
    """The claims under a signature by the public key in the proof's own header, and that key's thumbprint."""
    try:
        header = jws.extract_compact(proof.encode("ascii")).headers()
        if header.get("typ") != "dpop+jwt" or header.get("alg") not in PROOF_ALGORITHMS:
            raise InvalidProof("The proof is of another type, or signed with another algorithm than we take")
        key = import_key(header["jwk"])
        if key.key_type == "oct" or key.is_private:
            raise InvalidProof("The proof's header must hold a public key")
        verified = jws.deserialize_compact(proof, key, algorithms=[str(header["alg"])])
        claims = json.loads(verified.payload or b"")
    except (JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidProof("The proof cannot be read, or its signature is wrong") from error
    if not isinstance(claims, dict):
        raise InvalidProof("The proof holds no claims")
    return claims, key.thumbprint()
