"""The API is killed in the middle of an upload: nothing is there by half, and the same file sent again completes it.

A service of its own is started, hurt, and started again from the same state directory.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx2
import pytest

from tests.acceptance.api_replicas import database_of
from tests.acceptance.caller import SHEETS, Callers, fresh_week
from tests.acceptance.running_service import SERVE, WORKER, RunningService, fresh_connections
from tests.until import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from datetime import date

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


@asynccontextmanager
async def last_week_taken(
    service: RunningService, owner: str, week: date
) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
    """Inside this block an upload that ends with this week cannot come to its end, however slow the machine is: another
    transaction has made that sheet and is not committed. The upload has by then written most of what comes before, and
    with `per-row` it has committed the first batch. Yields a function that returns whether it waits."""
    connection = await asyncpg.connect(database_of(service))
    try:
        await connection.execute("BEGIN")
        await connection.execute(
            "INSERT INTO timesheet (id, owner_id, period_start, period_end, time_zone, state, version)"
            " VALUES (gen_random_uuid(), $1, $2::date, $2::date + 6, 'UTC', 'draft', 1)",
            owner,
            week,
        )

        async def is_waited_for() -> bool:
            return bool(
                await connection.fetchval(
                    "SELECT EXISTS (SELECT FROM pg_locks"
                    " WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid)))"
                )
            )

        yield is_waited_for
    finally:
        # This also ends the transaction, and nothing of it stays.
        await connection.close()


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

    # Found now, since looking through all processes takes time, and an upload waits for only 3 seconds.
    victims = [*hurt.processes(SERVE), *hurt.processes(WORKER)]
    async with last_week_taken(hurt, owner, weeks[-1]) as is_waited_for:
        sending = asyncio.create_task(send())

        async def in_the_middle() -> bool:
            assert not sending.done(), "the upload came to its end"
            return await is_waited_for()

        await until(in_the_middle)
        await asyncio.to_thread(hurt.kill_these, victims)
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
