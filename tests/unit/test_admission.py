"""Slow bodies from one address leave room for others."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from service.slots import slot_free
from service.web.http.admission import MAX_BODIES_ARRIVING, Admission

if TYPE_CHECKING:
    from service.web.http.requests import RequestFrame


class Endless:
    """An application whose database never answers. Its lifespan lasts until `end`."""

    always: tuple[tuple[bytes, bytes], ...] = ((b"cache-control", b"no-store"),)

    def __init__(self) -> None:
        self.end = asyncio.Event()

    async def __call__(self, *_: object) -> None:
        await self.end.wait()


def change(path: str = "/v1/me", *headers: tuple[bytes, bytes]) -> Any:
    return {"type": "http", "path": path, "method": "POST", "headers": list(headers), "client": ("a", 1)}


class Trickle(Endless):
    """An application whose callers never finish sending their bodies."""

    async def __call__(self, *_: object) -> None:
        async with slot_free():
            await asyncio.Event().wait()


async def test_slow_bodies_from_one_address_leave_room_for_other_addresses() -> None:
    admission = Admission(
        cast("RequestFrame", Trickle()),
        max_wait=60,
        connections=1,
        address_of=lambda scope: cast("Any", scope)["client"][0],
    )
    refused: list[str] = []
    ports = count()

    async def send_slowly(address: str) -> None:
        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                refused.append(address)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        scope = {**change("/v1/uploads", (b"content-length", b"100")), "client": (address, next(ports))}
        await admission(cast("Any", scope), receive, send)

    tasks = []
    for address in ("a", "b"):
        tasks += [asyncio.ensure_future(send_slowly(address)) for _ in range(MAX_BODIES_ARRIVING)]
        for _ in range(MAX_BODIES_ARRIVING):
            await asyncio.sleep(0)
    # The first address takes half, the second half of the rest.
    assert refused.count("a") == MAX_BODIES_ARRIVING // 2
    assert refused.count("b") == MAX_BODIES_ARRIVING * 3 // 4
    refused.clear()
    tasks.append(asyncio.ensure_future(send_slowly("c")))
    for _ in range(20):
        await asyncio.sleep(0)
    assert refused == []
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    # A cancelled request leaves nothing behind.
    assert [(queue.lent, queue.working) for queue in (admission._reads, admission._changes)] == [(0, 0)] * 2
