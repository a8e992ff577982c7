"""HEAD: answers like GET, without the body. Owns, for one request, whether the head has been sent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from litestar.types import Message, Receive, Send


class HeadOnly:
    """Stands between the application and the server. After the head is sent, the body is discarded and the application
    gets a disconnect, because an export would otherwise run for long."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._received = False
        self._sent = asyncio.Event()

    async def receive(self) -> Any:
        """The request, whose body does not matter; then a disconnect."""
        if not self._received:
            self._received = True
            return await self._receive()
        await self._sent.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Send the head and an empty body."""
        if message["type"] == "http.response.start":
            await self._send(message)
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            self._sent.set()
