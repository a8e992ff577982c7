"""Makes the tokens of one answer: an access token, JWT or opaque, bound to a key or not, and a refresh token.

Owns no state: IssuedTokens stores the tokens. Authlib's own token generators are not used, because they know neither
the request nor the family.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749 import InvalidRequestError, InvalidScopeError

from service.development.authorization_server.access_tokens import LIFETIME_SECONDS, access_token_claims, sign
from service.development.authorization_server.issued_tokens import AccessToken, IssuedTokens, RefreshToken

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
        answer = self._make(asked, claims, token_format, family)
        if with_refresh and who is not None:
            # A confidential client's refresh tokens are bound to the client already (RFC 9449 section 5).
            held = bound if asked.client.is_public else None
            whole = asked.whole_scope or allowed
            stands_for = RefreshToken(family, client_id, whole, who, held, token_format)
            answer["refresh_token"] = self._issued.new_refresh(stands_for)
        return answer

    def exchange(self, asked: ProtocolRequest, subject: AccessToken) -> dict[str, Any]:
        """A token for the person of `subject` with the client as its actor (RFC 8693 section 4.1). It has at most the
        scopes of both, ends with that of the person, and is revoked with it. Raises InvalidScopeError."""
        client_id, held = asked.client.get_client_id(), subject.claims
        allowed = asked.client.get_allowed_scope(asked.payload.scope)
        granted = [scope for scope in (allowed or "").split() if scope in held["scope"].split()]
        wanted = (asked.payload.scope or "").split()
        if not granted or not set(wanted) <= set(granted):
            raise InvalidScopeError
        before = {"act": held["act"]} if "act" in held else {}
        bound = {"cnf": {"jkt": asked.key_thumbprint}} if asked.key_thumbprint else {}
        now = int(time.time())
        claims = {
            **held,
            "client_id": client_id,
            "scope": " ".join(granted),
            "iat": now,
            "exp": min(held["exp"], now + LIFETIME_SECONDS),
            "jti": secrets.token_urlsafe(16),
            "act": {"sub": client_id, "client_id": client_id, **before},
            **bound,
        }
        token_format = asked.form.get("token_format", FORMATS[0])
        if token_format not in FORMATS:
            raise InvalidRequestError("The token_format must be jwt or opaque")
        return self._make(asked, claims, token_format, subject.family)

    def _make(self, asked: ProtocolRequest, claims: dict[str, Any], token_format: str, family: str) -> dict[str, Any]:
        """Make and store the access token. Returns the members of the answer."""
        token = (
            secrets.token_urlsafe(32)
            if token_format == "opaque"  # noqa: S105  # a format, no secret
            else sign(claims, self._keys.signing_key(asked.client.signing_algorithm))
        )
        self._issued.keep_access(token, claims, family)
        return {
            "access_token": token,
            "token_type": "DPoP" if "cnf" in claims else "Bearer",
            "expires_in": claims["exp"] - claims["iat"],
            "scope": claims["scope"],
        }
