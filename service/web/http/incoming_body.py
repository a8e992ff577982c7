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
from service.slots import slot_free

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litestar.types import Receive, Scope

# Bytes a second, and the seconds by which a sender may be behind that at any moment.
SLOWEST: Final = 8_192
PATIENCE: Final = 10.0
# Seconds that the first part may take before its request counts as one that waits for its sender.
GRACE: Final = 0.01
# Bytes and seconds of a body that nobody reads.
MAX_THROWN_AWAY: Final = 33_554_432
LONGEST_THROWN_AWAY: Final = 5.0


def announces_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a body follows these headers (RFC 9112 section 6)."""
    return any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers)


class IncomingBody:
    """What an application receives of a request. Only the time in which it waits for the sender counts."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = scope["headers"]
        # Whoever waits for a go-ahead has not begun to send (RFC 9110 section 10.1.1).
        self._begun = not any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)
        self._announced = announces_body(headers)
        self._ended = False
        self._receive = receive
        self._patience = PATIENCE
        self._grace = GRACE

    async def receive(self) -> Any:
        """The next part; behind the last one, word that the caller has left. Raises BodyTooSlow, and MalformedRequest
        for a caller who leaves before."""
        self._begun = True
        if self._ended or not self._announced:
            return await self._next()
        # Most bodies come with their request; only the first part is waited for with the slot in hand.
        grace, self._grace = self._grace, 0.0
        async with slot_free(after=grace):
            asked = time.monotonic()
            try:
                async with asyncio.timeout(self._patience):
                    message = await self._next()
            except TimeoutError:
                raise BodyTooSlow(f"The body stopped arriving; send at least {SLOWEST} bytes a second") from None
            waited = time.monotonic() - asked
        if message["type"] != "http.request":
            raise MalformedRequest("The request ended before its body did")
        earned = len(message.get("body", b"")) / SLOWEST
        self._patience = min(PATIENCE, max(0.0, self._patience - waited) + earned)
        return message

    async def finish(self) -> None:
        """Throw away what still comes, as far as the bounds allow. A refusal is often sent before the body has arrived;
        to close the connection then would destroy the answer on its way (RFC 9112 section 9.6)."""
        thrown = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_THROWN_AWAY):
                while self._announced and self._begun and not self._ended and thrown < MAX_THROWN_AWAY:
                    thrown += len((await self._next()).get("body", b""))

    async def _next(self) -> Any:
        message = await self._receive()
        self._ended = message["type"] != "http.request" or not message.get("more_body")
        return message
