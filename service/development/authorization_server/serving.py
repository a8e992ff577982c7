"""Serves the development authorization server, in this process, on the loopback address that its issuer names."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING

import httpx
from granian.constants import Interfaces
from granian.server.embed import Server

from service.development.authorization_server.application import create, loopback_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@contextlib.asynccontextmanager
async def running(issuer: str, audience: str, key_directory: Path) -> AsyncIterator[None]:
    """Inside this block the server answers at `issuer`; afterwards it has stopped.

    Raises Misconfigured as `create` does, and OSError when the port is taken.
    """
    address, port = loopback_address(issuer)
    _refuse_a_taken_port(address, port)
    logging.getLogger("_granian").setLevel(logging.ERROR)  # it warns that embedding is young
    app = create(issuer, audience, key_directory)
    server = Server(app, address=address, port=port, interface=Interfaces.ASGI, log_enabled=False, websockets=False)
    serving = asyncio.create_task(server.serve())
    try:
        await _answers(issuer, serving)
        yield
    finally:
        server.stop()  # type: ignore[no-untyped-call]  # Granian leaves this method untyped
        await serving


def _refuse_a_taken_port(address: str, port: int) -> None:
    # Granian shares its port (SO_REUSEPORT): a second server would start, and get every other request of the first.
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, port))


async def _answers(issuer: str, serving: asyncio.Task[None]) -> None:
    async with httpx.AsyncClient(timeout=2, trust_env=False) as http:
        while not serving.done():
            with contextlib.suppress(httpx.TransportError):
                await http.get(f"{issuer.rstrip('/')}/jwks")
                return
            await asyncio.sleep(0.02)
    await serving
