"""DPoP proofs: that the sender holds the key to which a token is bound (RFC 9449 section 4.3, rule by rule).

Owns no state: used proofs are remembered by `replay`, nonces carry their own time. Nothing of a proof is ever logged.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

from service.errors import InvalidToken, Misconfigured, NonceWanted
from service.identity.claims import numeric_date
from service.identity.issuer import KEY_TYPES
from service.identity.jwk_set import read_jwk_set
from service.identity.jwk_thumbprint import digest64, thumbprint
from service.identity.proof_refusals import proof_refusal
from service.identity.refusals import refusal
from service.identity.target import target
from service.identity.token_format import read_token

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from jwt import PyJWK

    from service.identity.nonces import Nonces
    from service.identity.presented import Presented
    from service.identity.replay import FirstUse

TYPE = "dpop+jwt"
WINDOW = 60.0
MAX_PROOF_BYTES = 8192
MAX_PROOF_ID = 256
# Replicas whose clocks are this many seconds apart still remember a proof for as long as any of them would take it.
CLOCK_MARGIN = 60.0
_NEVER = ("crit", "b64", "zip", "jku", "x5u", "x5c")


class Proofs:
    """Checks proofs. `algorithms`: allow-list of asymmetric ones. `nonce_required`: a proof without a nonce of ours is
    sent back for one; otherwise its own time must be within WINDOW seconds. `clock` gives Unix seconds."""

    def __init__(
        self,
        first_use: FirstUse,
        nonces: Nonces,
        *,
        algorithms: Collection[str],
        nonce_required: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._first_use = first_use
        self._nonces = nonces
        self._algorithms = frozenset(algorithms)
        if not self._algorithms or not self._algorithms <= KEY_TYPES.keys():
            raise Misconfigured(f"DPoP proofs may use only these algorithms: {', '.join(KEY_TYPES)}")
        self._nonce_required = nonce_required
        self._clock = clock

    async def check(self, presented: Presented, token: bytes, key_thumbprint: str) -> None:
        """That this request comes with a fresh proof for it and for `token`, made with the key of this thumbprint.

        Raises InvalidProof, NonceWanted, InvalidToken when the proof is good but for another key or token, and
        ReplayUnavailable when nobody can say whether the proof was used before.
        """
        if len(presented.dpop) != 1:
            raise proof_refusal("headers")
        proof = presented.dpop[0].strip(b" \t")
        header, claims = _read(proof)
        alg, jwk = self._check_header(header)
        key = _key(jwk, alg)
        # Before the signature: a stranger's key, chosen to be slow, is not worth an effort.
        if not hmac.compare_digest(_thumbprint(jwk).encode(), key_thumbprint.encode()):
            raise refusal("other-key")
        _check_signature(proof, key)
        _check_request(claims, presented)
        proof_id = _proof_id(claims)
        for_token = claims.get("ath")
        if not isinstance(for_token, str):
            raise proof_refusal("token-hash")
        if not hmac.compare_digest(for_token.encode(), digest64(token).encode()):
            raise refusal("other-token")
        left = self._check_fresh(claims)
        if not await self._first_use(key_thumbprint, proof_id, left + CLOCK_MARGIN):
            raise proof_refusal("replayed")

    def _check_header(self, header: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        if header.get("typ") != TYPE:
            raise proof_refusal("type")
        if any(name in header for name in _NEVER):
            raise proof_refusal("extensions")
        alg, jwk = header.get("alg"), header.get("jwk")
        if not isinstance(alg, str) or alg not in self._algorithms:
            raise proof_refusal("algorithm")
        if not isinstance(jwk, dict):
            raise proof_refusal("key")
        return alg, jwk

    def _check_fresh(self, claims: Mapping[str, Any]) -> float:
        """For how many more seconds the proof would be taken. A nonce tells its age by our own clock, so the proof's
        own time need not be right then (RFC 9449 section 11.1)."""
        now = self._clock()
        made = _time(claims, "iat")
        if ("exp" in claims and _time(claims, "exp") <= now) or (
            "nbf" in claims and _time(claims, "nbf") > now + WINDOW
        ):
            raise proof_refusal("time")
        if "nonce" in claims or self._nonce_required:
            nonce = claims.get("nonce", "")
            if not isinstance(nonce, str):
                raise proof_refusal("nonce")
            left = self._nonces.remaining(nonce)
            if left is None:
                raise NonceWanted
            return left
        if abs(now - made) > WINDOW:
            raise proof_refusal("time")
        return made + WINDOW - now


def _read(proof: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    if len(proof) > MAX_PROOF_BYTES:
        raise proof_refusal("format")
    try:
        read = read_token(proof)
    except InvalidToken as error:
        raise proof_refusal("format") from error
    return read.unverified_header, read.unverified_claims


def _key(jwk: Mapping[str, Any], alg: str) -> PyJWK:
    """The proof's own key, under the rules for issuers' keys: public, for signatures, of a fitting kind and length."""
    try:
        (key,) = read_jwk_set(json.dumps({"keys": [jwk]}).encode(), [alg]).keys
    except ValueError as error:
        raise proof_refusal("key") from error
    return key.by_algorithm[alg]


def _thumbprint(jwk: Mapping[str, Any]) -> str:
    try:
        return thumbprint(jwk)
    except ValueError as error:
        raise proof_refusal("key") from error


def _check_signature(proof: bytes, key: PyJWK) -> None:
    signed, _, signature = proof.rpartition(b".")
    # Without doubt canonical base64url: `read_token` took it.
    if not key.Algorithm.verify(signed, key.key, base64.urlsafe_b64decode(signature + b"==")):
        raise proof_refusal("signature")


def _check_request(claims: Mapping[str, Any], presented: Presented) -> None:
    if claims.get("htm") != presented.method:
        raise proof_refusal("method")
    named = claims.get("htu")
    try:
        if not isinstance(named, str) or target(named) != target(presented.url):
            raise proof_refusal("target")
    except ValueError as error:
        raise proof_refusal("target") from error


def _proof_id(claims: Mapping[str, Any]) -> str:
    given = claims.get("jti")
    if not isinstance(given, str) or not 0 < len(given) <= MAX_PROOF_ID:
        raise proof_refusal("proof-id")
    return given


def _time(claims: Mapping[str, Any], name: str) -> float:
    if (value := numeric_date(claims.get(name))) is None:
        raise proof_refusal("time")
    return value
