"""Access tokens by the profile of RFC 9068: their claims and their signature. Owns no state; keys are parameters."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

from joserfc import jwt

if TYPE_CHECKING:
    from joserfc.jwk import Key

    from service.development.authorization_server.sessions import SignIn

LIFETIME_SECONDS = 3600


def access_token_claims(
    issuer: str, audience: str, client_id: str, who: SignIn | None, scope: str, key_thumbprint: str | None
) -> dict[str, Any]:
    """The claims of a new token: of a person, or of the client itself if `who` is None.

    `key_thumbprint` binds the token to the client's DPoP key (RFC 9449 section 6.1).
    """
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": audience,
        "sub": who.person.subject if who else client_id,
        "client_id": client_id,
        "scope": scope,
        "iat": now,
        "exp": now + LIFETIME_SECONDS,
        "jti": secrets.token_urlsafe(16),
    }
    if who:
        claims |= {"auth_time": who.auth_time, "amr": list(who.methods), "roles": list(who.person.roles)}
        claims |= {"acr": who.acr} if who.acr else {}
    return claims | ({"cnf": {"jkt": key_thumbprint}} if key_thumbprint else {})


def sign(claims: dict[str, Any], key: Key, typ: str = "at+jwt") -> str:
    """The claims as a JWT, signed with this key and its algorithm. `kid` is the key's id."""
    algorithm = str(key.alg)
    return jwt.encode({"alg": algorithm, "typ": typ, "kid": key.kid}, claims, key, algorithms=[algorithm])
