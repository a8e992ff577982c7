"""If-None-Match on reads (RFC 9110 section 13.1.2): a caller who has the current version gets 304 without a body.

Owns, for one request, whether that is so. The read is still decided and recorded.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from service.web.http.request_headers import headers_of

if TYPE_CHECKING:
    from litestar.types import HTTPResponseStartEvent, Message, Scope, Send

_TAG: Final = re.compile(rb'(?:W/)?("[\x21\x23-\x7e]*")')
_BODY_HEADERS: Final = frozenset({b"content-type", b"content-length", b"content-encoding"})


class NotModifiedFilter:
    """Stands between the application and the server, for a conditional request."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope, self._send = scope, send
        self._is_current = False

    async def send(self, message: Message) -> None:
        """Send the message, or its 304 form if the caller has the current version."""
        if message["type"] == "http.response.start":
            self._is_current = _has_current(self._scope, message)
            if self._is_current:
                message["status"] = 304
                message["headers"] = [header for header in message["headers"] if header[0].lower() not in _BODY_HEADERS]
        elif self._is_current and message["type"] == "http.response.body":
            message["body"] = b""
        await self._send(message)


def _has_current(scope: Scope, start: HTTPResponseStartEvent) -> bool:
    """Whether the caller has this answer. The ETag does not cover what a query adds, such as names, so such an answer
    is sent."""
    given = b",".join(headers_of(scope).get(b"if-none-match", ())).strip()
    if not given or scope.get("method") != "GET" or start["status"] != 200:  # noqa: PLR2004 — RFC 9110 section 15.3.1
        return False
    tag = next((value for name, value in start["headers"] if name.lower() == b"etag"), None)
    if tag is None or scope["query_string"]:
        return False
    # Weak comparison (section 8.8.3.2).
    return given == b"*" or tag.removeprefix(b"W/") in _TAG.findall(given)
