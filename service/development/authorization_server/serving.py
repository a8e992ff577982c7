"""Serves the development authorization server, in this process, on the loopback address that its issuer names."""

from __future__ import annotations

import asyncio
import contextlib
import logging
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


async def _answers(issuer: str, serving: asyncio.Task[None]) -> None:
    async with httpx.AsyncClient(timeout=2, trust_env=False) as http:
        while not serving.done():
            with contextlib.suppress(httpx.TransportError):
                await http.get(f"{issuer.rstrip('/')}/jwks")
                return
            await asyncio.sleep(0.02)
    await serving
