"""The body of one request as it arrives: no slower than SLOWEST, and what nobody reads is thrown away.

Owns, for each request, the seconds that its sender may still be behind. Whoever trickles holds memory, and of uploads
a turn that others wait for; a stall of some seconds is pardoned, because phones lose their network.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from service.errors import BodyTooSlow, MalformedRequest

if TYPE_CHECKING:
    from litestar.types import Receive, Scope

# Bytes a second, and the seconds by which a sender may be behind that at any moment.
SLOWEST: Final = 8_192
PATIENCE: Final = 10.0
# Bytes and seconds of a body that nobody reads.
MOST_THROWN_AWAY: Final = 33_554_432
LONGEST_THROWN_AWAY: Final = 5.0
_ABOUT_BODY: Final = frozenset({b"content-length", b"transfer-encoding", b"expect"})


class Arriving:
    """What an application receives of a request. Only the time in which it waits for the sender counts."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        names = {name: value for name, value in scope["headers"] if name in _ABOUT_BODY}
        # Whoever waits for a go-ahead has not begun to send (RFC 9110 section 10.1.1).
        self._begun = names.get(b"expect", b"").lower() != b"100-continue"
        self._announced = b"transfer-encoding" in names or names.get(b"content-length", b"0") != b"0"
        self._ended = False
        self._receive = receive
        self._patience = PATIENCE

    async def receive(self) -> Any:
        """The next part; behind the last one, word that the caller has left. Raises BodyTooSlow, and MalformedRequest
        for a caller who leaves before."""
        self._begun = True
        if self._ended:
            return await self._receive()
        asked = time.monotonic()
        try:
            async with asyncio.timeout(self._patience):
                message = await self._next()
        except TimeoutError:
            raise BodyTooSlow(f"The body stopped arriving; send at least {SLOWEST} bytes a second") from None
        if self._announced and message["type"] != "http.request":
            raise MalformedRequest("The request ended before its body did")
        earned = len(message.get("body", b"")) / SLOWEST
        self._patience = min(PATIENCE, max(0.0, self._patience - (time.monotonic() - asked)) + earned)
        return message

    async def finish(self) -> None:
        """Throw away what still comes, as far as the bounds allow. A refusal is often sent before the body has arrived;
        to close the connection then would destroy the answer on its way (RFC 9112 section 9.6)."""
        thrown = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_THROWN_AWAY):
                while self._announced and self._begun and not self._ended and thrown < MOST_THROWN_AWAY:
                    thrown += len((await self._next()).get("body", b""))

    async def _next(self) -> Any:
        message = await self._receive()
        self._ended = message["type"] != "http.request" or not message.get("more_body")
        return message
