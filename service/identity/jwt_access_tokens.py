"""Verifies a JWT access token by itself: shape, header, issuer, key, signature, and then its claims.

The order is that of RFC 8725 and 9068. Owns no state; it asks for the issuers' keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.identity.claims import check_audience, check_time, check_use, read_confirmation
from service.identity.jws import (
    check_extensions,
    check_signature,
    read_algorithm,
    read_key_id,
    read_token,
    read_token_type,
)
from service.identity.principal_claims import build_principal, read_client_id
from service.identity.refusals import refusal
from service.identity.verified_tokens import VerifiedToken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.identity.issuer import Issuer
    from service.identity.keys import KeySet

    Step = Callable[[str], None]
    """Called with the name of each check before it is made, so that an observer knows which check refused a token."""


def ignore_step(step: str) -> None:
    """Observe no checks."""


async def verify_jwt(
    token: bytes, trusted: Mapping[str, tuple[Issuer, KeySet]], now: float, step: Step = ignore_step
) -> VerifiedToken:
    """Verify a token. `trusted` holds the issuers by exact `iss`; `now` is in Unix seconds.

    Raises InvalidToken with a cause, or KeysUnavailable if the issuer's keys cannot be fetched.
    """
    step("shape")
    unverified = read_token(token)
    header = unverified.unverified_header
    step("header")
    check_extensions(header)
    kid = read_key_id(header)
    step("issuer")
    issuer, keys = find_issuer(unverified.unverified_claims.get("iss"), trusted)
    step("type")
    typ = read_token_type(header, issuer)
    step("algorithm")
    alg = read_algorithm(header, issuer)
    step("key")
    candidates = await keys.find(kid, alg, claimed_client(unverified.unverified_claims, issuer))
    step("signature")
    key = check_signature(token, candidates, alg)
    claims = unverified.unverified_claims  # verified from here on
    step("time")
    validity = check_time(claims, issuer, now)
    step("client")
    client = read_client_id(claims, issuer, typ)
    step("audience")
    check_audience(claims, issuer, client)
    step("use")
    check_use(claims, typ, client)
    principal = build_principal(claims, issuer, typ, client, validity, step)
    step("sender")
    cnf = read_confirmation(claims)
    keys.note_verified(client)
    return VerifiedToken(principal, now, principal.expires_at, key.digest, cnf)


def find_issuer(iss: object, trusted: Mapping[str, tuple[Issuer, KeySet]]) -> tuple[Issuer, KeySet]:
    """The issuer with exactly this `iss`, and its keys."""
    found = trusted.get(iss) if isinstance(iss, str) else None
    if found is None:
        raise refusal("issuer")
    return found


def claimed_client(claims: Mapping[str, object], issuer: Issuer) -> str:
    """The client that an unverified token claims. Used only to share the refresh budget fairly."""
    named = (claims.get(name) for name in issuer.client_claims)
    return next((client for client in named if isinstance(client, str)), "")
