"""Checks a JWS signature with the one key and algorithm that were chosen before. Pure: owns no state.

PyJWT knows `EdDSA` but not `Ed25519`, the name that RFC 9864 gives it; both stand here for the curve Ed25519 alone,
because no key of another curve is ever built (jwk_set).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jwt import PyJWS
from jwt.algorithms import OKPAlgorithm
from jwt.exceptions import PyJWTError

from service.identity.refusals import refusal

if TYPE_CHECKING:
    from service.identity.jwk_set import VerificationKey


def check_signature(token: bytes, key: VerificationKey, algorithm: str) -> None:
    """Raises InvalidToken unless `key` made the signature over the token's own bytes with `algorithm`."""
    try:
        JWS.decode_complete(token, key.by_algorithm[algorithm].key, algorithms=[algorithm])
    except PyJWTError as error:
        raise refusal("signature") from error


JWS = PyJWS(options={"verify_signature": True, "enforce_minimum_key_length": True})
JWS.register_algorithm("Ed25519", OKPAlgorithm())
