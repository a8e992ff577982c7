"""Why a DPoP proof is refused: one table from private cause to public sentence. Pure: owns no state.

As in `refusals`, no sentence holds anything of the proof, and all of them fit a challenge.
"""

from __future__ import annotations

from service.errors import InvalidProof

SENTENCES = {
    "headers": "Send exactly one DPoP header with one proof",
    "format": "The DPoP proof is not a JWT as it must be",
    "type": "The DPoP proof is not of the type dpop+jwt",
    "extensions": "The DPoP proof asks for extensions or brings keys that this API does not know",
    "algorithm": "The DPoP proof is not signed with an algorithm that this API takes",
    "key": "The DPoP proof does not hold a fit public key",
    "signature": "The signature of the DPoP proof is not valid",
    "method": "The DPoP proof was made for another method",
    "target": "The DPoP proof was made for another URL",
    "proof-id": "The DPoP proof has no proper identifier",
    "time": "The DPoP proof was not made just now: make a new one, or use the nonce of this answer",
    "token-hash": "The DPoP proof does not say which access token it is for",
    "nonce": "The nonce of the DPoP proof is not a text",
    "replayed": "The DPoP proof was used before: make a new one for each request",
}


def proof_refusal(cause: str) -> InvalidProof:
    """The error for one cause of the table."""
    return InvalidProof(SENTENCES[cause], cause=f"proof-{cause}")
