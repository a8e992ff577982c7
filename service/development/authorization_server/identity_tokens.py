"""ID tokens of OpenID Connect, beside the access token, for the scope `openid`. Owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authlib.oidc.core import UserInfo
from authlib.oidc.core.grants import OpenIDCode

if TYPE_CHECKING:
    from joserfc.jwk import Key

    from service.development.authorization_server.clients import RegisteredClient
    from service.development.authorization_server.sessions import SignIn
    from service.development.authorization_server.signing_keys import SigningKeys

ALGORITHM = "RS256"


class IdentityTokens(OpenIDCode):  # type: ignore[misc]  # Authlib ships no types
    """Adds the ID token to the answer for a code (OpenID Connect Core section 3.1.3.3)."""

    def __init__(self, issuer: str, keys: SigningKeys) -> None:
        super().__init__()
        self._issuer, self._keys = issuer, keys

    def __call__(self, grant: Any) -> None:
        """Register the token alone: `prompt` is handled by Demand, and a code is used once, so that a nonce is too."""
        grant.register_hook("after_create_token_response", self.process_token)

    def get_client_algorithm(self, _client: RegisteredClient) -> str:
        return ALGORITHM

    def get_encode_header(self, _client: RegisteredClient) -> dict[str, str]:
        return {"alg": ALGORITHM, "kid": str(self._keys.signing_key(ALGORITHM).kid)}

    def get_client_claims(self, client: RegisteredClient) -> dict[str, Any]:
        return {"iss": self._issuer, "aud": client.get_client_id()}

    def resolve_client_private_key(self, _client: RegisteredClient) -> Key:
        return self._keys.signing_key(ALGORITHM)

    def generate_user_info(self, user: SignIn, scope: str) -> UserInfo:
        name = {"name": user.person.name} if "profile" in scope.split() else {}
        return UserInfo(sub=user.person.subject, **name)
