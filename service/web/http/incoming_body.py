"""The body of a request while it arrives: no slower than MIN_BYTES_PER_SECOND. Unread bytes are discarded.

Owns, for each request, how many seconds its sender may still fall behind. A slow sender holds memory, and in uploads a
turn that others wait for. A stall of a few seconds is allowed, because phones lose their network.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from service.errors import BodyTooSlow, MalformedRequest
from service.slots import slot_free
from service.web.http.request_headers import headers_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litestar.types import Receive, Scope

    from service.web.http.request_headers import Headers

MIN_BYTES_PER_SECOND: Final = 8_192
# How far a sender may be behind that speed at any moment.
MAX_SECONDS_BEHIND: Final = 10.0
# How long the first part may take before the request lends its slot.
GRACE_SECONDS: Final = 0.01
# How much of a body is discarded when no handler reads it.
MAX_DISCARDED_BYTES: Final = 33_554_432
MAX_DISCARD_SECONDS: Final = 5.0
# The body of an ordinary change.
MAX_SMALL_BODY_BYTES: Final = 16_384


def announces_body(headers: Headers) -> bool:
    """Whether a body follows these headers of a request (RFC 9112 section 6)."""
    lengths = headers.get(b"content-length")
    return b"transfer-encoding" in headers or (lengths is not None and not {b"0"}.issuperset(lengths))


def length_of_small_body(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """The length of the body that follows these headers, 0 without one; None if it is large, has no length or is not
    sent before a 100 (Continue)."""
    length = 0
    for name, value in headers:
        if name == b"content-length":
            length = int(value) if value.isdigit() else MAX_SMALL_BODY_BYTES + 1
        elif name in {b"transfer-encoding", b"expect"}:
            return None
    return length if length <= MAX_SMALL_BODY_BYTES else None


class IncomingBody:
    """Wraps `receive` of one request, whose headers announce a body. Only time spent waiting for the sender counts
    against its speed."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        # A client that sent `Expect: 100-continue` has not begun to send (RFC 9110 section 10.1.1).
        self._begun = not any(value.lower() == b"100-continue" for value in headers_of(scope).get(b"expect", ()))
        self._ended = False
        self._receive = receive
        self._patience = MAX_SECONDS_BEHIND
        self._grace = GRACE_SECONDS

    async def receive(self) -> Any:
        """The next part; after the last one, the disconnect message. Raises BodyTooSlow, and MalformedRequest if the
        caller disconnects before the end."""
        self._begun = True
        if self._ended:
            return await self._next()
        # Most bodies arrive with their request, so the slot is kept for a moment while waiting for the first part.
        grace, self._grace = self._grace, 0.0
        async with slot_free(after=grace):
            started = time.monotonic()
            try:
                async with asyncio.timeout(self._patience):
                    message = await self._next()
            except TimeoutError:
                raise BodyTooSlow(
                    f"The body stopped arriving; send at least {MIN_BYTES_PER_SECOND} bytes a second"
                ) from None
            waited = time.monotonic() - started
        if message["type"] != "http.request":
            raise MalformedRequest("The request ended before its body did")
        earned = len(message.get("body", b"")) / MIN_BYTES_PER_SECOND
        self._patience = min(MAX_SECONDS_BEHIND, max(0.0, self._patience - waited) + earned)
        return message

    async def discard_rest(self) -> None:
        """Read and discard the rest of the body, within the bounds. A refusal is often sent before the body has
        arrived, and closing the connection then could destroy the answer on its way (RFC 9112 section 9.6)."""
        discarded = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_DISCARD_SECONDS):
                while self._begun and not self._ended and discarded < MAX_DISCARDED_BYTES:
                    discarded += len((await self._next()).get("body", b""))

    async def _next(self) -> Any:
        message = await self._receive()
        self._ended = message["type"] != "http.request" or not message.get("more_body")
        return message
