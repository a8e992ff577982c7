"""DPoP proofs: checks that the sender holds the key to which a token is bound (RFC 9449 section 4.3).

Owns no state: `used_proofs` stores used proofs, and nonces carry their own time. Nothing of a proof is ever logged.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

from service.errors import InvalidToken, Misconfigured, NonceRequired
from service.identity.claims import parse_numeric_date
from service.identity.issuer import KEY_TYPES
from service.identity.jwk_set import digest64, read_jwk_set, thumbprint
from service.identity.jws import read_token
from service.identity.refusals import proof_refusal, refusal
from service.identity.urls import normalize_url

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from jwt import PyJWK

    from service.identity.credentials import RequestCredentials
    from service.identity.nonces import Nonces
    from service.identity.used_proofs import AddProof

TYPE = "dpop+jwt"
WINDOW_SECONDS = 60.0
MAX_PROOF_BYTES = 8192
MAX_PROOF_ID_CHARS = 256
# If the clocks of replicas differ by up to this, a proof is still stored for as long as any of them would accept it.
CLOCK_MARGIN_SECONDS = 60.0
_FORBIDDEN_HEADERS = ("crit", "b64", "zip", "jku", "x5u", "x5c")


class Proofs:
    """Checks proofs. `algorithms`: the accepted ones. `nonce_required`: a proof without one of our nonces is refused
    with a nonce; otherwise its own time must be within WINDOW_SECONDS. `clock` returns Unix seconds."""

    def __init__(
        self,
        add_proof: AddProof,
        nonces: Nonces,
        *,
        algorithms: Collection[str],
        nonce_required: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._add_proof = add_proof
        self._nonces = nonces
        self._algorithms = frozenset(algorithms)
        if not self._algorithms or not self._algorithms <= KEY_TYPES.keys():
            raise Misconfigured(
                f"DPoP proofs may use only these algorithms: {', '.join(KEY_TYPES)}; correct TIMEWARDEN_DPOP_ALGORITHMS"
            )
        self._nonce_required = nonce_required
        self._clock = clock

    async def check(self, credentials: RequestCredentials, token: bytes, key_thumbprint: str) -> None:
        """Check that the request has a fresh proof for itself and for `token`, made with the key of this thumbprint.

        Raises InvalidProof, NonceRequired, InvalidToken if the proof is for another key or token, and
        ReplayStoreUnavailable if it is unknown whether the proof was used before.
        """
        if len(credentials.dpop) != 1:
            raise proof_refusal("headers")
        proof = credentials.dpop[0].strip(b" \t")
        header, claims = _read(proof)
        alg, jwk = self._check_header(header)
        key = _read_key(jwk, alg)
        # Before the signature check, so that an attacker's key that is slow to use costs nothing.
        if not hmac.compare_digest(_compute_thumbprint(jwk).encode(), key_thumbprint.encode()):
            raise refusal("other-key")
        _check_signature(proof, key)
        _check_request(claims, credentials)
        proof_id = _read_proof_id(claims)
        for_token = claims.get("ath")
        if not isinstance(for_token, str):
            raise proof_refusal("token-hash")
        if not hmac.compare_digest(for_token.encode(), digest64(token).encode()):
            raise refusal("other-token")
        left = self._check_fresh(claims)
        if not await self._add_proof(key_thumbprint, proof_id, left + CLOCK_MARGIN_SECONDS):
            raise proof_refusal("replayed")

    def _check_header(self, header: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        if header.get("typ") != TYPE:
            raise proof_refusal("type")
        if any(name in header for name in _FORBIDDEN_HEADERS):
            raise proof_refusal("extensions")
        alg, jwk = header.get("alg"), header.get("jwk")
        if not isinstance(alg, str) or alg not in self._algorithms:
            raise proof_refusal("algorithm")
        if not isinstance(jwk, dict):
            raise proof_refusal("key")
        return alg, jwk

    def _check_fresh(self, claims: Mapping[str, Any]) -> float:
        """For how many more seconds the proof would be accepted. With a nonce, our own clock tells its age, so the
        proof's time need not be right (RFC 9449 section 11.1)."""
        now = self._clock()
        issued_at = _read_time(claims, "iat")
        if ("exp" in claims and _read_time(claims, "exp") <= now) or (
            "nbf" in claims and _read_time(claims, "nbf") > now + WINDOW_SECONDS
        ):
            raise proof_refusal("time")
        if "nonce" in claims or self._nonce_required:
            nonce = claims.get("nonce", "")
            if not isinstance(nonce, str):
                raise proof_refusal("nonce")
            left = self._nonces.remaining(nonce)
            if left is None:
                raise NonceRequired
            return left
        if abs(now - issued_at) > WINDOW_SECONDS:
            raise proof_refusal("time")
        return issued_at + WINDOW_SECONDS - now


def _read(proof: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    if len(proof) > MAX_PROOF_BYTES:
        raise proof_refusal("format")
    try:
        read = read_token(proof)
    except InvalidToken as error:
        raise proof_refusal("format") from error
    return read.unverified_header, read.unverified_claims


def _read_key(jwk: Mapping[str, Any], alg: str) -> PyJWK:
    """The proof's own key, under the rules for issuers' keys: public, for signatures, of a suitable kind and length."""
    try:
        (key,) = read_jwk_set(json.dumps({"keys": [jwk]}).encode(), [alg]).keys
    except ValueError as error:
        raise proof_refusal("key") from error
    return key.by_algorithm[alg]


def _compute_thumbprint(jwk: Mapping[str, Any]) -> str:
    try:
        return thumbprint(jwk)
    except ValueError as error:
        raise proof_refusal("key") from error


def _check_signature(proof: bytes, key: PyJWK) -> None:
    signed, _, signature = proof.rpartition(b".")
    # `read_token` has checked that this is canonical base64url.
    if not key.Algorithm.verify(signed, key.key, base64.urlsafe_b64decode(signature + b"==")):
        raise proof_refusal("signature")


def _check_request(claims: Mapping[str, Any], credentials: RequestCredentials) -> None:
    if claims.get("htm") != credentials.method:
        raise proof_refusal("method")
    named = claims.get("htu")
    try:
        if not isinstance(named, str) or normalize_url(named) != normalize_url(credentials.url):
            raise proof_refusal("target")
    except ValueError as error:
        raise proof_refusal("target") from error


def _read_proof_id(claims: Mapping[str, Any]) -> str:
    given = claims.get("jti")
    if not isinstance(given, str) or not 0 < len(given) <= MAX_PROOF_ID_CHARS:
        raise proof_refusal("proof-id")
    return given


def _read_time(claims: Mapping[str, Any], name: str) -> float:
    if (value := parse_numeric_date(claims.get(name))) is None:
        raise proof_refusal("time")
    return value
