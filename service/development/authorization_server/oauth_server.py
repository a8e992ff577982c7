"""Authlib's authorization server, configured with our clients, grants and token issuer.

Owns the authorization codes, the waiting devices and the table of issued tokens, in memory. Independent of HTTP
frameworks: it takes a ProtocolRequest and returns a Reply.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749 import AuthorizationServer

from service.development.authorization_server import clients
from service.development.authorization_server.client_keys import ClientAssertion
from service.development.authorization_server.device_grant import DeviceAuthorization, DeviceGrant, DeviceRequests
from service.development.authorization_server.dpop_proof import ProofCheck
from service.development.authorization_server.expiring import ExpiringStore
from service.development.authorization_server.grants import CodeGrant, MachineGrant, OneAudience, RefreshGrant, S256Only
from service.development.authorization_server.identity_tokens import IdentityTokens
from service.development.authorization_server.issued_tokens import IssuedTokens
from service.development.authorization_server.issuing import TokenIssuer
from service.development.authorization_server.token_exchange import ExchangeGrant
from service.development.authorization_server.token_status import Introspection, Revocation
from service.development.people import ALL_MEANINGS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from joserfc.jwk import Key

    from service.development.authorization_server.grants import IssuedCode
    from service.development.authorization_server.requests import ProtocolRequest
    from service.development.authorization_server.signing_keys import SigningKeys


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the protocol: JSON, or a redirect if `location` is set."""

    status: int
    body: dict[str, Any] | None
    headers: dict[str, str]
    location: str | None


class OAuthServer(AuthorizationServer):  # type: ignore[misc]  # Authlib ships no types
    """`issuer`: exactly as in tokens and metadata. `audience`: the one resource that tokens are for."""

    def __init__(self, issuer: str, audience: str, keys: SigningKeys, client_keys: Mapping[str, Key]) -> None:
        super().__init__(scopes_supported=list(ALL_MEANINGS))
        self.issuer = issuer
        self.audience = audience
        self.keys = keys
        self.codes: ExpiringStore[IssuedCode] = ExpiringStore(seconds=60, capacity=1000)
        self.spent_codes: ExpiringStore[IssuedCode] = ExpiringStore(seconds=3600, capacity=1000)
        self.issued = IssuedTokens()
        self.proofs = ProofCheck()
        self.issuer_of_tokens = TokenIssuer(issuer, audience, keys, self.issued)
        self.devices = DeviceRequests()
        self.one_audience = OneAudience(audience)
        self.register_grant(CodeGrant, [S256Only(required=True), self.one_audience, IdentityTokens(issuer, keys)])
        for grant in (MachineGrant, RefreshGrant, DeviceGrant):
            self.register_grant(grant, [self.one_audience])
        self.register_grant(ExchangeGrant)
        self.register_endpoint(DeviceAuthorization)
        self.register_endpoint(Introspection)
        self.register_endpoint(Revocation)
        audiences = [issuer, *(self.endpoint(path) for path in ("/token", "/introspect", "/revoke"))]
        self.register_client_auth_method("private_key_jwt", ClientAssertion(client_keys, audiences))

    def endpoint(self, path: str) -> str:
        """The public address of a path."""
        return self.issuer.rstrip("/") + path

    def query_client(self, client_id: str) -> clients.RegisteredClient | None:
        return clients.find(client_id)

    def save_token(self, token: dict[str, Any], request: ProtocolRequest) -> None:
        """Does nothing: TokenIssuer stores the tokens."""

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Does nothing: there are no listeners."""

    def create_oauth2_request(self, request: ProtocolRequest) -> ProtocolRequest:
        return request

    def handle_response(self, status: int, body: Any, headers: Sequence[tuple[str, str]]) -> Reply:
        """Convert Authlib's answer. Every redirect is an authorization response, so it has our `iss` (RFC 9207 section
        2), and it is a 303, because the browser must not post the password again (RFC 9700 section 4.12).
        """
        rest = {name: value for name, value in headers if name.lower() != "location"}
        location = next((value for name, value in headers if name.lower() == "location"), None)
        if location is None:
            return Reply(status, body or None, rest, None)
        return Reply(303, None, rest, add_params_to_uri(location, {"iss": self.issuer}))
