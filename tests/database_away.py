"""A Postgres that is away, and comes back: a port that refuses connections, and later leads to the real server."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class DatabaseAway(AbstractContextManager["DatabaseAway"]):
    """`url` names the database of the given URL at a port of its own, held but closed until `back`."""

    def __init__(self, url: str) -> None:
        real = urlsplit(url)
        self._real = (real.hostname or "", real.port or 0)
        # Bound without SO_REUSEADDR, so that nobody else gets it; as nobody listens, connections are refused.
        self._held = socket.socket()
        self._held.bind(("127.0.0.1", 0))
        account = real.netloc.rpartition("@")[0]
        self._writers: list[asyncio.StreamWriter] = []
        self.url = urlunsplit(real._replace(netloc=f"{account}@127.0.0.1:{self._held.getsockname()[1]}"))

    @asynccontextmanager
    async def back(self) -> AsyncIterator[None]:
        """Inside this block the server is there."""
        server = await asyncio.start_server(self._forward, sock=self._held.dup())
        try:
            yield
        finally:
            server.close()
            for writer in self._writers:
                writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, server = await asyncio.open_connection(*self._real)
        self._writers += (writer, server)
        await asyncio.gather(_copy(reader, server), _copy(behind, writer))

    def __exit__(self, *_: object) -> None:
        self._held.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while part := await source.read(65_536):
            target.write(part)
            await target.drain()
    target.close()
