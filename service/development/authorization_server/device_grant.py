"""The device grant (RFC 8628) on Authlib's: a device gets a code and polls until the person has decided.

Owns the device requests: in memory, bounded, for ten minutes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749 import InvalidGrantError, InvalidScopeError, UnauthorizedClientError
from authlib.oauth2.rfc8628 import DeviceAuthorizationEndpoint, DeviceCodeGrant

from service.development.authorization_server.expiring import ExpiringStore
from service.development.authorization_server.issuing import Issuing

if TYPE_CHECKING:
    from service.development.authorization_server.clients import RegisteredClient
    from service.development.authorization_server.requests import ProtocolRequest
    from service.development.authorization_server.sessions import SignIn


LIFETIME_SECONDS = 600
INTERVAL_SECONDS = 1
SLOW_DOWN_SECONDS = 5
_MAX_REQUESTS = 1000


@dataclass(slots=True)
class DeviceRequest:
    """One device. `scope`: the requested scopes, and after consent the granted ones."""

    client_id: str
    user_code: str
    scope: str
    expires_at: float
    interval: float = INTERVAL_SECONDS
    asked_at: float | None = None
    decided: bool = False
    sign_in: SignIn | None = None

    def get_client_id(self) -> str:
        return self.client_id

    def get_scope(self) -> str:
        return self.scope

    def get_user_code(self) -> str:
        return self.user_code

    def is_expired(self) -> bool:
        return time.monotonic() >= self.expires_at

    def asks_too_often(self) -> bool:
        """Note a poll of the device. Returns whether it came too early; the device must then wait longer (section
        3.5)."""
        now = time.monotonic()
        hasty = self.asked_at is not None and now - self.asked_at < self.interval
        self.asked_at = now
        self.interval += SLOW_DOWN_SECONDS if hasty else 0
        return hasty


class DeviceRequests:
    """The requests, found by the device code or the user code."""

    def __init__(self) -> None:
        # Stored for longer than they are valid, to distinguish an expired code from an unknown one.
        seconds = 2 * LIFETIME_SECONDS
        self._by_device: ExpiringStore[DeviceRequest] = ExpiringStore(seconds=seconds, capacity=_MAX_REQUESTS)
        self._by_person: ExpiringStore[DeviceRequest] = ExpiringStore(seconds=seconds, capacity=_MAX_REQUESTS)

    def add(self, client_id: str, scope: str, device_code: str, user_code: str) -> None:
        request = DeviceRequest(client_id, user_code, scope, time.monotonic() + LIFETIME_SECONDS)
        self._by_device.put(device_code, request)
        self._by_person.put(_normalize(user_code), request)

    def find_by_device(self, device_code: str) -> DeviceRequest | None:
        return self._by_device.find(device_code)

    def find_by_user_code(self, user_code: str) -> DeviceRequest | None:
        """The undecided request with this code, in any spelling (section 6.1)."""
        found = self._by_person.find(_normalize(user_code))
        return None if found is None or found.decided or found.is_expired() else found

    def spend(self, device_code: str) -> None:
        """Remove the code of a device that has its tokens."""
        self._by_device.take(device_code)


def _normalize(user_code: str) -> str:
    return "".join(filter(str.isalnum, user_code.upper()))


VERIFICATION_PATH = "/device"


class DeviceAuthorization(DeviceAuthorizationEndpoint):  # type: ignore[misc]  # Authlib ships no types
    """Section 3.1: gives the device its device code and user code."""

    EXPIRES_IN = LIFETIME_SECONDS
    INTERVAL = INTERVAL_SECONDS

    def authenticate_client(self, request: ProtocolRequest) -> RegisteredClient:
        client: RegisteredClient = super().authenticate_client(request)
        if not client.check_grant_type(DeviceGrant.GRANT_TYPE):
            raise UnauthorizedClientError("This client may not use the device grant")
        self.server.one_audience.check(request)
        allowed = client.get_allowed_scope(request.payload.scope)
        if allowed is None:
            raise InvalidScopeError
        request.scope = allowed
        return client

    def create_endpoint_response(self, request: ProtocolRequest) -> Any:
        self._request = request  # one endpoint serves all requests, but does not await until the answer is made
        return super().create_endpoint_response(request)

    def get_verification_uri(self) -> str:
        address: str = self.server.endpoint(VERIFICATION_PATH)
        return address

    def save_device_credential(self, client_id: str, scope: str | None, data: dict[str, Any]) -> None:  # noqa: ARG002
        self.server.devices.add(client_id, self._request.scope, data["device_code"], data["user_code"])


class DeviceGrant(Issuing, DeviceCodeGrant):  # type: ignore[misc]  # Authlib ships no types
    """Section 3.4: the device polls for its tokens."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post")

    def query_device_credential(self, device_code: str) -> DeviceRequest:
        found: DeviceRequest | None = self.server.devices.find_by_device(device_code)
        if found is None:
            raise InvalidGrantError("The device code is unknown or was used")
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
