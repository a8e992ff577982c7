"""From verified claims to the Principal: who asks, through which client, with what. Pure: owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.identity.claim_words import SCOPE, is_word, strings
from service.identity.claims import TokenValidity, time_claim
from service.identity.grants import roles, scopes
from service.identity.issuer import STRICT_TYPE
from service.identity.principal import Principal, PrincipalKind
from service.identity.principal_kind import principal_kind
from service.identity.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.identity.issuer import Issuer


def client_id(claims: Mapping[str, Any], issuer: Issuer, token_type: str) -> str:
    """The acting client as its issuer knows it: `client_id` (RFC 9068), or where that profile is not kept the issuer's
    own claims for it, which must not contradict each other."""
    given = [claims[name] for name in issuer.client_claims if name in claims]
    if not given or not all(is_word(one) for one in given) or len(set(given)) > 1:
        raise refusal("client")
    if token_type == STRICT_TYPE and "client_id" not in claims:
        raise refusal("client")
    return str(given[0])


def principal(
    claims: Mapping[str, Any],
    issuer: Issuer,
    token_type: str,
    client: str,
    validity: TokenValidity,
    step: Callable[[str], None],
) -> Principal:
    """Who asks. Raises InvalidToken when the claims do not say it unmistakably. `step` hears of each check."""
    step("subject")
    subject = _subject(claims, "sub")
    step("kind")
    kind = principal_kind(claims, issuer, subject, client)
    if kind is PrincipalKind.USER and issuer.subject_claim != "sub":
        subject = _subject(claims, issuer.subject_claim)
    step("scopes")
    granted = scopes(claims, issuer, kind)
    step("roles")
    held = roles(claims, issuer, kind)
    step("token-id")
    token_id = _token_id(claims, issuer.token_id_claim, token_type)
    step("sign-in")
    acr, methods, authenticated_at = _authentication(claims, validity, issuer)
    return Principal(
        kind=kind,
        issuer=issuer.issuer,
        subject=subject,
        client=_our_client(client, issuer),
        scopes=granted,
        roles=held,
        token_id=token_id,
        issued_at=validity.issued_at,
        expires_at=validity.expires_at,
        authenticated_at=authenticated_at,
        methods=methods,
        acr=acr,
        issuer_name=issuer.name,
    )


def _our_client(client: str, issuer: Issuer) -> str:
    """The client in our words. A client of an issuer without prefix may not look like another issuer's."""
    if issuer.prefix:
        return f"{issuer.prefix}:{client}"
    if client.partition(":")[0] in issuer.foreign_prefixes:
        raise refusal("client")
    return client


def _subject(claims: Mapping[str, Any], claim: str) -> str:
    subject = claims.get(claim)
    if not isinstance(subject, str) or not is_word(subject):
        raise refusal("subject")
    return subject


def _token_id(claims: Mapping[str, Any], claim: str, token_type: str) -> str | None:
    if claim not in claims and token_type != STRICT_TYPE:
        return None
    given = claims.get(claim)
    if not isinstance(given, str) or not is_word(given):
        raise refusal("token-id")
    return given


def _authentication(
    claims: Mapping[str, Any], validity: TokenValidity, issuer: Issuer
) -> tuple[str | None, frozenset[str] | None, int | None]:
    """`acr`, `amr` and `auth_time` (RFC 9068 section 2.2.1), each None when the token does not say."""
    acr = claims.get("acr")
    if "acr" in claims and not is_word(acr):
        raise refusal("authentication")
    methods = strings(claims, "amr", "authentication", SCOPE)
    if "auth_time" not in claims:
        return acr, methods, None
    authenticated_at = int(time_claim(claims, "auth_time", "authentication"))
    # Nobody signs in after the token was issued for that sign-in.
    if authenticated_at > validity.issued_at + issuer.leeway:
        raise refusal("authentication")
    return acr, methods, authenticated_at
