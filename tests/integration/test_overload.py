"""Overload: beyond what can be answered in time requests are refused at once, before any work, and all others answered.

Postgres is real, and made slow by locks that a second connection holds.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from service.database import Database
from service.errors import DatabaseUnavailable, Overloaded
from service.web.http import requests
from service.web.http.refusals import _BODY, RETRY_AFTER_SECONDS
from tests.integration.api import InProcess, api
from tests.integration.house import MONDAY
from tests.integration.sender import Exchange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from service.log_lines import RequestLine
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
# Two connections: eight reads and four changes are worked on at once. Postgres may take its time.
SMALL = {"database_pool": 2, "admission_timeout": 0.3, "database_timeout": 30, "lock_timeout": 30}
READS, CHANGES = 8, 8
SHEETS = "/v1/timesheets"


@pytest.fixture
async def small(house: House, issuer: str) -> AsyncIterator[InProcess]:
    async with api(house, issuer, client_rate=0, address_rate=0, **SMALL) as running:
        yield running


@asynccontextmanager
async def lock_table(house: House, table: str) -> AsyncIterator[None]:
    """Nobody else can read this table meanwhile."""
    async with house.owner.transaction():
        await house.owner.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


async def until_answered(tasks: list[asyncio.Task[httpx2.Response]], count: int) -> list[httpx2.Response]:
    async with asyncio.timeout(20):
        while len(done := [task for task in tasks if task.done()]) < count:  # noqa: ASYNC110 — for tasks of any kind
            await asyncio.sleep(0.01)
    return [task.result() for task in done]


def refused_by_admission(answer: httpx2.Response) -> bool:
    """Whether this is a whole refusal, of which nothing was decided."""
    return (
        answer.status_code == 503
        and answer.headers["Content-Type"] == "application/problem+json"
        and answer.json()["type"] == "urn:timewarden:problem:try-later"
        and answer.json()["request_id"] == answer.headers["X-Request-Id"]
        and int(answer.headers["Retry-After"]) in RETRY_AFTER_SECONDS
        and int(answer.headers["Content-Length"]) == len(answer.content)
        and answer.headers["Cache-Control"] == "no-store"
        and "Decision-Id" not in answer.headers
    )


async def test_with_a_slow_database_every_caller_is_answered_and_admitted_requests_succeed(
    house: House, small: InProcess
) -> None:
    token = small.token()
    assert (await small.send("GET", SHEETS, token)).status_code == 200
    before = await house.count("audit_record")
    async with lock_table(house, "timesheet"):
        tasks = [asyncio.create_task(small.send("GET", SHEETS, token)) for _ in range(60)]
        answers = await until_answered(tasks, 60 - READS)
        assert all(refused_by_admission(answer) for answer in answers)
        assert {answer.headers["Retry-After"] for answer in answers} == {str(second) for second in RETRY_AFTER_SECONDS}
        # Later ones do not even wait.
        assert refused_by_admission(await small.send("GET", SHEETS, token))
    found = [answer.status_code for answer in await asyncio.gather(*tasks)]
    assert sorted(found) == [200] * READS + [503] * (60 - READS)
    assert await house.count("audit_record") == before + READS
    assert small.frame.load()[:2] == (0, 0)
    assert (await small.send("GET", SHEETS, token)).status_code == 200


async def test_a_burst_that_can_be_served_in_time_is_served(house: House, issuer: str) -> None:
    async with api(house, issuer, client_rate=0, database_pool=2, admission_timeout=30) as running:
        token = running.token()
        answers = await asyncio.gather(*(running.send("GET", "/v1/me", token) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}


async def test_health_and_metadata_are_answered_while_every_slot_is_held(house: House, small: InProcess) -> None:
    token = small.token()
    async with lock_table(house, "timesheet"):
        tasks = [asyncio.create_task(small.send("GET", SHEETS, token)) for _ in range(40)]
        await until_answered(tasks, 40 - READS)
        for path in ("/health/live", "/health/ready", "/.well-known/oauth-protected-resource/timesheets"):
            assert (await small.send("GET", path)).status_code == 200
    await asyncio.gather(*tasks)


async def test_changes_that_wait_for_a_lock_do_not_stop_reads(house: House, small: InProcess) -> None:
    token = small.token()
    sheet = (await small.send("POST", SHEETS, token, body={"period_start": "2026-11-23"})).json()
    path, mine = f"{SHEETS}/{sheet['id']}", {"If-Match": '"1"'}
    async with house.owner.transaction():
        await house.owner.execute("SELECT 1 FROM timesheet WHERE id = $1 FOR UPDATE", sheet["id"])
        tasks = [
            asyncio.create_task(small.send("POST", f"{path}/submit", token, headers=mine)) for _ in range(CHANGES * 5)
        ]
        assert all(refused_by_admission(answer) for answer in await until_answered(tasks, CHANGES * 4))
        assert (await small.send("GET", path, token)).status_code == 200
    assert all(answer.status_code in {409, 412, 503} for answer in await asyncio.gather(*tasks))


async def test_who_sends_a_body_slowly_holds_no_slot(small: InProcess) -> None:
    end = asyncio.Event()

    async def parts(start: str) -> AsyncIterator[bytes]:
        yield b'{"period_start":'
        await end.wait()
        yield f'"{start}"}}'.encode()

    headers = {
        "Authorization": f"Bearer {small.token()}",
        "Content-Type": "application/json",
        "Transfer-Encoding": "chunked",
    }
    slow = [Exchange(small, SHEETS, parts(f"2026-{month:02}-02"), headers) for month in (2, 3, 11)]
    slow += [Exchange(small, SHEETS, parts(start), headers) for start in ("2026-01-05", "2026-06-01", "2027-02-01")]
    tasks = [asyncio.create_task(request.run()) for request in slow]
    while sum(request.taken for request in slow) < 2 * len(slow):  # noqa: ASYNC110 — each waits for the second part
        await asyncio.sleep(0.01)
    answer = await small.send("POST", SHEETS, small.token(), body={"period_start": MONDAY.isoformat()[:4] + "-11-23"})
    assert answer.status_code == 201
    end.set()
    await asyncio.gather(*tasks)
    assert [request.status for request in slow] == [201] * len(slow)
    assert small.frame.load()[:2] == (0, 0)


async def test_an_unread_body_is_discarded_so_that_the_connection_can_be_reused(house: House, small: InProcess) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * 100

    token = small.token()
    async with lock_table(house, "timesheet"):
        body = {"period_start": "2026-11-23"}
        tasks = [asyncio.create_task(small.send("POST", SHEETS, token, body=body)) for _ in range(20)]
        await until_answered(tasks, 10)
        headers = {"Authorization": f"Bearer {token}", "Transfer-Encoding": "chunked"}
        exchange = await Exchange(small, SHEETS, parts(), headers).run()
        assert (exchange.status, exchange.taken_before, exchange.ended) == (503, 0, True)
    await asyncio.gather(*tasks)


async def test_a_browser_app_of_an_allowed_origin_can_read_the_refusal(house: House, issuer: str) -> None:
    async with api(house, issuer, cors_origins="https://app.example", client_rate=0, **SMALL) as running:
        token = running.token()
        async with lock_table(house, "timesheet"):
            tasks = [asyncio.create_task(running.send("GET", SHEETS, token)) for _ in range(20)]
            await until_answered(tasks, 20 - READS)
            ours = await running.send("GET", SHEETS, token, headers={"Origin": "https://app.example"})
            other = await running.send("GET", SHEETS, token, headers={"Origin": "https://other.example"})
        await asyncio.gather(*tasks)
    assert ours.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Retry-After" in ours.headers["Access-Control-Expose-Headers"]
    assert ours.headers["Vary"] == "Authorization, Origin"
    assert "Access-Control-Allow-Origin" not in other.headers


async def test_refusals_are_logged_with_their_number_and_not_one_by_one(
    house: House, small: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = small.token()
    written: list[RequestLine] = []
    monkeypatch.setattr(requests, "write_request_line", written.append)
    with capture_logs() as lines:
        async with lock_table(house, "timesheet"):
            tasks = [asyncio.create_task(small.send("GET", SHEETS, token)) for _ in range(60)]
            await until_answered(tasks, 60 - READS)
        await asyncio.gather(*tasks)
        async with asyncio.timeout(5):
            while sum(line["refused"] for line in lines if line["event"] == "overloaded") < 60 - READS:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    told = [line for line in lines if line["event"] == "overloaded"]
    assert sum(line["refused"] for line in told) == 60 - READS
    assert len(told) <= 3
    assert len(written) == READS


async def test_a_caller_without_connection_gets_overload_while_others_have_one(
    house: House,
) -> None:
    database = Database(house.log_database.url("app"), size=1)
    await database.open()

    async def work() -> None:
        async with database.connection() as connection:
            await connection.execute("SELECT pg_sleep(0.3)")

    await work()
    # Opening had the usual time. Postgres answers somebody well before the crowd gives up, but cannot serve all of it.
    database.timeout = 2.0
    outcomes = await asyncio.gather(*(work() for _ in range(30)), return_exceptions=True)
    await database.close()
    failures = [outcome for outcome in outcomes if outcome is not None]
    assert failures
    assert {type(failure) for failure in failures} == {Overloaded}


async def test_a_caller_without_connection_gets_database_unavailable_if_no_other_caller_has_one(
    house: House,
) -> None:
    database = Database(house.log_database.url("app"), size=1)
    await database.open()
    # Opening had the usual time; only the second connection is waited for briefly.
    database.timeout = 0.2
    async with database.connection():
        with pytest.raises(DatabaseUnavailable):
            async with database.connection():
                raise AssertionError("there was none")
    await database.close()


def test_a_refusal_has_the_members_of_other_problems() -> None:
    told: dict[str, Any] = json.loads(_BODY % b"x")
    assert set(told) == {"type", "title", "status", "detail", "request_id"}
