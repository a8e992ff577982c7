"""Connections that send nothing, or half of something, are closed, and lock nobody out; health least of all."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from service.listeners import listen, serving
from tests.integration.served import Served, serve
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

SILENT = 2_000
HEAD = b"GET /health/live HTTP/1.1\r\nHost: api.example\r\n"
Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def connections(port: int, count: int, first: bytes = b"") -> AsyncIterator[list[Wire]]:
    """So many connections that send this and nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = count + 1_000
    if soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(enough, hard), hard))
    wires = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    try:
        for _, writer in wires:
            writer.write(first)
        yield wires
    finally:
        for _, writer in wires:
            writer.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def closed_by_the_server(wires: list[Wire]) -> list[bytes]:
    """The bytes that each connection got before the server closed it."""
    async with asyncio.timeout(60):
        return await asyncio.gather(*(reader.read() for reader, _ in wires))


async def test_two_thousand_silent_connections_do_not_lock_others_out_and_are_closed(
    house: House, issuer: str, tmp_path: Path
) -> None:
    async with serve(house.log_database.url("app"), issuer, tmp_path, IDLE_TIMEOUT="8") as service:
        await service.ready()
        async with connections(service.held.port, SILENT) as wires:
            assert (await service.get("/v1/me")).status_code == 401
            assert (await service.health()).status_code == 200
            assert set(await closed_by_the_server(wires)) == {b""}
        assert (await service.get("/v1/me")).status_code == 401


@pytest.mark.long
async def test_health_answers_while_every_connection_of_the_api_is_taken(
    house: House, issuer: str, tmp_path: Path
) -> None:
    settings = {"IDLE_TIMEOUT": "10", "CONNECTIONS": "64"}
    async with serve(house.log_database.url("app"), issuer, tmp_path, **settings) as service:
        await service.ready()
        async with connections(service.held.port, 120) as wires:
            assert await refuses_to_answer(service)
            for _ in range(20):
                assert (await service.health("live")).status_code == 200
                assert (await service.health("ready")).status_code == 200
            assert set(await closed_by_the_server(wires)) == {b""}
        assert (await service.get("/v1/me", seconds=60)).status_code == 401


async def refuses_to_answer(service: Served) -> bool:
    """Whether the API leaves a caller waiting; without that this test would show nothing."""
    try:
        await service.get("/v1/me", seconds=1)
    except httpx2.TimeoutException:
        return True
    return False


@pytest.mark.long
async def test_what_is_begun_and_never_ended_is_closed_too(house: House, issuer: str, tmp_path: Path) -> None:
    async with serve(house.log_database.url("app"), issuer, tmp_path, IDLE_TIMEOUT="1") as service:
        await service.ready()
        port = service.held.port
        async with connections(port, 3, HEAD[:20]) as half_a_line, connections(port, 3, HEAD) as half_a_head:
            assert set(await closed_by_the_server([*half_a_line, *half_a_head])) == {b""}
        async with connections(port, 3, b"PRI * HTTP/2.0\r\n") as half_a_preface:
            assert all(b"400" in answer.split(b"\r\n")[0] for answer in await closed_by_the_server(half_a_preface))
        async with connections(port, 3, HEAD + b"\r\n") as answered:
            assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in await closed_by_the_server(answered))


@pytest.mark.long
async def test_the_management_address_has_bounds_of_its_own(house: House, issuer: str, tmp_path: Path) -> None:
    async with serve(house.log_database.url("app"), issuer, tmp_path) as service:
        await service.ready()
        async with connections(service.held.management_port, 1_000) as wires:
            assert set(await closed_by_the_server(wires[:200])) == {b""}

        async def answers() -> bool:
            with contextlib.suppress(httpx2.HTTPError):
                return (await service.health()).status_code == 200
            return False

        await until(answers, 60)


async def test_who_asks_for_much_and_reads_nothing_is_cut_off() -> None:
    """More than the kernel's buffers hold: the server cannot end its answer by itself."""

    async def much(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"]:
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(32_000_000)})

    with listen("127.0.0.1", 0, unread_seconds=2) as listener, socket.socket() as caller:
        async with serving(much, listener):
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            caller.connect(listener.getsockname())
            caller.sendall(HEAD + b"\r\n")
            ends = (listener.getsockname()[1], caller.getsockname()[1])
            await until(partial(is_connected, *ends), 60)
            await until(partial(is_cut_off, *ends), 60)


async def is_connected(ours: int, theirs: int) -> bool:
    """Whether the kernel has a connection from our port to theirs."""
    lines = (await asyncio.to_thread(Path("/proc/net/tcp").read_text)).splitlines()[1:]
    ports = [tuple(int(part.rpartition(":")[2], 16) for part in line.split()[1:3]) for line in lines]
    return (ours, theirs) in ports


async def is_cut_off(ours: int, theirs: int) -> bool:
    return not await is_connected(ours, theirs)
