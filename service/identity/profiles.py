"""Profiles of well-known authorization servers: their tokens' claims, as defaults for an issuers file. Pure.

Keys and values are those of the file. docs/issuers.md shows each profile with the settings at the provider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PROFILES: Final[Mapping[str, Mapping[str, Any]]] = {
    "auth0": {
        "algorithms": ["RS256", "PS256"],
        "types": ["at+jwt", "JWT"],
        "client_claims": ["client_id", "azp"],
    },
    "keycloak": {
        "algorithms": ["RS256", "PS256", "ES256", "EdDSA"],
        "types": ["at+jwt", "JWT"],
        "client_claims": ["azp", "client_id"],
        "roles_claim": ["realm_access", "roles"],
        "machine": "keycloak",
    },
    "entra": {
        "algorithms": ["RS256"],
        "types": ["JWT"],
        "client_claims": ["azp", "appid"],
        "subject_claim": "oid",
        "token_id_claim": "uti",
        "scope_claim": "scp",
        "machine_scope_claim": "roles",
        "roles_claim": "roles",
        "groups_claim": "groups",
        "machine": "entra",
    },
    "okta": {
        "algorithms": ["RS256"],
        "types": ["JWT", ""],
        "client_claims": ["cid"],
        "subject_claim": "uid",
        "scope_claim": "scp",
        "groups_claim": "groups",
        "machine": "okta",
    },
    "cognito": {
        "algorithms": ["RS256"],
        "types": ["JWT", ""],
        "client_claims": ["client_id"],
        "groups_claim": "cognito:groups",
    },
}
