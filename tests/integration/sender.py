"""A caller that sends a body as slowly as a test likes, and sees each part of the answer when it leaves. No state."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.integration.api import InProcess

BOUND = 20.0


@dataclass
class Exchange:
    """One request over ASGI: `taken` counts the parts of the body that the API asked for, `taken_before` those
    before its answer. A caller that `leaves` is gone as soon as the body was sent."""

    running: InProcess
    path: str
    parts: AsyncIterator[bytes]
    headers: Mapping[str, str]
    leaves: bool = False
    method: str = "POST"
    ended: bool = False
    taken: int = 0
    taken_before: int = -1
    status: int = 0
    body: bytes = b""
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> Exchange:
        """Until the API has done with it."""
        path, _, query = self.path.partition("?")
        headers = {"Host": "testserver", **self.headers}
        scope: Any = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self.method,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "server": ("testserver", 80),
            "client": ("192.0.2.1", 40000),
            "root_path": "",
            "state": {},
        }
        async with asyncio.timeout(BOUND):
            await self.running.frame(scope, self._receive, self._send)
        return self

    def json(self) -> Any:
        """The answer's body."""
        return json.loads(self.body)

    async def _receive(self) -> Any:
        self.taken += 1
        try:
            return {"type": "http.request", "body": await anext(self.parts), "more_body": True}
        except StopAsyncIteration:
            pass
        if not self.ended:
            self.ended = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if not self.leaves:
            await self.answered.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.taken_before, self.status = self.taken, message["status"]
        else:
            self.body += message["body"]
            if not message.get("more_body"):
                self.answered.set()
