"""Refusing a flood: every caller is answered, and other work continues between refusals."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from service.slots import slot_free
from service.web.http.admission import (
    MAX_BODIES_ARRIVING,
    MAX_CHANGES_PER_CONNECTION,
    MAX_REFUSALS_PER_TURN,
    TURNS_PER_EXTRA_REFUSAL,
    Admission,
)

if TYPE_CHECKING:
    from service.web.http.requests import RequestFrame

FLOOD = 1_000


class Endless:
    """An application whose database never answers."""

    always: tuple[tuple[bytes, bytes], ...] = ((b"cache-control", b"no-store"),)

    async def __call__(self, *_: object) -> None:
        await asyncio.Event().wait()


async def test_a_flood_is_refused_without_filling_a_turn_of_the_event_loop() -> None:
    frame = cast("RequestFrame", Endless())
    admission = Admission(frame, max_wait=0.001, connections=1, address_of=lambda _: "a")
    scope: Any = {"type": "http", "path": "/v1/me", "method": "POST", "headers": [], "client": None}
    statuses: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def receive() -> Any:
        raise AssertionError("there is no body")

    tasks = [asyncio.ensure_future(admission(scope, receive, send)) for _ in range(MAX_CHANGES_PER_CONNECTION + FLOOD)]
    in_turns: list[int] = []
    async with asyncio.timeout(20):
        while len(statuses) < FLOOD:
            before = len(statuses)
            await asyncio.sleep(0)
            in_turns.append(len(statuses) - before)
    assert set(statuses) == {503}
    assert max(in_turns) <= MAX_REFUSALS_PER_TURN + FLOOD // TURNS_PER_EXTRA_REFUSAL
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert admission.load()[:2] == (0, 0)


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
        address_of=lambda scope: cast("Any", scope)["client"],
    )
    refused: list[str] = []

    async def change(address: str) -> None:
        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                refused.append(address)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        headers = [(b"content-length", b"100")]
        scope: Any = {"type": "http", "path": "/v1/uploads", "method": "POST", "headers": headers, "client": address}
        await admission(scope, receive, send)

    tasks = []
    for address in ("a", "b"):
        tasks += [asyncio.ensure_future(change(address)) for _ in range(MAX_BODIES_ARRIVING)]
        for _ in range(MAX_BODIES_ARRIVING):
            await asyncio.sleep(0)
    # The first address takes half, the second half of the rest.
    assert refused.count("a") == MAX_BODIES_ARRIVING // 2
    assert refused.count("b") == MAX_BODIES_ARRIVING * 3 // 4
    refused.clear()
    tasks.append(asyncio.ensure_future(change("c")))
    for _ in range(20):
        await asyncio.sleep(0)
    assert refused == []
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    # A cancelled request leaves nothing behind.
    assert [(queue.lent, queue.working) for queue in (admission._reads, admission._changes)] == [(0, 0)] * 2
