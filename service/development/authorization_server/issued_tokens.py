"""The table of issued tokens, for introspection, refresh and revocation.

Owns the table: in memory, bounded, by the SHA-256 of the token, each entry until it expires. After a restart earlier
refresh tokens and opaque tokens are invalid, while JWTs are still verified by their signature.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.development.authorization_server.access_tokens import LIFETIME_SECONDS
from service.development.authorization_server.expiring import ExpiringStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.development.authorization_server.sessions import SignIn

_REFRESH_SECONDS = 8 * 3600
_MAX_TOKENS = 10_000


@dataclass(frozen=True, slots=True)
class AccessToken:
    """The claims of an access token, and its family: all tokens of one grant."""

    claims: Mapping[str, Any]
    family: str

    def belongs_to(self, client_id: str) -> bool:
        return bool(self.claims["client_id"] == client_id)


@dataclass(slots=True)
class RefreshToken:
    """The data of a refresh token. `key_thumbprint`: the DPoP key that it is bound to. `spent`: whether it was used."""

    family: str
    client_id: str
    scope: str
    sign_in: SignIn
    key_thumbprint: str | None
    token_format: str
    spent: bool = False

    def belongs_to(self, client_id: str) -> bool:
        return self.client_id == client_id

    def check_client(self, client: Any) -> bool:
        """Part of Authlib's interface."""
        return self.belongs_to(client.get_client_id())

    def get_scope(self) -> str:
        return self.scope


class IssuedTokens:
    """The table. Revoking a family includes tokens that are issued later."""

    def __init__(self) -> None:
        self._access: ExpiringStore[AccessToken] = ExpiringStore(seconds=LIFETIME_SECONDS, capacity=_MAX_TOKENS)
        self._refresh: ExpiringStore[RefreshToken] = ExpiringStore(seconds=_REFRESH_SECONDS, capacity=_MAX_TOKENS)
        self._revoked: ExpiringStore[bool] = ExpiringStore(seconds=_REFRESH_SECONDS * 2, capacity=_MAX_TOKENS)

    def keep_access(self, token: str, claims: Mapping[str, Any], family: str) -> None:
        self._access.put(_digest(token), AccessToken(claims, family))

    def new_refresh(self, stands_for: RefreshToken) -> str:
        """A new refresh token."""
        token = secrets.token_urlsafe(32)
        self._refresh.put(_digest(token), stands_for)
        return token

    def access(self, token: str) -> AccessToken | None:
        """The access token if it is known and valid."""
        found = self._access.find(_digest(token))
        if found is None or found.claims["exp"] <= time.time() or self.is_revoked(found.family):
            return None
        return found

    def refresh(self, token: str) -> RefreshToken | None:
        """The refresh token, used or not, if its family is not revoked."""
        found = self._refresh.find(_digest(token))
        return None if found is None or self.is_revoked(found.family) else found

    def revoke(self, token: str) -> None:
        """Revoke an access token alone, or a refresh token with its family."""
        digest = _digest(token)
        self._access.take(digest)
        found = self._refresh.find(digest)
        if found is not None:
            self.revoke_family(found.family)

    def revoke_family(self, family: str) -> None:
        """Revoke all tokens of one grant."""
        self._revoked.put(family, value=True)

    def is_revoked(self, family: str) -> bool:
        return self._revoked.find(family) is not None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
