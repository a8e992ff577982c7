"""Whether a token's claims allow its use here and now: use, time, audience (RFC 7519, 9068). Pure: owns no state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.identity.issuer import STRICT_TYPE
from service.identity.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.identity.issuer import Issuer

_LATEST = 253_402_300_800  # the year 10000: beyond it no time of ours is expressible
_MAX_AUDIENCES = 50
_NOT_ACCESS = ("nonce", "at_hash", "c_hash", "s_hash", "events", "token_introspection", "htm", "htu")
_OTHER_KINDS = frozenset({"id", "refresh", "offline", "logout"})


@dataclass(frozen=True, slots=True)
class TokenValidity:
    """Unix seconds; fractions are cut off."""

    issued_at: int
    expires_at: int


def check_use(claims: Mapping[str, Any], token_type: str, client: str) -> None:
    """Refuse another kind of JWT in disguise.

    An `at+jwt` header says what the token is. Without it the claims must show that it is none of the others: ID, logout
    and security event tokens, introspection answers, proofs. `token_use` is Cognito's word for it, `typ` Keycloak's; a
    token whose only audience is its client is an ID token.
    """
    if token_type == STRICT_TYPE:
        return
    if any(name in claims for name in _NOT_ACCESS) or claims.get("aud") in (client, [client]):
        raise refusal("other-use")
    if claims.get("token_use", "access") != "access" or str(claims.get("typ", "")).lower() in _OTHER_KINDS:
        raise refusal("other-use")


def confirmation(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    """The members of `cnf` (RFC 7800 section 3.1), empty when absent. What is no object with members is refused."""
    if "cnf" not in claims:
        return {}
    cnf = claims["cnf"]
    if not isinstance(cnf, dict) or not cnf:
        raise refusal("sender-constrained")
    return cnf


def check_audience(claims: Mapping[str, Any], issuer: Issuer, client: str) -> None:
    """`aud`, a string or a list of strings, must contain ours exactly; absent, the client must stand in for it."""
    if "aud" not in claims and client in issuer.clients_as_audience:
        return
    given = claims.get("aud")
    audiences = [given] if isinstance(given, str) else given
    if not isinstance(audiences, list) or not 0 < len(audiences) <= _MAX_AUDIENCES:
        raise refusal("audience")
    if not all(isinstance(audience, str) for audience in audiences) or issuer.audience not in audiences:
        raise refusal("audience")


def check_time(claims: Mapping[str, Any], issuer: Issuer, now: float) -> TokenValidity:
    """`exp` strictly ahead and not too far, `iat` and `nbf` ahead by the leeway at most (RFC 7519 section 4.1)."""
    expires = time_claim(claims, "exp", "expiry")
    issued = time_claim(claims, "iat", "issued-at")
    if expires <= now:
        raise refusal("expired")
    if issued > now + issuer.leeway:
        raise refusal("issued-at")
    if expires - issued > issuer.max_lifetime or expires <= issued:
        raise refusal("lifetime")
    if "nbf" in claims and time_claim(claims, "nbf", "not-yet") > now + issuer.leeway:
        raise refusal("not-yet")
    return TokenValidity(issued_at=int(issued), expires_at=int(expires))


def time_claim(claims: Mapping[str, Any], name: str, cause: str) -> float:
    """A required NumericDate (RFC 7519 §2). Raises InvalidToken with that cause."""
    if (value := numeric_date(claims.get(name))) is None:
        raise refusal(cause)
    return value


def numeric_date(value: object) -> float | None:
    """A JSON number, neither a string nor a boolean, within the years that exist; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _LATEST:
        return None
    return value
