"""A real Prometheus with our rules watches the service while parts of it die: each failure raises its alerts, and they
end with it. Needs `prometheus` on PATH (Debian: apt-get install prometheus); `-s` shows what an operator sees.

A minute of the rules is three seconds here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from service.development.local_servers import free_port, start_redis
from tests.database_away import DatabaseAway
from tests.integration.api import token_of
from tests.integration.served import NO_TLS, serve
from tests.integration.test_serve_supervision import keeper
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.house import House
    from tests.integration.served import Served

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        shutil.which("prometheus") is None, reason="prometheus is not installed (Debian: apt-get install prometheus)"
    ),
]
PATIENCE_SECONDS = 150
FOLDER = Path(__file__).resolve().parents[2] / "docs" / "examples" / "monitoring"


@dataclass(slots=True)
class Watch:
    """A running Prometheus."""

    url: str
    began: float

    async def ask(self, path: str, **parameters: str) -> Any:
        async with httpx2.AsyncClient(timeout=5.0, trust_env=False, verify=NO_TLS) as http:
            answer = await http.get(f"{self.url}/api/v1/{path}", params=parameters)
        return answer.json()["data"]

    async def firing(self) -> dict[str, str]:
        """The alerts that fire now, with their sentences."""
        return {
            alert["labels"]["alertname"]: alert["annotations"]["summary"]
            for alert in (await self.ask("alerts"))["alerts"]
            if alert["state"] == "firing"
        }

    async def wait_for(self, *names: str) -> None:
        """Wait until all these alerts fire; show them."""

        async def all_fire() -> bool:
            return set(names) <= (await self.firing()).keys()

        await until(all_fire, PATIENCE_SECONDS)
        for name, sentence in sorted((await self.firing()).items()):
            self.say(f"{name}: {sentence}")

    async def wait_for_none(self) -> None:
        """Wait until no alert fires."""

        async def none_fires() -> bool:
            # It may still be starting, or have scraped nothing yet.
            with contextlib.suppress(httpx2.ConnectError, ValueError):
                return (await self.ask("query", query="up"))["result"] != [] and not await self.firing()
            return False

        await until(none_fires, PATIENCE_SECONDS)
        self.say("no alert")

    def say(self, sentence: str) -> None:
        print(f"{time.monotonic() - self.began:6.1f} s  {sentence}")


@contextlib.asynccontextmanager
async def prometheus(folder: Path, api: str, keeper_address: str) -> AsyncIterator[Watch]:
    """Prometheus with the example's configuration, three seconds for a minute."""
    configuration = (FOLDER / "prometheus.yml").read_text(encoding="utf-8")
    for old, new in (("15s", "1s"), ("api:8081", api.removeprefix("http://")), ("keeper:8082", keeper_address)):
        assert old in configuration
        configuration = configuration.replace(old, new)
    (folder / "prometheus.yml").write_text(configuration, encoding="utf-8")
    rules = re.sub(
        r"(\[|for: )(\d+)m",
        lambda found: f"{found[1]}{int(found[2]) * 3}s",
        (FOLDER / "timewarden.rules.yml").read_text(encoding="utf-8"),
    )
    (folder / "timewarden.rules.yml").write_text(rules, encoding="utf-8")
    port = free_port(0)
    process = await asyncio.create_subprocess_exec(
        *("prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"),
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield Watch(f"http://127.0.0.1:{port}", time.monotonic())
    finally:
        process.terminate()
        await process.wait()


async def test_each_failure_raises_its_alerts_and_they_end_with_it(house: House, issuer: str, tmp_path: Path) -> None:
    port = free_port(0)
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
            watch = await stack.enter_async_context(prometheus(tmp_path, service.held.management, f"127.0.0.1:{port}"))
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
            show_last_line(service, watch, b'"event":"problem"')
            watch.say(describe_health(await service.health()))
            await database.enter_async_context(away.back())
            watch.say("Postgres is back")
            await watch.wait_for_none()

            watch.say("an app sends tokens that have expired")
            expired = asyncio.create_task(send_requests(service, token_of(issuer, exp=1), pause=0.01))
            stack.callback(expired.cancel)
            await watch.wait_for("TimewardenTokensRefused")


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


def show_last_line(service: Served, watch: Watch, words: bytes) -> None:
    lines = [line for line in service.log.read_bytes().splitlines() if words in line]
    assert lines
    watch.say(f"log: {lines[-1].decode()}")


def describe_health(answer: httpx2.Response) -> str:
    found = answer.json()
    parts = {
        part["name"]: part["detail"] for worker in found["workers"] for part in worker["parts"] if not part["ready"]
    }
    return f"health: {answer.status_code} {found['status']}: {parts}"
