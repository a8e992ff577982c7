"""JWT access tokens as RFC 9068 profiles them. Pure but for the clock: the keys are handed in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

    from service.development.authorization_server.clients import RegisteredClient
    from service.development.authorization_server.sessions import SignIn

LIFETIME_SECONDS = 3600


class AccessTokens(JWTBearerTokenGenerator):  # type: ignore[misc]  # Authlib ships no types
    """Makes the tokens of one signing algorithm. Authlib's own defaults (an audience equal to the client id, ten
    days) are replaced; `iss`, `exp`, `iat`, `jti`, `sub`, `client_id` and `scope` are Authlib's.
    """

    def __init__(self, issuer: str, audience: str, algorithm: str, keys: KeySet) -> None:
        super().__init__(issuer, alg=algorithm, expires_generator=LIFETIME_SECONDS)
        self._audience = audience
        self._keys = keys

    def get_jwks(self) -> KeySet:
        """The whole set: the key is chosen by its `alg`, and its `kid` goes into the header."""
        return self._keys

    def get_audiences(self, client: RegisteredClient, user: SignIn | None, scope: str) -> str:  # noqa: ARG002
        return self._audience

    def get_auth_time(self, user: SignIn | None) -> int | None:
        return user.auth_time if user else None

    def get_amr(self, user: SignIn | None) -> list[str] | None:
        """`pwd`, a password (RFC 8176), for people; nothing for clients that act for themselves."""
        return ["pwd"] if user else None

    def get_extra_claims(
        self,
        client: RegisteredClient,  # noqa: ARG002  # Authlib's signature
        grant_type: str,  # noqa: ARG002
        user: SignIn | None,
        scope: str,  # noqa: ARG002
    ) -> dict[str, Any]:
        """`roles` (RFC 9068 section 2.2.3.1) for people."""
        return {"roles": list(user.person.roles)} if user else {}
