"""Introspection (RFC 7662) and revocation (RFC 7009), on Authlib's endpoints.

Own no state: they read and change the server's table of issued tokens.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749 import InvalidRequestError
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint

from service.development.authorization_server.access_tokens import sign

if TYPE_CHECKING:
    from service.development.authorization_server.clients import RegisteredClient
    from service.development.authorization_server.issued_tokens import AccessToken, RefreshToken
    from service.development.authorization_server.requests import ProtocolRequest

CLIENT_METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt")
SIGNED_ANSWER = "application/token-introspection+jwt"
ANSWER_ALGORITHM = "RS256"


class Introspection(IntrospectionEndpoint):  # type: ignore[misc]  # Authlib ships no types
    """For resource servers, only about access tokens. For an invalid token the answer is only `active: false`."""

    CLIENT_AUTH_METHODS = CLIENT_METHODS

    def check_params(self, request: ProtocolRequest, client: RegisteredClient) -> None:  # noqa: ARG002
        _check_has_token(request)

    def query_token(self, token_string: str, token_type_hint: str | None) -> AccessToken | None:  # noqa: ARG002
        found: AccessToken | None = self.server.issued.access(token_string)
        return found

    def check_permission(self, token: AccessToken, client: RegisteredClient, request: ProtocolRequest) -> bool:  # noqa: ARG002
        return client.demo.introspects

    def create_introspection_payload(self, token: AccessToken | None) -> dict[str, Any]:
        if token is None:
            return {"active": False}
        bound = "cnf" in token.claims
        return {"active": True, "token_type": "DPoP" if bound else "Bearer", **token.claims}


class Revocation(RevocationEndpoint):  # type: ignore[misc]  # Authlib ships no types
    """Revokes a client's own tokens: an access token alone, or a refresh token with all tokens of its grant. Unknown
    tokens get the same answer, and a wrong hint is ignored (section 2.1).
    """

    CLIENT_AUTH_METHODS = ("none", *CLIENT_METHODS)

    def check_params(self, request: ProtocolRequest, client: RegisteredClient) -> None:  # noqa: ARG002
        _check_has_token(request)

    def query_token(self, token_string: str, token_type_hint: str | None) -> _OwnToken | None:  # noqa: ARG002
        issued = self.server.issued
        found: AccessToken | RefreshToken | None = issued.access(token_string) or issued.refresh(token_string)
        return None if found is None else _OwnToken(token_string, found)

    def revoke_token(self, token: _OwnToken, request: ProtocolRequest) -> None:  # noqa: ARG002
        self.server.issued.revoke(token.text)


class _OwnToken:
    """A token in Authlib's interface."""

    def __init__(self, text: str, found: AccessToken | RefreshToken) -> None:
        self.text = text
        self._found = found

    def check_client(self, client: RegisteredClient) -> bool:
        return self._found.belongs_to(client.get_client_id())


def sign_answer(server: Any, client_id: str, answer: dict[str, Any]) -> str:
    """The answer as a JWT for one resource server (RFC 9701 section 5)."""
    claims = {"iss": server.issuer, "aud": client_id, "iat": int(time.time()), "token_introspection": answer}
    return sign(claims, server.keys.signing_key(ANSWER_ALGORITHM), "token-introspection+jwt")


def _check_has_token(request: ProtocolRequest) -> None:
    if not request.form.get("token"):
        raise InvalidRequestError("Missing 'token' in request.")
