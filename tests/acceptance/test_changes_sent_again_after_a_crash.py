"""The API is killed with -9 while changes with idempotency keys are under way: sent again, each is made once."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx2
import pytest

from tests.acceptance.caller import SHEETS, Callers, fresh_week
from tests.acceptance.running_service import SERVE, WORKER, RunningService, fresh_connections
from tests.until import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.acceptance.caller import Caller


@pytest.fixture
async def ana(hurt: RunningService) -> AsyncIterator[Caller]:
    async with fresh_connections(hurt) as http:
        yield await Callers(http, hurt.addresses)("ana")


async def open_week(ana: Caller, week: str, key: str) -> httpx2.Response:
    return await ana.send("POST", SHEETS, body={"period_start": week}, headers={"Idempotency-Key": f'"{key}"'})


async def sheets_of(ana: Caller, week: str) -> list[str]:
    return [item["id"] for item in (await ana.get(SHEETS, since=week, until=week)).json()["items"]]


async def restart(hurt: RunningService) -> None:
    await asyncio.to_thread(hurt.kill, SERVE)
    await asyncio.to_thread(hurt.end)
    await asyncio.to_thread(hurt.start)


async def test_whoever_never_heard_the_answer_gets_it_after_the_crash(hurt: RunningService, ana: Caller) -> None:
    """The change is committed, and nobody reads the answer before the process dies."""
    week, key = fresh_week().isoformat(), str(uuid4())
    request = ana.http.build_request(
        "POST",
        SHEETS,
        json={"period_start": week},
        headers={"Authorization": f"Bearer {ana.token}", "Idempotency-Key": f'"{key}"'},
    )
    _, writer = await asyncio.open_connection(request.url.host, request.url.port)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    writer.write(f"POST {request.url.raw_path.decode()} HTTP/1.1\r\n{head}\r\n".encode() + request.content)
    await writer.drain()
    made = await until(partial(sheets_of, ana, week))

    await restart(hurt)
    writer.close()
    again = await open_week(ana, week, key)

    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (201, "true")
    assert [again.json()["id"]] == made == await sheets_of(ana, week)
    assert again.headers["ETag"] == '"1"'


@pytest.mark.long
async def test_of_changes_that_were_under_way_each_is_made_once(hurt: RunningService, ana: Caller) -> None:
    wanted: list[tuple[str, str]] = []
    heard: dict[str, str] = {}
    eight = asyncio.Event()

    async def one_after_the_other() -> None:
        # Until the crash, so that some are under way when it comes, however late that is.
        while True:
            week, key = fresh_week().isoformat(), str(uuid4())
            wanted.append((week, key))
            try:
                answer = await open_week(ana, week, key)
            except httpx2.HTTPError:
                return
            if answer.status_code == 201:
                heard[week] = answer.json()["id"]
            if len(heard) >= 8:
                eight.set()

    # Found now, since looking through all processes takes time.
    victims = [*hurt.processes(SERVE), *hurt.processes(WORKER)]
    work = asyncio.gather(*(one_after_the_other() for _ in range(4)))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await eight.wait()
    await asyncio.to_thread(hurt.kill_these, victims)
    await work
    await restart(hurt)
    assert len(heard) < len(wanted)

    for week, key in wanted:
        answer = await open_week(ana, week, key)
        assert answer.status_code == 201, answer.text
        assert await sheets_of(ana, week) == [answer.json()["id"]]
        if week in heard:
            assert (answer.json()["id"], answer.headers["Idempotent-Replayed"]) == (heard[week], "true")
