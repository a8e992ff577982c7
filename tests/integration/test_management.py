"""The management address answers requests that are not for health, and bounds what it reads."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import pytest

from service.development.local_servers import held_port
from service.management import MAX_CONNECTIONS, serve_management

ROUTES = {"/health/live": lambda: (HTTPStatus.OK, "application/json", b"{}")}
CASES: dict[str, tuple[bytes, bytes, bytes]] = {
    "a route": (b"GET /health/live HTTP/1.1", b"HTTP/1.1 200 OK", b"{}"),
    "a query": (b"GET /health/live?verbose HTTP/1.1", b"HTTP/1.1 200 OK", b"{}"),
    "only the head": (b"HEAD /health/live HTTP/1.1", b"HTTP/1.1 200 OK", b""),
    "another path": (b"GET /v1/me HTTP/1.1", b"HTTP/1.1 404 Not Found", b""),
    "another method": (b"POST /health/live HTTP/1.1", b"HTTP/1.1 405 Method Not Allowed", b""),
    "no request": (b"hello", b"HTTP/1.1 400 Bad Request", b""),
}


async def exchange(wire: bytes) -> bytes:
    """Send bytes; return the response until the server closes."""
    with held_port(0) as listener:
        port = listener.getsockname()[1]
        async with serve_management(listener, ROUTES):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(wire)
            try:
                async with asyncio.timeout(30):
                    return await reader.read()
            finally:
                writer.close()


@pytest.mark.parametrize(("line", "status", "body"), CASES.values(), ids=CASES)
async def test_each_request_gets_one_answer(line: bytes, status: bytes, body: bytes) -> None:
    answer = await exchange(line + b"\r\nHost: here\r\n\r\n")
    head, _, found = answer.partition(b"\r\n\r\n")
    assert head.startswith(status)
    assert b"Connection: close" in head
    assert found == body


async def test_a_probe_is_answered_beside_more_silent_connections_than_are_kept() -> None:
    with held_port(0) as listener:
        port = listener.getsockname()[1]
        async with serve_management(listener, ROUTES):
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS + 20)]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /health/live HTTP/1.1\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
            assert await silent[0][0].read() == b"", "the oldest silent one made room"
            for _, opened in [*silent, (reader, writer)]:
                opened.close()


async def test_half_a_request_is_closed_without_an_answer() -> None:
    assert await exchange(b"GET /health/live HTTP/1.1\r\n") == b""


async def test_a_head_without_end_is_closed_without_an_answer() -> None:
    # The kernel resets the connection when it closes with unread bytes.
    try:
        answer = await exchange(b"GET /health/live HTTP/1.1\r\n" + b"X: y\r\n" * 20_000)
    except ConnectionError:
        answer = b""
    assert answer == b""
