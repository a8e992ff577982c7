"""HEAD: the answer of a GET without its body. Owns, for one request, whether the head has been sent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from litestar.types import Message, Receive, Send


class HeadOnly:
    """Stands between the application and the server. Once the head is out, what is still written goes nowhere, and
    whoever writes it is told that nobody listens: an export would go on for long."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._asked = False
        self._sent = asyncio.Event()

    async def receive(self) -> Any:
        """The request, which has no body that matters; then, that the caller has left."""
        if not self._asked:
            self._asked = True
            return await self._receive()
        await self._sent.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Send the head, and that nothing follows."""
        if message["type"] == "http.response.start":
            await self._send(message)
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            self._sent.set()
