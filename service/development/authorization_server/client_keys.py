"""The key with which the demo resource server proves itself (`private_key_jwt`), and the check of what it signs.

The key pair is made once and is durable in a private file of the key directory, for the service to read. The memory of
assertions already used is owned here, bounded, and not durable.
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

_LONGEST_LIFE = 600
_LEEWAY = 60


def load_or_make(directory: Path) -> dict[str, Key]:
    """The private key of each client that may introspect, by client id, kept as PEM in `<client id>.pem`.

    Raises Misconfigured when a file cannot be read as one.
    """
    return {
        client.client_id: _key(directory / f"{client.client_id}.pem")
        for client in CLIENTS.values()
        if client.introspects
    }


class ClientAssertion(JWTBearerClientAssertion):  # type: ignore[misc]  # Authlib ships no types
    """RFC 7523 section 3: a short-lived JWT, good once, for one of our own addresses."""

    CLIENT_AUTH_METHOD = "private_key_jwt"

    def __init__(self, keys: Mapping[str, Key], audiences: Sequence[str]) -> None:
        super().__init__(leeway=_LEEWAY)
        self._keys = keys
        self._audiences = list(audiences)
        self._used: ExpiringStore[bool] = ExpiringStore(seconds=_LONGEST_LIFE + 2 * _LEEWAY, capacity=50_000)

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
        """Whether the assertion is new. Raises InvalidClientError for one that we would forget before it expires."""
        if claims["exp"] > time.time() + _LONGEST_LIFE:
            raise InvalidClientError(description="The assertion lives for more than ten minutes")
        if not isinstance(jti, str) or self._used.find(f"{claims['sub']} {jti}"):
            return False
        self._used.put(f"{claims['sub']} {jti}", value=True)
        return True


def _key(path: Path) -> Key:
    if not path.exists():
        made = ECKey.generate_key("P-256")
        key_files.keep_first(path, made.as_pem(private=True).decode())
    path.chmod(0o600)
    try:
        key = ECKey.import_key(path.read_bytes())
    except (JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Misconfigured(f"{path} holds no readable key; delete it to have a new one made") from error
    if not key.is_private:
        raise Misconfigured(f"{path} holds no private key; delete it to have a new one made")
    return key
