"""Builds the development authorization server and serves it. Refuses any issuer that is not on loopback."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from litestar import Litestar
from litestar.config.allowed_hosts import AllowedHostsConfig
from litestar.di import Provide

from service.development.authorization_server import (
    authorize,
    client_keys,
    demo,
    device_pages,
    end_session,
    metadata,
    signing_keys,
    status_endpoints,
    token_endpoint,
)
from service.development.authorization_server.oauth_server import OAuthServer
from service.development.authorization_server.sessions import Sessions
from service.errors import Misconfigured
from service.identity.issuer import is_loopback
from service.listeners import listen, serving

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator
    from pathlib import Path


_MAX_BODY_BYTES = 64 * 1024


def create(issuer: str, audience: str, key_directory: Path) -> Litestar:
    """See the package's own `create`."""
    host = loopback_address(issuer)[0]
    # Authlib logs whole tokens at DEBUG.
    logging.getLogger("authlib").setLevel(logging.INFO)
    keys = signing_keys.load_or_create(key_directory)
    server = OAuthServer(issuer, audience, keys, client_keys.load_or_create(key_directory))
    sessions = Sessions()
    document = metadata.describe(server)
    return Litestar(
        route_handlers=[
            authorize.show,
            authorize.answer,
            token_endpoint.issue,
            device_pages.authorize_device,
            device_pages.show_device,
            device_pages.answer_device,
            device_pages.device_done,
            status_endpoints.introspect,
            status_endpoints.revoke,
            demo.show_demo,
            demo.read,
            demo.change_keys,
            end_session.end_session,
            metadata.discovery,
            metadata.jwks,
        ],
        dependencies={
            "server": Provide(lambda: server, sync_to_thread=False),
            "sessions": Provide(lambda: sessions, sync_to_thread=False),
            "metadata": Provide(lambda: document, sync_to_thread=False),
            "keys": Provide(lambda: keys, sync_to_thread=False),
        },
        # A page of another host name that resolves to loopback (DNS rebinding) must not reach this server.
        allowed_hosts=AllowedHostsConfig(allowed_hosts=[urlsplit(issuer).netloc, host]),
        openapi_config=None,
        logging_config=None,  # the embedding process configures the logs
        request_max_body_size=_MAX_BODY_BYTES,
    )


def loopback_address(issuer: str) -> tuple[str, int]:
    """The address and port to listen on. Raises Misconfigured unless the issuer is `http://` on loopback."""
    try:
        parts = urlsplit(issuer)
        host, port = parts.hostname or "", parts.port or 80
    except ValueError as error:
        raise Misconfigured("The development issuer is not a URL") from error
    address = "127.0.0.1" if host == "localhost" else host
    if parts.scheme != "http" or parts.username is not None or not is_loopback(host):
        raise Misconfigured("The development authorization server serves http:// on 127.0.0.1, localhost or [::1] only")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise Misconfigured("The development issuer must have no path, query or fragment")
    return address, port


@contextlib.asynccontextmanager
async def running(
    issuer: str, audience: str, key_directory: Path, *, listener: socket.socket | None = None
) -> AsyncIterator[None]:
    """Serve inside this block at `issuer`. `listener`: a socket that holds the port of the issuer; it is closed.

    Raises Misconfigured like `create`, and if the port is taken.
    """
    address, port = loopback_address(issuer)
    with listener or listen(address, port) as held:
        async with serving(create(issuer, audience, key_directory), held):
            yield
