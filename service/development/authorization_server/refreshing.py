"""The refresh grant (RFC 6749 section 6) with rotation: each refresh token is good once, and a second use of one, which
says that somebody copied it, revokes its whole family (RFC 9700 section 4.14.2). Owns no state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749 import InvalidGrantError, grants

from service.development.authorization_server.issuing import Issuing

if TYPE_CHECKING:
    from service.development.authorization_server.clients import RegisteredClient
    from service.development.authorization_server.issued_tokens import RefreshToken
    from service.development.authorization_server.sessions import SignIn


class RefreshGrant(Issuing, grants.RefreshTokenGrant):  # type: ignore[misc]  # Authlib ships no types
    """Scopes may be fewer than granted, for that access token alone."""

    INCLUDE_NEW_REFRESH_TOKEN = True
    TOKEN_ENDPOINT_AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post")

    def _validate_request_token(self, client: RegisteredClient) -> RefreshToken:
        found: RefreshToken = super()._validate_request_token(client)
        if found.spent:
            self.server.issued.revoke_family(found.family)
            raise InvalidGrantError("This refresh token was used before; everything that came of its grant is revoked")
        if found.key_thumbprint is not None and found.key_thumbprint != self.request.key_thumbprint:
            raise InvalidGrantError("This refresh token is bound to a key that the request does not prove")
        return found

    def authenticate_refresh_token(self, refresh_token: str) -> RefreshToken | None:
        found: RefreshToken | None = self.server.issued.refresh(refresh_token)
        return found

    def authenticate_user(self, refresh_token: RefreshToken) -> SignIn:
        return refresh_token.sign_in

    def issue_token(self, user: SignIn, refresh_token: RefreshToken) -> dict[str, Any]:
        self.request.family = refresh_token.family
        self.request.inherited_format = refresh_token.token_format
        self.request.whole_scope = refresh_token.scope
        issued: dict[str, Any] = super().issue_token(user, refresh_token)
        return issued

    def revoke_old_credential(self, refresh_token: RefreshToken) -> None:
        """It is kept, marked: its second use must be seen."""
        refresh_token.spent = True
