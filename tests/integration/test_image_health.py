"""The image's health check, run against a server that says what ours would: it must follow /health/ready exactly."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from tests.image_content import health_check

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter


@pytest.mark.parametrize(("status", "healthy"), [("200 OK", True), ("503 Service Unavailable", False)])
async def test_the_image_is_healthy_exactly_while_the_api_is_ready(status: str, *, healthy: bool) -> None:
    asked = []

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        asked.append((await reader.readline()).decode().split()[1])
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert (await run_check(port) == 0) is healthy
    assert asked == ["/health/ready"]


async def test_the_image_is_not_healthy_when_nothing_listens() -> None:
    assert await run_check(1) != 0


async def run_check(port: int) -> int:
    program, *arguments = health_check()
    assert program == "python"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env={"TIMEWARDEN_MANAGEMENT_ADDRESS": f"0.0.0.0:{port}"},
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait()
