"""Why a token is refused: one table from private cause to public sentence. Pure: owns no state.

The sentences never hold token content, nor quotes, backslashes or control characters, so they fit a challenge.
"""

from __future__ import annotations

from service.errors import InvalidToken

SENTENCES = {
    "too-large": "The access token is too large",
    "format": "The access token is not a JWT in its compact form",
    "encoding": "The access token is not encoded as a JWT must be",
    "json": "The access token does not hold the JSON that a JWT must hold",
    "header": "The header of the access token is not valid",
    "critical": "The access token asks for extensions that this API does not know",
    "embedded-key": "The access token brings its own key, which is never used",
    "type": "This is not an access token of a type that this API takes",
    "other-use": "This token was made for another use than calling this API",
    "algorithm": "The access token is not signed with an algorithm that this API takes from its issuer",
    "issuer": "The access token is not from an issuer that this API trusts",
    "unknown-key": "The access token is signed with a key that its issuer does not publish",
    "key-modulus-length": "The access token is signed with an RSA key that is not 2048 to 8192 bits long",
    "key-exponent": "The access token is signed with an RSA key whose public exponent is unsafe",
    "key-small-factor": "The access token is signed with an RSA key whose modulus has a small factor",
    "key-roca": "The access token is signed with an RSA key that anybody can factor (ROCA, CVE-2017-15361)",
    "key-close-primes": "The access token is signed with an RSA key whose primes are too close",
    "key-small-order": "The access token is signed with an Ed25519 key under which anybody can sign",
    "key-unreadable": "The access token is signed with a key that its issuer does not publish properly",
    "key-private": "The access token is signed with a key that its issuer published with its private part",
    "ambiguous-key": "The access token does not say which of its issuer's keys signed it",
    "signature": "The signature of the access token is not valid",
    "expiry": "The access token does not say properly when it expires",
    "expired": "The access token has expired",
    "revoked": "The access token was revoked",
    "lifetime": "The access token is valid for longer than this API allows",
    "not-yet": "The access token is not valid yet",
    "issued-at": "The access token does not say properly when it was issued",
    "audience": "The access token is not meant for this API",
    "subject": "The access token does not name its subject properly",
    "client": "The access token does not name its client properly",
    "token-id": "The access token has no proper identifier",
    "scope": "The scopes of the access token are not valid",
    "roles": "The roles of the access token are not valid",
    "groups": "The access token does not hold all of the caller's groups",
    "inactive": "The issuer of the access token says that it is not active",
    "kind": "The access token does not tell whether a person or a client calls",
    "sender-constrained": "The access token is bound to a key whose possession this API cannot check",
    "bound-as-bearer": "The access token is bound to a key: send it as DPoP, with a proof for each request",
    "unbound-as-dpop": "The access token is not bound to a key by DPoP: send it as Bearer",
    "dpop-required": "This API takes only access tokens that are bound to a key by DPoP",
    "other-key": "The DPoP proof was made with another key than the one that the access token is bound to",
    "other-token": "The DPoP proof was made for another access token",
    "no-certificate": "The access token is bound to a client certificate, and none came with the request",
    "other-certificate": "The access token is bound to another client certificate",
    "authentication": "The access token does not describe the sign-in properly",
}


def refusal(cause: str) -> InvalidToken:
    """The error for one cause of the table."""
    return InvalidToken(SENTENCES[cause], cause=cause)
