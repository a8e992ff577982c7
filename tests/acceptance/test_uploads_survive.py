"""The API is killed in the middle of an upload: nothing is there by half, and the same file sent again completes it.

A service of its own is started, hurt, and started again from the same state directory.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.acceptance.caller import SHEETS, Callers, fresh_week
from tests.acceptance.running_service import SERVE, RunningService, fresh_connections
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

UPLOADS = "/v1/uploads"
WEEKS, ROWS_A_WEEK = 150, 14


@pytest.fixture
async def those(hurt: RunningService) -> AsyncIterator[Callers]:
    if not hurt.started:
        hurt.start()
    async with fresh_connections(hurt, timeout=PATIENCE_SECONDS) as http:
        callers = Callers(http, hurt.addresses)
        for who in ("carl", "payroll-import"):
            await callers(who)
        yield callers


@pytest.mark.parametrize("mode", [pytest.param("together", marks=pytest.mark.long), "per-row"])
async def test_a_killed_upload_leaves_whole_sheets_or_nothing_and_can_be_sent_again(
    hurt: RunningService, those: Callers, mode: str
) -> None:
    job, carl = await those("payroll-import"), await those("carl")
    owner, first = await carl.me(), fresh_week()
    weeks = [first] + [fresh_week() for _ in range(WEEKS - 1)]
    rows = [
        {"owner": owner, "day": str(week + timedelta(days=n % 7)), "project": "ATLAS", "minutes": 10}
        | {"external_ref": f"{mode}/{n}"}
        for week in weeks
        for n in range(ROWS_A_WEEK)
    ]
    file = "".join(json.dumps(row) + "\n" for row in rows).encode()

    async def send() -> httpx2.Response:
        kind = {"Content-Type": "application/x-ndjson"}
        return await job.send("POST", f"{UPLOADS}?mode={mode}", content=file, headers=kind)

    async def there() -> list[dict[str, Any]]:
        span = {"since": str(weeks[0]), "until": str(weeks[-1])}
        found: list[dict[str, Any]] = (await carl.get(SHEETS, limit=200, **span)).json()["items"]
        return found

    sending = asyncio.create_task(send())
    if mode == "per-row":
        # In the middle of it: some sheets are done, and not all.
        for _ in range(1000):
            if await there():
                break
    else:
        # The whole file takes about 0.3 s.
        await asyncio.sleep(0.1)
    await asyncio.to_thread(hurt.kill, SERVE)
    with pytest.raises(httpx2.HTTPError):
        await sending
    await asyncio.to_thread(hurt.end)
    await asyncio.to_thread(hurt.start)

    left = await there()
    assert {sheet["minutes"] for sheet in left} <= {10 * ROWS_A_WEEK}
    assert len(left) == 0 if mode == "together" else 0 < len(left) < WEEKS
    again = await send()
    assert again.status_code == httpx2.codes.OK, again.text[:500]
    counts = again.json()["counts"]
    assert counts["unchanged"] == ROWS_A_WEEK * len(left)
    assert counts["created"] == ROWS_A_WEEK * (WEEKS - len(left))
    assert {sheet["minutes"] for sheet in await there()} == {10 * ROWS_A_WEEK}
    assert len(await there()) == WEEKS
