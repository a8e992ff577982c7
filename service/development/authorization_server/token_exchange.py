"""Token exchange (RFC 8693): a client gets a token to act for the person of another token. Owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749 import BaseGrant, InvalidRequestError, TokenEndpointMixin, UnauthorizedClientError

if TYPE_CHECKING:
    from service.development.authorization_server.issued_tokens import AccessToken
    from service.development.authorization_server.requests import ProtocolRequest

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  # a type, no secret
MAX_ACTORS = 4


class ExchangeGrant(BaseGrant, TokenEndpointMixin):  # type: ignore[misc]  # Authlib ships no types
    """Section 2.1, for clients that are registered as agents: the client itself is the actor, so there is no
    `actor_token`."""

    GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

    server: Any
    request: ProtocolRequest

    def validate_token_request(self) -> None:
        """Raises OAuth2Error."""
        client = self.authenticate_token_endpoint_client()
        if not client.check_grant_type(self.GRANT_TYPE):
            raise UnauthorizedClientError(f"The client is not authorized to use 'grant_type={self.GRANT_TYPE}'")
        self.request.client = client
        form = self.request.form
        self.server.one_audience.check(self.request)
        if "actor_token" in form or "actor_token_type" in form:
            raise InvalidRequestError("The client itself is the actor: leave out the actor_token")
        if form.get("subject_token_type") != ACCESS_TOKEN:
            raise InvalidRequestError("The subject_token_type must be that of an access token")
        if form.get("requested_token_type", ACCESS_TOKEN) != ACCESS_TOKEN:
            raise InvalidRequestError("The requested_token_type must be that of an access token")
        self._subject = self._find_subject(form.get("subject_token", ""))
        self.validate_requested_scope()

    def create_token_response(self) -> tuple[int, dict[str, Any], Any]:
        """The answer (section 2.2.1)."""
        token = self.server.issuer_of_tokens.exchange(self.request, self._subject)
        return 200, token | {"issued_token_type": ACCESS_TOKEN}, self.TOKEN_RESPONSE_HEADER

    def _find_subject(self, token: str) -> AccessToken:
        """The token of the person. One that is bound to a key is its holder's alone."""
        found: AccessToken | None = self.server.issued.access(token)
        if found is None or "cnf" in found.claims or found.claims["sub"] == found.claims["client_id"]:
            raise InvalidRequestError("The subject_token is not a valid token of a person, or is bound to a key")
        if len(actors_of(found.claims)) >= MAX_ACTORS:
            raise InvalidRequestError(f"The subject_token has {MAX_ACTORS} actors already")
        return found


def actors_of(claims: Any) -> list[dict[str, Any]]:
    """The nested `act` claims (section 4.1), the current actor first."""
    found = []
    while "act" in claims:
        claims = claims["act"]
        found.append(claims)
    return found
