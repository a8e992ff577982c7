"""The key with which the demo resource server authenticates (`private_key_jwt`), and the check of its assertions.

The key pair is created once, in a private file of the key directory that the service reads. Owns the used assertions,
in memory and bounded.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749 import InvalidClientError
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key

from service.development.authorization_server import key_files
from service.development.authorization_server.expiring import ExpiringStore
from service.development.people import CLIENTS
from service.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from service.development.authorization_server.clients import RegisteredClient
    from service.development.authorization_server.requests import ProtocolRequest

_MAX_LIFETIME_SECONDS = 600
_LEEWAY_SECONDS = 60


def load_or_create(directory: Path) -> dict[str, Key]:
    """The private key of each client that may introspect, by client id, stored as PEM in `<client id>.pem`.

    Raises Misconfigured if a file holds no such key.
    """
    return {
        client.client_id: _load_key(directory / f"{client.client_id}.pem")
        for client in CLIENTS.values()
        if client.introspects
    }


class ClientAssertion(JWTBearerClientAssertion):  # type: ignore[misc]  # Authlib ships no types
    """RFC 7523 section 3: a short-lived JWT for one of our addresses that can be used once."""

    CLIENT_AUTH_METHOD = "private_key_jwt"

    def __init__(self, keys: Mapping[str, Key], audiences: Sequence[str]) -> None:
        super().__init__(leeway=_LEEWAY_SECONDS)
        self._keys = keys
        self._audiences = list(audiences)
        self._used: ExpiringStore[bool] = ExpiringStore(
            seconds=_MAX_LIFETIME_SECONDS + 2 * _LEEWAY_SECONDS, capacity=50_000
        )

    def __call__(self, query_client: Callable[[str], RegisteredClient | None], request: ProtocolRequest) -> Any:
        try:
            return super().__call__(query_client, request)
        except InvalidClientError as error:
            error.status_code = 401  # RFC 7662 section 2.3
            raise

    def get_audiences(self) -> list[str]:
        return self._audiences

    def resolve_client_public_key(self, client: RegisteredClient) -> Key:
        key = self._keys.get(client.get_client_id())
        if key is None:
            raise InvalidClientError(description="The client has no key here")
        return key

    def validate_jti(self, claims: Mapping[str, Any], jti: object) -> bool:
        """Whether the assertion is new. Raises InvalidClientError if it outlives our record of it."""
        if claims["exp"] > time.time() + _MAX_LIFETIME_SECONDS:
            raise InvalidClientError(description="The assertion lives for more than ten minutes")
        if not isinstance(jti, str) or self._used.find(f"{claims['sub']} {jti}"):
            return False
        self._used.put(f"{claims['sub']} {jti}", value=True)
        return True


def _load_key(path: Path) -> Key:
    if not path.exists():
        fresh = ECKey.generate_key("P-256")
        key_files.write_new(path, fresh.as_pem(private=True).decode())
    path.chmod(0o600)
    try:
        key = ECKey.import_key(path.read_bytes())
    except (JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Misconfigured(f"{path} holds no valid key; delete it to create a new one") from error
    if not key.is_private:
        raise Misconfigured(f"{path} holds no private key; delete it to create a new one")
    return key
