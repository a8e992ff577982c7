"""Makes the tokens of one answer: an access token, JWT or opaque, bound to a key or not, and a refresh token.

Owns no state: IssuedTokens stores the tokens. Authlib's own token generators are not used, because they know neither
the request nor the family.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749 import InvalidRequestError, InvalidScopeError

from service.development.authorization_server.access_tokens import LIFETIME_SECONDS, access_token_claims, sign
from service.development.authorization_server.issued_tokens import IssuedTokens, RefreshToken

if TYPE_CHECKING:
    from service.development.authorization_server.requests import ProtocolRequest
    from service.development.authorization_server.sessions import SignIn
    from service.development.authorization_server.signing_keys import SigningKeys

FORMATS = ("jwt", "opaque")


class Issuing:
    """A mixin before Authlib's grants that makes their tokens."""

    server: Any
    request: ProtocolRequest

    def generate_token(
        self,
        user: SignIn | None = None,
        scope: str | None = None,
        grant_type: str | None = None,  # noqa: ARG002  # Authlib's signature
        expires_in: int | None = None,  # noqa: ARG002
        include_refresh_token: bool = True,  # noqa: FBT001, FBT002
    ) -> dict[str, Any]:
        issued: dict[str, Any] = self.server.issuer_of_tokens.issue(
            self.request, user, scope, with_refresh=include_refresh_token
        )
        return issued


class TokenIssuer:
    """`issuer` and `audience`: those of the tokens."""

    def __init__(self, issuer: str, audience: str, keys: SigningKeys, issued: IssuedTokens) -> None:
        self._issuer = issuer
        self._audience = audience
        self._keys = keys
        self._issued = issued

    def issue(
        self, asked: ProtocolRequest, who: SignIn | None, scope: str | None, *, with_refresh: bool
    ) -> dict[str, Any]:
        """The members of the answer (RFC 6749 section 5.1, RFC 9449 section 5).

        The request may have `token_format`: `jwt` or `opaque`; a refreshed token keeps the format of the first one.
        Raises InvalidRequestError for another format, InvalidScopeError for scopes that are not the client's.
        """
        client_id = asked.client.get_client_id()
        allowed = asked.client.get_allowed_scope(scope)
        if allowed is None:
            raise InvalidScopeError
        token_format = asked.form.get("token_format", asked.inherited_format)
        if token_format not in FORMATS:
            raise InvalidRequestError("The token_format must be jwt or opaque")
        family = asked.family or secrets.token_urlsafe(16)
        bound = asked.key_thumbprint
        claims = access_token_claims(self._issuer, self._audience, client_id, who, allowed, bound)
        token = (
            secrets.token_urlsafe(32)
            if token_format == "opaque"  # noqa: S105  # a format, no secret
            else sign(claims, self._keys.signing_key(asked.client.signing_algorithm))
        )
        self._issued.keep_access(token, claims, family)
        answer = {
            "access_token": token,
            "token_type": "DPoP" if bound else "Bearer",
            "expires_in": LIFETIME_SECONDS,
            "scope": allowed,
        }
        if with_refresh and who is not None:
            # A confidential client's refresh tokens are bound to the client already (RFC 9449 section 5).
            held = bound if asked.client.is_public else None
            whole = asked.whole_scope or allowed
            stands_for = RefreshToken(family, client_id, whole, who, held, token_format)
            answer["refresh_token"] = self._issued.new_refresh(stands_for)
        return answer
