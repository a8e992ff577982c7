"""From verified claims to the Principal: who asks, through which client, with what. Pure: owns no state."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from service.identity.claims import Validity, time_claim
from service.identity.issuer import STRICT_TYPE
from service.identity.principal import Principal, PrincipalKind
from service.identity.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.identity.issuer import Issuer

_CLIENT_MARKS = {"gty": "client-credentials", "idtyp": "app"}
_MAX_WORD = 255
_MAX_ITEMS = 100
# Control characters, line and paragraph separators, lone surrogates: nobody's name, and poison for logs and Postgres.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}")
_ROLE = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def client_id(claims: Mapping[str, Any], token_type: str) -> str:
    """The acting client: `client_id` (RFC 9068), or where that profile is not kept also `azp` (Auth0, Keycloak)."""
    given = [claims[name] for name in ("client_id", "azp") if name in claims]
    if not given or not all(_is_word(one) for one in given) or len(set(given)) > 1:
        raise refusal("client")
    if token_type == STRICT_TYPE and "client_id" not in claims:
        raise refusal("client")
    return str(given[0])


def principal(claims: Mapping[str, Any], issuer: Issuer, token_type: str, client: str, validity: Validity) -> Principal:
    """Who asks. Raises InvalidToken when the claims do not say it unmistakably."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not _is_word(subject):
        raise refusal("subject")
    acr, methods, authenticated_at = _authentication(claims, validity, issuer)
    return Principal(
        kind=_kind(claims, subject, client),
        issuer=issuer.issuer,
        subject=subject,
        client=client,
        scopes=_scopes(claims, issuer.scope_claim),
        roles=_roles(claims, issuer.roles_claim),
        token_id=_token_id(claims, token_type),
        issued_at=validity.issued_at,
        expires_at=validity.expires_at,
        authenticated_at=authenticated_at,
        methods=methods,
        acr=acr,
        issuer_name=issuer.name,
    )


def _kind(claims: Mapping[str, Any], subject: str, client: str) -> PrincipalKind:
    """A client acting for itself, by any mark of client credentials: Auth0's `gty` and `...@clients`, Entra's `idtyp`,
    or the client as subject (RFC 9068 section 2.2). Marks that contradict each other, and service accounts that cannot
    be pinned to the client, let nobody in.
    """
    marks = {True} if subject in (client, f"{client}@clients") else set()
    for name, word in _CLIENT_MARKS.items():
        if name in claims:
            if not _is_word(claims[name]):
                raise refusal("kind")
            marks.add(claims[name] == word)
    named = claims.get("preferred_username")
    unpinned = subject.endswith("@clients") or (isinstance(named, str) and named.startswith("service-account-"))
    if len(marks) > 1 or (unpinned and True not in marks):
        raise refusal("kind")
    return PrincipalKind.CLIENT if True in marks else PrincipalKind.USER


def _token_id(claims: Mapping[str, Any], token_type: str) -> str | None:
    if "jti" not in claims and token_type != STRICT_TYPE:
        return None
    given = claims.get("jti")
    if not isinstance(given, str) or not _is_word(given):
        raise refusal("token-id")
    return given


def _scopes(claims: Mapping[str, Any], claim: str) -> frozenset[str]:
    """Scopes divided by single spaces (RFC 6749 section 3.3); none when the claim is absent or empty."""
    given = claims.get(claim, "")
    if not isinstance(given, str):
        raise refusal("scope")
    words = given.split(" ") if given else []
    if len(words) > _MAX_ITEMS or not all(_SCOPE.fullmatch(word) for word in words):
        raise refusal("scope")
    return frozenset(words)


def _roles(claims: Mapping[str, Any], claim: str) -> frozenset[str]:
    return frozenset(f"role:{one}" for one in _strings(claims, claim, _ROLE, "roles") or ())


def _authentication(
    claims: Mapping[str, Any], validity: Validity, issuer: Issuer
) -> tuple[str | None, frozenset[str] | None, int | None]:
    """`acr`, `amr` and `auth_time` (RFC 9068 section 2.2.1), each None when the token does not say."""
    acr = claims.get("acr")
    if "acr" in claims and not _is_word(acr):
        raise refusal("authentication")
    methods = _strings(claims, "amr", _SCOPE, "authentication")
    if "auth_time" not in claims:
        return acr, methods, None
    authenticated_at = int(time_claim(claims, "auth_time", "authentication"))
    # Nobody signs in after the token was issued for that sign-in.
    if authenticated_at > validity.issued_at + issuer.leeway:
        raise refusal("authentication")
    return acr, methods, authenticated_at


def _strings(claims: Mapping[str, Any], claim: str, grammar: re.Pattern[str], cause: str) -> frozenset[str] | None:
    """A bounded list of strings that match the grammar; None when the claim is absent."""
    if claim not in claims:
        return None
    given = claims[claim]
    if not isinstance(given, list) or len(given) > _MAX_ITEMS:
        raise refusal(cause)
    if not all(isinstance(one, str) and grammar.fullmatch(one) for one in given):
        raise refusal(cause)
    return frozenset(given)


def _is_word(value: object) -> bool:
    """A non-empty string of at most 255 characters without anything unprintable."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= _MAX_WORD
        and not value.isspace()
        and not _UNPRINTABLE.search(value)
    )
