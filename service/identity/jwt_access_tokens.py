"""Judges a JWT access token by itself: shape, header, issuer, key, signature, and only then what the claims say.

The order is that of RFC 8725 and 9068. Pure but for the issuers' keys, which it asks for; owns no state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.identity.claims import check_audience, check_time, check_use, confirmation
from service.identity.principal_claims import client_id, principal
from service.identity.refusals import refusal
from service.identity.signatures import check_signature
from service.identity.token_format import read_token
from service.identity.token_header import algorithm, check_extensions, key_id, token_type
from service.identity.verified_tokens import VerifiedToken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.identity.issuer import Issuer
    from service.identity.keys import KeySet

    Step = Callable[[str], None]
    """Told the name of each check just before it is made: whoever watches knows at which one a refusal came."""


def unwatched(step: str) -> None:
    """What a request needs to know of the steps."""


async def judge(
    token: bytes, trusted: Mapping[str, tuple[Issuer, KeySet]], now: float, step: Step = unwatched
) -> VerifiedToken:
    """What the token says, once it is beyond doubt. `trusted` is by exact `iss`; `now` is in Unix seconds.

    Raises InvalidToken with a cause, or KeysUnavailable when the issuer's keys cannot be had.
    """
    step("shape")
    unverified = read_token(token)
    header = unverified.unverified_header
    step("header")
    check_extensions(header)
    kid = key_id(header)
    step("issuer")
    issuer, keys = chosen(unverified.unverified_claims.get("iss"), trusted)
    step("type")
    typ = token_type(header, issuer)
    step("algorithm")
    alg = algorithm(header, issuer)
    step("key")
    key = await keys.find(kid, alg, unverified_asker(unverified.unverified_claims, issuer))
    step("signature")
    check_signature(token, key, alg)
    claims = unverified.unverified_claims  # verified from here on
    step("time")
    validity = check_time(claims, issuer, now)
    step("client")
    client = client_id(claims, issuer, typ)
    step("audience")
    check_audience(claims, issuer, client)
    step("use")
    check_use(claims, typ, client)
    asker = principal(claims, issuer, typ, client, validity, step)
    step("sender")
    cnf = confirmation(claims)
    keys.vouch(client)
    return VerifiedToken(asker, asker.expires_at, key.digest, cnf)


def chosen(iss: object, trusted: Mapping[str, tuple[Issuer, KeySet]]) -> tuple[Issuer, KeySet]:
    """The issuer of exactly this `iss` with its keys, chosen before any key is."""
    found = trusted.get(iss) if isinstance(iss, str) else None
    if found is None:
        raise refusal("issuer")
    return found


def unverified_asker(claims: Mapping[str, object], issuer: Issuer) -> str:
    """Which client a token claims to come from, for fairness alone: nobody has checked it."""
    named = (claims.get(name) for name in issuer.client_claims)
    return next((one for one in named if isinstance(one, str)), "")
