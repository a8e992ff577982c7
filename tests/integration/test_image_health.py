"""The health checks of the containers, run against a server that says what ours would: they must follow it exactly."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.image_content import ROOT, health_check

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter


@pytest.mark.parametrize("container", ["api", "console"])
@pytest.mark.parametrize(("status", "healthy"), [("200 OK", True), ("503 Service Unavailable", False)])
async def test_a_container_is_healthy_exactly_while_its_process_is(
    status: str, container: str, *, healthy: bool
) -> None:
    asked = []

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        asked.append((await reader.readline()).decode().split()[1])
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert (await run_check(container, port) == 0) is healthy
    assert asked == ["/health/ready" if container == "api" else "/health"]


async def test_the_image_is_not_healthy_when_nothing_listens() -> None:
    assert await run_check("api", 1) != 0


async def run_check(container: str, port: int) -> int:
    """Run the check as an engine that has a proxy, where nobody listens, in its configuration."""
    words = health_check() if container == "api" else console_check(port)
    assert words[0] == "python"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *words[1:],
        env={
            "TIMEWARDEN_MANAGEMENT_ADDRESS": f"0.0.0.0:{port}",
            "TIMEWARDEN_CONSOLE_URL": "https://console.example",
            "http_proxy": "http://127.0.0.1:1",
        },
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait()


def console_check(port: int) -> list[str]:
    """The words of the console's check, on another port."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    return [word.replace(":8070/", f":{port}/") for word in services["console"]["healthcheck"]["test"][1:]]
