"""A real Prometheus with our rules watches the service while parts of it die: each failure raises its alerts, and they
end with it. Needs `prometheus` on PATH (Debian: apt-get install prometheus); `-s` shows what an operator sees.

A minute of the rules is three seconds here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from service.development.local_servers import start_redis
from tests.database_away import DatabaseAway
from tests.integration.api import token_of
from tests.integration.served import NO_TLS, serve
from tests.integration.test_serve_supervision import keeper
from tests.ports import unused_port
from tests.until import until
from tests.watch import compare_with_page, needs_prometheus, prometheus

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.house import House
    from tests.integration.served import Served

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
pytestmark = [pytest.mark.long, needs_prometheus]


async def test_each_failure_raises_its_alerts_and_they_end_with_it(house: House, issuer: str, tmp_path: Path) -> None:
    port = unused_port()
    with (
        DatabaseAway(house.log_database.url("app")) as away,
        start_redis(tmp_path, preferred_port=0) as redis,
    ):
        keep = partial(
            keeper, house.log_database.url("keeper"), redis.url, tmp_path, KEEPER_ADDRESS=f"127.0.0.1:{port}"
        )
        async with contextlib.AsyncExitStack() as stack:
            database = await stack.enter_async_context(contextlib.AsyncExitStack())
            await database.enter_async_context(away.back())
            service = await stack.enter_async_context(
                serve(away.url, issuer, tmp_path, WORKERS="2", CLIENT_RATE="0", ADDRESS_RATE="0")
            )
            await service.ready(workers=2)
            targets = {"timewarden-api": [service.held.management.removeprefix("http://")]}
            watch = await stack.enter_async_context(
                prometheus(tmp_path, targets | {"timewarden-keeper": [f"127.0.0.1:{port}"]})
            )
            traffic = asyncio.create_task(send_requests(service, token_of(issuer)))
            stack.callback(traffic.cancel)

            running = await stack.enter_async_context(contextlib.AsyncExitStack())
            await running.enter_async_context(keep())
            await watch.wait_for_none()

            watch.say("the keeper is stopped")
            await running.aclose()
            await watch.wait_for("TimewardenDown", "TimewardenKeeperMissing")
            await running.enter_async_context(keep())
            watch.say("another keeper is started")
            await watch.wait_for_none()

            watch.say("a worker is killed three times")
            for _ in range(3):
                await kill_worker(service)
            await watch.wait_for("TimewardenWorkersRestart")
            await service.ready(workers=2)
            await watch.wait_for_none()

            watch.say("Postgres does not answer the API")
            await database.aclose()
            await watch.wait_for("TimewardenNotReady", "TimewardenErrors")
            watch.show_log(service.log, event="problem", slug="database-unavailable")
            watch.say(describe_health(await service.health()))
            await database.enter_async_context(away.back())
            watch.say("Postgres is back")
            await watch.wait_for_none()

            watch.say("an app sends tokens that have expired")
            expired = asyncio.create_task(send_requests(service, token_of(issuer, exp=1), pause=0.01))
            stack.callback(expired.cancel)
            await watch.wait_for("TimewardenTokensRefused")
    compare_with_page("Parts die one after the other", watch.lines)


async def send_requests(service: Served, token: str, pause: float = 0.05) -> None:
    """Read `me` again and again, on new connections; failures are part of the test."""
    while True:
        with contextlib.suppress(httpx2.HTTPError):
            async with httpx2.AsyncClient(timeout=5.0, trust_env=False, verify=NO_TLS) as http:
                await http.get(f"{service.held.api}/v1/me", headers={"Authorization": f"Bearer {token}"})
        await asyncio.sleep(pause)


async def kill_worker(service: Served) -> None:
    """Kill the first worker, as soon as it runs, and wait for its end."""

    async def find() -> dict[str, Any]:
        worker = (await service.workers())[0]
        return worker if worker["pid"] else {}

    worker = await until(find, 60)
    os.kill(worker["pid"], signal.SIGKILL)

    async def has_ended() -> bool:
        return bool((await service.workers())[0]["restarts"] > worker["restarts"])

    await until(has_ended, 60)


def describe_health(answer: httpx2.Response) -> str:
    found = answer.json()
    parts = {
        part["name"]: part["detail"] for worker in found["workers"] for part in worker["parts"] if not part["ready"]
    }
    return f"health: {answer.status_code} {found['status']}: {parts}"
