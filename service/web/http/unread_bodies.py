"""Reads the bodies of requests that the server's thread refused, without the event loop, and discards them.

The connection can carry the next request only after the body of this one, and closing it could destroy the refusal on
its way (RFC 9112 section 9.6). The server begins to read as soon as it is asked for the body; nobody awaits the answer.
Owns the bodies that have not arrived.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from service.web.http.incoming_body import MAX_DISCARD_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable


class ServerFuture(Protocol):
    """What the server returns for a part of a body."""

    def done(self) -> bool: ...
    def result(self) -> Any: ...
    def cancel(self) -> object: ...


class UnreadBodies:
    """The server's thread adds bodies, and the event loop reads on; both under Python's lock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Each with the function that asks for its next part, its missing bytes, and the time until which it is read.
        self._bodies: deque[tuple[ServerFuture, Callable[[], ServerFuture], int, float]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._bodies)

    def discard(self, receive: Callable[[], ServerFuture], length: int) -> None:
        """Read and discard a body of this length. It usually arrives as one part, together with its request."""
        self._bodies.append((receive(), receive, length, self._clock() + MAX_DISCARD_SECONDS))

    def read_on(self) -> None:
        """Forget the bodies that have arrived, ask for the next parts of others, and end those that take too long: the
        server then closes their connections."""
        now = self._clock()
        for _ in range(len(self._bodies)):
            part, receive, missing, until = self._bodies.popleft()
            if part.done():
                message = part.result()
                missing -= len(message.get("body", b""))
                if missing > 0 and message.get("more_body"):
                    self._bodies.append((receive(), receive, missing, until))
            elif now < until:
                self._bodies.append((part, receive, missing, until))
            else:
                part.cancel()
