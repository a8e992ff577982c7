"""`up` goes on only when the service that it started is ready, also if another server answers at its address."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from service.development.up import wait_ready
from service.errors import Misconfigured
from tests.until import until

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import AsyncIterator
    from pathlib import Path


class Stranger:
    """A server that says it is ready, under the name that it has."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Its address."""
        async with await asyncio.start_server(self._answer, "127.0.0.1", 0) as server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _answer(self, reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        body = json.dumps({"status": "ready", "instance": self.name, "workers": []}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()


async def test_a_service_with_another_name_is_not_mistaken_for_ours(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec("sleep", "600")
    stranger = Stranger("another start")
    try:
        async with stranger.running() as address:
            waiting = asyncio.create_task(
                wait_ready(address, "this start", {"serve": child}, asyncio.Event(), tmp_path)
            )

            async def asked_often() -> bool:
                return stranger.asked > 5

            await until(asked_often)
            assert not waiting.done()
            stranger.name = "this start"
            await waiting
    finally:
        child.kill()
        await child.wait()


async def test_a_stranger_does_not_hide_that_our_own_service_ended(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec("true")
    await child.wait()
    async with Stranger("another start").running() as address:
        with pytest.raises(Misconfigured, match="`timewarden serve` ended unexpectedly"):
            await wait_ready(address, "this start", {"serve": child}, asyncio.Event(), tmp_path)
