"""Serves the development authorization server, in this process, on the loopback address that its issuer names."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from service.development.authorization_server.application import create, loopback_address
from service.listening import listen, serving

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator
    from pathlib import Path


@contextlib.asynccontextmanager
async def running(
    issuer: str, audience: str, key_directory: Path, *, listener: socket.socket | None = None
) -> AsyncIterator[None]:
    """Inside this block the server answers at `issuer`; afterwards it has stopped. `listener`: the socket on which the
    port of the issuer has been held since it was chosen; it is closed.

    Raises Misconfigured as `create` does, and when the port is taken.
    """
    address, port = loopback_address(issuer)
    with listener or listen(address, port) as held:
        async with serving(create(issuer, audience, key_directory), held):
            yield
