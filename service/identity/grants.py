"""What a token grants: scopes and roles, from wherever its issuer writes them. Pure: owns no state."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from service.identity.claim_words import MAX_ITEMS, SCOPE, strings
from service.identity.principal import PrincipalKind
from service.identity.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.identity.issuer import Issuer

_ROLE = re.compile(r"[A-Za-z0-9._:-]{1,64}")
# Entra names up to 200 groups in a token, and says in `_claim_names` or `hasgroups` when there are more.
_MAX_GROUPS = 250


def scopes(claims: Mapping[str, Any], issuer: Issuer, kind: PrincipalKind) -> frozenset[str]:
    """The granted scopes, in our words. Compared exactly later; there are no prefixes and no wildcards.

    Permissions narrow scopes and never widen them: the client was granted the scopes, the user has the permissions. A
    user's token without the claim then grants nothing.
    """
    granted = _scope_claim(claims, issuer.scope_claim)
    if kind is PrincipalKind.CLIENT and issuer.machine_scope_claim is not None:
        granted |= strings(claims, issuer.machine_scope_claim, "scope", SCOPE) or frozenset()
    if issuer.permissions_claim is not None:
        permitted = strings(claims, issuer.permissions_claim, "scope", SCOPE)
        if permitted is not None or kind is PrincipalKind.USER:
            granted &= permitted or frozenset()
    prefix = issuer.scope_prefix
    return frozenset(one.removeprefix(prefix) for one in granted if one.startswith(prefix) and one != prefix)


def roles(claims: Mapping[str, Any], issuer: Issuer, kind: PrincipalKind) -> frozenset[str]:
    """Words `role:X`: the issuer's roles behind its prefix, and ours for the groups that are mapped.

    What a machine's token holds as scopes is no role.
    """
    named: frozenset[str] = frozenset()
    if kind is not PrincipalKind.CLIENT or issuer.roles_claim != issuer.machine_scope_claim:
        named = strings(claims, issuer.roles_claim, "roles", _ROLE) or frozenset()
    if issuer.prefix:
        named = frozenset(f"{issuer.prefix}-{one}" for one in named)
    elif any(one.partition("-")[0] in issuer.foreign_prefixes for one in named):
        raise refusal("roles")
    return frozenset(f"role:{of_group}" for of_group in named | _of_groups(claims, issuer))


def _of_groups(claims: Mapping[str, Any], issuer: Issuer) -> frozenset[str]:
    if issuer.groups_claim is None or not issuer.groups:
        return frozenset()
    elsewhere = claims.get("_claim_names", {})
    if "hasgroups" in claims or not isinstance(elsewhere, dict) or issuer.groups_claim in elsewhere:
        # A rule may deny by role, so groups that we cannot see are not groups that the caller lacks.
        raise refusal("groups")
    groups = strings(claims, issuer.groups_claim, "groups", most=_MAX_GROUPS) or frozenset()
    return frozenset(role for group in groups for role in issuer.groups.get(group, ()))


def _scope_claim(claims: Mapping[str, Any], claim: str) -> frozenset[str]:
    """Scopes divided by single spaces (RFC 6749 section 3.3); none when absent or empty. Other claims may be lists."""
    given = claims.get(claim, "")
    if isinstance(given, list) and claim != "scope":
        return strings(claims, claim, "scope", SCOPE) or frozenset()
    if not isinstance(given, str):
        raise refusal("scope")
    words = given.split(" ") if given else []
    if len(words) > MAX_ITEMS or not all(SCOPE.fullmatch(word) for word in words):
        raise refusal("scope")
    return frozenset(words)
