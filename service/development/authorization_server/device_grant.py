"""The device grant (RFC 8628) on Authlib's: a device asks for a code, and polls until somebody has said yes or no.
Own no state: requests belong to the server's DeviceRequests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749 import InvalidGrantError, InvalidScopeError, UnauthorizedClientError
from authlib.oauth2.rfc8628 import DeviceAuthorizationEndpoint, DeviceCodeGrant

from service.development.authorization_server.device_requests import INTERVAL_SECONDS, LIFETIME_SECONDS
from service.development.authorization_server.issuing import Issuing

if TYPE_CHECKING:
    from service.development.authorization_server.clients import RegisteredClient
    from service.development.authorization_server.device_requests import DeviceRequest
    from service.development.authorization_server.requests import ProtocolRequest
    from service.development.authorization_server.sessions import SignIn

VERIFICATION_PATH = "/device"


class DeviceAuthorization(DeviceAuthorizationEndpoint):  # type: ignore[misc]  # Authlib ships no types
    """Section 3.1: gives the device its code, and the person's."""

    EXPIRES_IN = LIFETIME_SECONDS
    INTERVAL = INTERVAL_SECONDS

    def authenticate_client(self, request: ProtocolRequest) -> RegisteredClient:
        client: RegisteredClient = super().authenticate_client(request)
        if not client.check_grant_type(DeviceGrant.GRANT_TYPE):
            raise UnauthorizedClientError("This client is not registered for devices")
        self.server.one_audience.check(request)
        allowed = client.get_allowed_scope(request.payload.scope)
        if allowed is None:
            raise InvalidScopeError
        request.scope = allowed
        return client

    def create_endpoint_response(self, request: ProtocolRequest) -> Any:
        self._request = request  # one endpoint serves all, but nothing is awaited until the answer is made
        return super().create_endpoint_response(request)

    def get_verification_uri(self) -> str:
        address: str = self.server.endpoint(VERIFICATION_PATH)
        return address

    def save_device_credential(self, client_id: str, scope: str | None, data: dict[str, Any]) -> None:  # noqa: ARG002
        self.server.devices.add(client_id, self._request.scope, data["device_code"], data["user_code"])


class DeviceGrant(Issuing, DeviceCodeGrant):  # type: ignore[misc]  # Authlib ships no types
    """Section 3.4: the device asks for its tokens."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post")

    def query_device_credential(self, device_code: str) -> DeviceRequest:
        found: DeviceRequest | None = self.server.devices.of_device(device_code)
        if found is None:
            raise InvalidGrantError("There is no such device code, or it was used")
        self._device_code = device_code
        self._waiting = found
        return found

    def query_user_grant(self, user_code: str) -> tuple[SignIn | None, bool] | None:  # noqa: ARG002
        if not self._waiting.decided:
            return None
        return self._waiting.sign_in, self._waiting.sign_in is not None

    def should_slow_down(self, credential: DeviceRequest) -> bool:
        return credential.asks_too_often()

    def save_token(self, token: dict[str, Any]) -> None:
        super().save_token(token)
        self.server.devices.spend(self._device_code)
