"""Whether a token's claims allow its use here and now: use, time, audience (RFC 7519, 9068). Pure: owns no state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.identity.issuer import STRICT_TYPE
from service.identity.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.identity.issuer import ClaimPath, Issuer


MAX_LIST_ITEMS = 100
SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,255}")
_MAX_WORD_CHARS = 255
# Control characters, line and paragraph separators, lone surrogates: unsafe in logs and Postgres.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def is_word(value: object) -> bool:
    """Whether `value` is a non-empty printable string of at most 255 characters."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= _MAX_WORD_CHARS
        and not value.isspace()
        and not _UNPRINTABLE.search(value)
    )


def read_words(
    claims: Mapping[str, Any],
    path: ClaimPath,
    cause: str,
    grammar: re.Pattern[str] | None = None,
    max_items: int = MAX_LIST_ITEMS,
) -> frozenset[str] | None:
    """The list of words at `path`, each matching `grammar` if given; None if it is absent.

    Raises InvalidToken with `cause` for anything else, also if the path leads through a value that is no object.
    """
    *parents, last = (path,) if isinstance(path, str) else path
    for name in parents:
        if name not in claims:
            return None
        claims = claims[name]
        if not isinstance(claims, dict):
            raise refusal(cause)
    if last not in claims:
        return None
    given = claims[last]
    if not isinstance(given, list) or len(given) > max_items:
        raise refusal(cause)
    if not all(is_word(word) and (grammar is None or grammar.fullmatch(word)) for word in given):
        raise refusal(cause)
    return frozenset(given)


_MAX_TIME = 253_402_300_800  # the year 10000, which datetime cannot express
_MAX_AUDIENCES = 50
_FOREIGN_CLAIMS = ("nonce", "at_hash", "c_hash", "s_hash", "events", "token_introspection", "htm", "htu")
_FOREIGN_TYPES = frozenset({"id", "refresh", "offline", "logout"})


@dataclass(frozen=True, slots=True)
class TokenValidity:
    """Unix seconds, rounded down."""

    issued_at: int
    expires_at: int


def check_use(claims: Mapping[str, Any], token_type: str, client: str) -> None:
    """Refuse another kind of JWT.

    An `at+jwt` header says that it is an access token. Without it the claims must show that it is no ID, logout or
    security event token, introspection answer or proof. Cognito says the kind in `token_use`, Keycloak in `typ`. A
    token whose only audience is its client is an ID token.
    """
    if token_type == STRICT_TYPE:
        return
    if any(name in claims for name in _FOREIGN_CLAIMS) or claims.get("aud") in (client, [client]):
        raise refusal("other-use")
    if claims.get("token_use", "access") != "access" or str(claims.get("typ", "")).lower() in _FOREIGN_TYPES:
        raise refusal("other-use")


def read_confirmation(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    """The members of `cnf` (RFC 7800 section 3.1); empty if absent. Anything but an object with members is refused."""
    if "cnf" not in claims:
        return {}
    cnf = claims["cnf"]
    if not isinstance(cnf, dict) or not cnf:
        raise refusal("sender-constrained")
    return cnf


def check_audience(claims: Mapping[str, Any], issuer: Issuer, client: str) -> None:
    """`aud`, a string or a list of strings, must contain our audience. It may be absent for some clients, as
    configured."""
    if "aud" not in claims and client in issuer.clients_as_audience:
        return
    given = claims.get("aud")
    audiences = [given] if isinstance(given, str) else given
    if not isinstance(audiences, list) or not 0 < len(audiences) <= _MAX_AUDIENCES:
        raise refusal("audience")
    if not all(isinstance(audience, str) for audience in audiences) or issuer.audience not in audiences:
        raise refusal("audience")


def check_time(claims: Mapping[str, Any], issuer: Issuer, now: float) -> TokenValidity:
    """`exp` must be in the future but not too far, `iat` and `nbf` ahead by the leeway at most (RFC 7519 section
    4.1)."""
    expires = read_time(claims, "exp", "expiry")
    issued = read_time(claims, "iat", "issued-at")
    if expires <= now:
        raise refusal("expired")
    if issued > now + issuer.leeway:
        raise refusal("issued-at")
    if expires - issued > issuer.max_lifetime or expires <= issued:
        raise refusal("lifetime")
    if "nbf" in claims and read_time(claims, "nbf", "not-yet") > now + issuer.leeway:
        raise refusal("not-yet")
    return TokenValidity(issued_at=int(issued), expires_at=int(expires))


def read_time(claims: Mapping[str, Any], name: str, cause: str) -> float:
    """A required NumericDate (RFC 7519 section 2). Raises InvalidToken with `cause`."""
    if (value := parse_numeric_date(claims.get(name))) is None:
        raise refusal(cause)
    return value


def parse_numeric_date(value: object) -> float | None:
    """A JSON number, no string or boolean, before the year 10000; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _MAX_TIME:
        return None
    return value
