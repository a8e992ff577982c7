"""Registered clients, in the interface that Authlib uses. Pure: the clients are data in people.py."""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING

from authlib.oauth2.rfc6749 import ClientMixin

from service.development.people import CLIENTS, sort_scopes

if TYPE_CHECKING:
    from service.development.people import DemoClient

_LOOPBACK_WITHOUT_PORT = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\]))(/.*)")


def find(client_id: str) -> RegisteredClient | None:
    """The client with this id, or None."""
    client = CLIENTS.get(client_id)
    return RegisteredClient(client) if client else None


class RegisteredClient(ClientMixin):  # type: ignore[misc]  # Authlib ships no types
    """A demo client with Authlib's interface (RFC 6749 section 2)."""

    def __init__(self, client: DemoClient) -> None:
        self.demo = client
        self.signing_algorithm = client.signing_algorithm

    @property
    def is_public(self) -> bool:
        return self.demo.secret is None

    def get_client_id(self) -> str:
        return self.demo.client_id

    def get_default_redirect_uri(self) -> None:
        """None: every authorization request must have a redirect URI (RFC 9700 section 4.1)."""

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """The requested scopes, or all of the client's if none are requested. None, which becomes `invalid_scope`, if
        a requested scope is not the client's.
        """
        asked = frozenset((scope or "").split()) or frozenset(self.demo.scopes)
        return " ".join(sort_scopes(asked)) if asked <= frozenset(self.demo.scopes) else None

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return any(_same_redirect(registered, redirect_uri) for registered in self.demo.redirect_uris)

    def check_post_logout_uri(self, uri: str) -> bool:
        """Whether a browser may go there after the person signed out."""
        return any(_same_redirect(registered, uri) for registered in self.demo.post_logout_uris)

    def check_client_secret(self, client_secret: str) -> bool:
        return self.demo.secret is not None and hmac.compare_digest(self.demo.secret.encode(), client_secret.encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:  # noqa: ARG002  # Authlib's signature
        if self.demo.secret is None:
            return method == "none"
        if method == "private_key_jwt":
            return self.demo.introspects
        return method in ("client_secret_basic", "client_secret_post")

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code" and "authorization_code" in self.demo.grants

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.demo.grants


def _same_redirect(registered: str, asked: str) -> bool:
    """Whether two redirect URIs are equal (RFC 9700 section 4.1.3), except for the port of a loopback address (RFC
    8252 section 7.3).
    """
    loopback = _LOOPBACK_WITHOUT_PORT.fullmatch(registered)
    if loopback is None:
        return asked == registered
    origin, path = loopback.groups()
    return re.fullmatch(rf"{re.escape(origin)}(?::[0-9]{{1,5}})?{re.escape(path)}", asked) is not None
