"""The management server: short responses over HTTP/1.1 from the supervisor's event loop.

It uses asyncio only, since the threads of Granian's embedded server can abort the process at its end, and the
supervisor must outlive everything else. Each connection gets one response, or is closed after some seconds.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Mapping

    # By path, a function that returns status, media type and body. Metrics would be one more path.
    Routes: TypeAlias = Mapping[str, Callable[[], tuple[HTTPStatus, str, bytes]]]

MAX_HEAD_BYTES: Final = 8_192
MAX_CONNECTION_SECONDS: Final = 5.0
MAX_CONNECTIONS: Final = 512


@asynccontextmanager
async def serve_management(listener: socket.socket, routes: Routes) -> AsyncIterator[None]:
    """Serve these paths inside the block, then close the socket."""
    open_connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}  # oldest first

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(open_connections) >= MAX_CONNECTIONS:
            # A response takes a moment, so the oldest connection is idle. Close it for the new one.
            oldest = next(iter(open_connections))
            open_connections.pop(oldest).close()
            oldest.cancel()
        task = asyncio.create_task(_respond(routes, reader, writer))
        open_connections[task] = writer
        task.add_done_callback(lambda ended: open_connections.pop(ended, None))

    server = await asyncio.start_server(accept, sock=listener, limit=MAX_HEAD_BYTES)
    try:
        yield
    finally:
        server.close()
        for task in open_connections:
            task.cancel()
        await asyncio.gather(*open_connections, return_exceptions=True)


async def _respond(routes: Routes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        # An incomplete head, a head that is too large and a disconnect get no response.
        with suppress(TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            async with asyncio.timeout(MAX_CONNECTION_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_make_response(routes, head.partition(b"\r\n")[0].decode("latin-1")))
                await writer.drain()
    finally:
        writer.close()


def _make_response(routes: Routes, request_line: str) -> bytes:
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
