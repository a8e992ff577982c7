"""The grants of this server, on Authlib's: the authorization code with PKCE, client credentials, and refresh tokens.

Owns no state: codes belong to the server object. A code lives for a minute in memory and can be used once; a second use
revokes what the first one got (RFC 6749 section 4.1.2). A refresh token can be used once too; a second use, which means
that it was copied, revokes its whole family (RFC 9700 section 4.14.2).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749 import AccessDeniedError, InvalidGrantError, InvalidRequestError, OAuth2Error, grants
from authlib.oauth2.rfc7636 import CodeChallenge

from service.development.authorization_server.issuing import Issuing
from service.development.people import grantable_scopes, sort_scopes

if TYPE_CHECKING:
    from service.development.authorization_server.clients import RegisteredClient
    from service.development.authorization_server.issued_tokens import RefreshToken
    from service.development.authorization_server.requests import ProtocolRequest
    from service.development.authorization_server.sessions import SignIn
    from service.development.authorization_server.visit import Approval


@dataclass(frozen=True, slots=True)
class IssuedCode:
    """The data of an authorization code."""

    client_id: str
    redirect_uri: str
    scope: str
    sign_in: SignIn
    code_challenge: str
    code_challenge_method: str
    key_thumbprint: str | None
    nonce: str | None
    family: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str | None:
        return self.nonce

    def get_auth_time(self) -> int:
        return self.sign_in.auth_time

    def get_acr(self) -> str | None:
        return self.sign_in.acr

    def get_amr(self) -> list[str]:
        return list(self.sign_in.methods)


class CodeGrant(Issuing, grants.AuthorizationCodeGrant):  # type: ignore[misc]  # Authlib ships no types
    """RFC 6749 section 4.1, for public and confidential clients."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post")

    def save_authorization_code(self, code: str, request: ProtocolRequest) -> None:
        """Store the code with the scopes that were requested, that the person ticked, and that the person may grant.

        Raises AccessDeniedError if no scope remains.
        """
        approval: Approval = request.user
        granted = frozenset(request.scope.split()) & approval.ticked & grantable_scopes(approval.sign_in.person)
        if not granted:
            raise AccessDeniedError("No permission was granted", redirect_uri=request.payload.redirect_uri)
        issued = IssuedCode(
            client_id=request.client.get_client_id(),
            redirect_uri=request.payload.redirect_uri,
            scope=" ".join(sort_scopes(granted)),
            sign_in=approval.sign_in,
            code_challenge=request.payload.data["code_challenge"],
            code_challenge_method=request.payload.data["code_challenge_method"],
            key_thumbprint=request.payload.data.get("dpop_jkt"),
            nonce=request.payload.data.get("nonce"),
        )
        self.server.codes.put(code, issued)

    def query_authorization_code(self, code: str, client: RegisteredClient) -> IssuedCode | None:
        """The code if it is this client's. It is used up here, even if the request fails afterwards."""
        issued: IssuedCode | None = self.server.codes.find(code)
        if issued is None:
            self._revoke_tokens_of(code)
            return None
        if issued.client_id != client.get_client_id():
            return None
        self.server.codes.take(code)
        self.server.spent_codes.put(code, issued)
        if issued.key_thumbprint is not None and issued.key_thumbprint != self.request.key_thumbprint:
            raise InvalidGrantError("The code is bound to a key that the request does not prove")  # RFC 9449 section 10
        self.request.family = issued.family
        return issued

    def _revoke_tokens_of(self, code: str) -> None:
        spent: IssuedCode | None = self.server.spent_codes.find(code)
        if spent is not None:
            self.server.issued.revoke_family(spent.family)

    def delete_authorization_code(self, authorization_code: IssuedCode) -> None:
        """Does nothing: the code was removed when it was presented."""

    def authenticate_user(self, authorization_code: IssuedCode) -> SignIn:
        return authorization_code.sign_in


class MachineGrant(Issuing, grants.ClientCredentialsGrant):  # type: ignore[misc]  # Authlib ships no types
    """RFC 6749 section 4.4: a client that acts for itself."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")


class S256Only(CodeChallenge):  # type: ignore[misc]  # Authlib ships no types
    """PKCE for every client, only with S256. Authlib also accepts `plain`, uses it as the default, and accepts requests
    without a challenge (RFC 7636 section 4.4.1, RFC 9700 section 2.1.1).
    """

    DEFAULT_CODE_CHALLENGE_METHOD = "S256"
    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: CodeGrant, redirect_uri: str | None) -> None:
        asked = grant.request.payload.data
        if "code_challenge" not in asked:
            raise InvalidRequestError("Missing 'code_challenge': PKCE is required")
        if asked.get("code_challenge_method") != "S256":
            raise InvalidRequestError("The 'code_challenge_method' must be S256")
        super().validate_code_challenge(grant, redirect_uri)


class InvalidTargetError(OAuth2Error):  # type: ignore[misc]  # Authlib ships no types
    """RFC 8707 section 2: this server issues no tokens for that resource."""

    error = "invalid_target"
    description = "This server issues tokens only for another resource"


class OneAudience:
    """Refuses `resource` (RFC 8707) and Auth0's `audience` if they name another audience than ours. Authlib ignores
    both.
    """

    def __init__(self, audience: str) -> None:
        self._audience = audience

    def __call__(self, grant: CodeGrant | MachineGrant) -> None:
        grant.register_hook("after_validate_authorization_request_payload", self._check)
        grant.register_hook("before_create_token_response", self._check)

    def _check(self, grant: CodeGrant | MachineGrant, *_result: Any) -> None:
        self.check(grant.request)

    def check(self, request: ProtocolRequest) -> None:
        """Raises InvalidTargetError."""
        asked = request.payload.datalist
        named = (*asked.get("resource", ()), *asked.get("audience", ()))
        if any(name != self._audience for name in named):
            raise InvalidTargetError


class RefreshGrant(Issuing, grants.RefreshTokenGrant):  # type: ignore[misc]  # Authlib ships no types
    """RFC 6749 section 6. The new access token may have fewer scopes than were granted."""

    INCLUDE_NEW_REFRESH_TOKEN = True
    TOKEN_ENDPOINT_AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post")

    def _validate_request_token(self, client: RegisteredClient) -> RefreshToken:
        found: RefreshToken = super()._validate_request_token(client)
        if found.spent:
            self.server.issued.revoke_family(found.family)
            raise InvalidGrantError("This refresh token was used before; all tokens of its grant are revoked")
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
        """Mark it as used and keep it, to detect a second use."""
        refresh_token.spent = True
