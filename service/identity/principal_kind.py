"""Whether a person asks through a client, or a client for itself. Pure: owns no state.

A token that says both, or that looks like a machine's without being pinned to its client, is refused: a client must
never be taken for the user of the same name, nor the other way round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.identity.claim_words import is_word
from service.identity.principal import PrincipalKind
from service.identity.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.identity.issuer import Issuer

_CLIENT_MARKS = {"gty": "client-credentials", "idtyp": "app"}


def principal_kind(claims: Mapping[str, Any], issuer: Issuer, subject: str, client: str) -> PrincipalKind:
    """Who asks, by any mark of client credentials: Auth0's `gty` and `...@clients`, Entra's `idtyp`, the client as
    subject (RFC 9068 section 2.2), the issuer's own rule and claim. Raises InvalidToken when marks contradict."""
    marks = {True} if subject in (client, f"{client}@clients") else set()
    for name, word in {**_CLIENT_MARKS, **dict([issuer.machine_claim] if issuer.machine_claim else [])}.items():
        if name in claims:
            if not is_word(claims[name]):
                raise refusal("kind")
            marks.add(claims[name] == word)
    named = claims.get("preferred_username")
    service_account = isinstance(named, str) and named.startswith("service-account-")
    if issuer.machine == "keycloak" and service_account:
        marks.add(_is_service_account(claims, client))
    if issuer.machine == "okta":
        marks.add("uid" not in claims)
    if issuer.machine == "entra":
        marks |= _entra(claims, subject)
    unpinned = subject.endswith("@clients") or service_account
    if len(marks) > 1 or (unpinned and True not in marks):
        raise refusal("kind")
    return PrincipalKind.CLIENT if True in marks else PrincipalKind.USER


def _is_service_account(claims: Mapping[str, Any], client: str) -> bool:
    """Keycloak's service accounts have a user of their own, named after the client in lower case. A person may have
    picked that name, so `client_id` counts too: Keycloak writes it into tokens of client credentials alone."""
    return claims["preferred_username"] == f"service-account-{client}".lower() and claims.get("client_id") == client


def _entra(claims: Mapping[str, Any], subject: str) -> set[bool]:
    """Entra: a token for a user has `scp`; one for an app alone has none, and the app's own object as its subject."""
    if "scp" in claims:
        return {False}
    if claims.get("oid") != subject:
        raise refusal("kind")
    return {True}
