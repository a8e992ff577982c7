"""If-None-Match on reads (RFC 9110 section 13.1.2): whoever has the version that there is gets its head alone.

Owns, for one request, whether that is so. The read is decided and recorded all the same; its bytes are not sent again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from litestar.types import HTTPResponseStartEvent, Message, Scope, Send

_TAG: Final = re.compile(rb'(?:W/)?("[\x21\x23-\x7e]*")')
# What an answer without a body does not have.
_OF_BODY: Final = frozenset({b"content-type", b"content-length", b"content-encoding"})


class UnlessKnown:
    """Stands between the application and the server."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope, self._send = scope, send
        self._known = False

    async def send(self, message: Message) -> None:
        """Send it, or, of an answer that the caller has, that there is nothing new."""
        if message["type"] == "http.response.start":
            self._known = _known(self._scope, message)
            if self._known:
                message["status"] = 304
                message["headers"] = [header for header in message["headers"] if header[0].lower() not in _OF_BODY]
        elif self._known and message["type"] == "http.response.body":
            message["body"] = b""
        await self._send(message)


def _known(scope: Scope, start: HTTPResponseStartEvent) -> bool:
    """Whether the caller has this answer. With `include` an answer holds more than its version tells of."""
    given = b",".join(value for name, value in scope["headers"] if name == b"if-none-match").strip()
    if not given or scope.get("method") != "GET" or start["status"] != 200:  # noqa: PLR2004 — RFC 9110 section 15.3.1
        return False
    tag = next((value for name, value in start["headers"] if name.lower() == b"etag"), None)
    if tag is None or b"include=" in scope["query_string"]:
        return False
    # Comparison is weak (section 8.8.3.2).
    return given == b"*" or tag.removeprefix(b"W/") in _TAG.findall(given)
