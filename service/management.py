"""The management address: a few short answers over HTTP/1.1, from the supervisor's own event loop.

Written on asyncio alone, not on Granian: its embedded server runs threads that can abort the process as it ends, and
the supervisor must outlive everything else. Each connection is answered once, or closed after some seconds.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Mapping

    # Path to what makes status, media type and body. Figures for monitoring belong here too, as one more path.
    Routes: TypeAlias = Mapping[str, Callable[[], tuple[HTTPStatus, str, bytes]]]

MAX_HEAD_BYTES: Final = 8_192
MAX_CONNECTION_SECONDS: Final = 5.0
MAX_CONNECTIONS: Final = 512


@asynccontextmanager
async def answering(listener: socket.socket, routes: Routes) -> AsyncIterator[None]:
    """Inside this block these paths are answered. The socket is closed afterwards."""
    under_way: dict[asyncio.Task[None], asyncio.StreamWriter] = {}  # the oldest first

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(under_way) >= MAX_CONNECTIONS:
            # An answer takes a moment, so the oldest is one that asks nothing. A probe that comes now does ask.
            oldest = next(iter(under_way))
            under_way.pop(oldest).close()
            oldest.cancel()
        task = asyncio.create_task(_answer(routes, reader, writer))
        under_way[task] = writer
        task.add_done_callback(lambda ended: under_way.pop(ended, None))

    server = await asyncio.start_server(accept, sock=listener, limit=MAX_HEAD_BYTES)
    try:
        yield
    finally:
        server.close()
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _answer(routes: Routes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        # Half a head, too large a head and a caller who leaves get no answer.
        with suppress(TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            async with asyncio.timeout(MAX_CONNECTION_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_answer_to(routes, head.partition(b"\r\n")[0].decode("latin-1")))
                await writer.drain()
    finally:
        writer.close()


def _answer_to(routes: Routes, request_line: str) -> bytes:
    words = request_line.split(" ")
    method, path = (words[0], words[1].partition("?")[0]) if len(words) == 3 else ("", "")  # noqa: PLR2004 — RFC 9112
    kind, body = "text/plain", b""
    if not path:
        status = HTTPStatus.BAD_REQUEST
    elif path not in routes:
        status = HTTPStatus.NOT_FOUND
    elif method not in {"GET", "HEAD"}:
        status = HTTPStatus.METHOD_NOT_ALLOWED
    else:
        status, kind, body = routes[path]()
    lines = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
        *(["Allow: GET, HEAD"] if status is HTTPStatus.METHOD_NOT_ALLOWED else []),
    )
    return "\r\n".join((*lines, "", "")).encode() + (b"" if method == "HEAD" else body)
