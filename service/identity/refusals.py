"""Why credentials are refused: tables from private cause to public sentence. Pure: owns no state.

No sentence holds token content, quotes, backslashes or control characters, so every one fits a challenge.
"""

from __future__ import annotations

from service.errors import InvalidProof, InvalidToken, MalformedCredentials

SENTENCES = {
    "too-large": "The access token is too large",
    "format": "The access token is not a JWT in its compact form",
    "encoding": "The access token is not encoded as a JWT",
    "json": "The access token does not contain valid JSON",
    "header": "The header of the access token is not valid",
    "critical": "The access token needs extensions that this API does not support",
    "embedded-key": "The access token contains its own key, which is never used",
    "type": "This is not an access token of a type that this API accepts",
    "other-use": "This token is not an access token for this API",
    "algorithm": "The access token is not signed with an algorithm that this API accepts from its issuer",
    "issuer": "The access token is not from an issuer that this API trusts",
    "unknown-key": "The access token is signed with a key that its issuer does not publish",
    "key-modulus-length": "The access token is signed with an RSA key that is not 2048 to 8192 bits long",
    "key-exponent": "The access token is signed with an RSA key whose public exponent is unsafe",
    "key-small-factor": "The access token is signed with an RSA key whose modulus has a small factor",
    "key-roca": "The access token is signed with an RSA key that can be factored (ROCA, CVE-2017-15361)",
    "key-close-primes": "The access token is signed with an RSA key whose primes are too close",
    "key-small-order": "The access token is signed with an Ed25519 key of small order, with which anybody can sign",
    "key-unreadable": "The access token is signed with a key that its issuer published in an invalid form",
    "key-private": "The access token is signed with a key that its issuer published with its private part",
    "ambiguous-key": "The access token does not name one key, and its issuer has several that fit",
    "signature": "The signature of the access token is not valid",
    "expiry": "The expiry time of the access token is missing or not valid",
    "expired": "The access token has expired",
    "revoked": "The access token was revoked",
    "lifetime": "The access token is valid for longer than this API allows",
    "not-yet": "The access token is not valid yet",
    "issued-at": "The issue time of the access token is missing or not valid",
    "audience": "The access token is not meant for this API",
    "subject": "The subject of the access token is missing or not valid",
    "client": "The client of the access token is missing or not valid",
    "token-id": "The identifier of the access token is missing or not valid",
    "scope": "The scopes of the access token are not valid",
    "roles": "The roles of the access token are not valid",
    "groups": "The access token does not contain all of the caller's groups",
    "inactive": "The issuer of the access token says that it is not active",
    "kind": "The access token does not say whether it belongs to a person or to a client",
    "sender-constrained": "The access token is bound to a key in a way that this API cannot check",
    "bound-as-bearer": "The access token is bound to a key: send it as DPoP, with a proof for each request",
    "unbound-as-dpop": "The access token is not bound to a key by DPoP: send it as Bearer",
    "dpop-required": "This API accepts only access tokens that are bound to a key by DPoP",
    "other-key": "The DPoP proof was made with another key than the one that the access token is bound to",
    "other-token": "The DPoP proof was made for another access token",
    "no-certificate": "The access token is bound to a client certificate, and the request has none",
    "other-certificate": "The access token is bound to another client certificate",
    "actors": "The actors in the access token are not valid",
    "authentication": "The details of the sign-in in the access token are not valid",
}


def refusal(cause: str) -> InvalidToken:
    """The error for a refused token."""
    return InvalidToken(SENTENCES[cause], cause=cause)


PROOF_SENTENCES = {
    "headers": "Send exactly one DPoP header with one proof",
    "format": "The DPoP proof is not a valid JWT",
    "type": "The DPoP proof is not of the type dpop+jwt",
    "extensions": "The DPoP proof uses extensions or key references that this API does not support",
    "algorithm": "The DPoP proof is not signed with an algorithm that this API accepts",
    "key": "The DPoP proof does not contain a suitable public key",
    "signature": "The signature of the DPoP proof is not valid",
    "method": "The DPoP proof was made for another method",
    "target": "The DPoP proof was made for another URL",
    "proof-id": "The identifier of the DPoP proof is missing or not valid",
    "time": "The DPoP proof is too old or from the future: make a new one, or use the nonce of this answer",
    "token-hash": "The DPoP proof does not name the access token that it is for",
    "nonce": "The nonce of the DPoP proof is not a string",
    "replayed": "The DPoP proof was used before: make a new one for each request",
}


def proof_refusal(cause: str) -> InvalidProof:
    """The error for a refused DPoP proof."""
    return InvalidProof(PROOF_SENTENCES[cause], cause=f"proof-{cause}")


MALFORMED_SENTENCES = {
    "two-headers": "Send exactly one Authorization header",
    "empty-header": "The Authorization header is empty",
    "not-a-bearer-token": "The Authorization header must be the word Bearer or DPoP, a space, and one token",
    "token-in-url": "Send the token in the Authorization header, never in the URL",
    "certificate-twice": "The request has two client certificates",
    "certificate-unreadable": "The client certificate is not valid",
}


def malformed_credentials(cause: str) -> MalformedCredentials:
    """The error for credentials that are refused before any token is looked at."""
    return MalformedCredentials(MALFORMED_SENTENCES[cause], cause=cause)


CAUSES = frozenset(SENTENCES) | {f"proof-{cause}" for cause in PROOF_SENTENCES} | MALFORMED_SENTENCES.keys()
"""Every cause, for metrics."""
