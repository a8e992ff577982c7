"""`serve` outlives its workers and Postgres: it waits, says so, and goes on. Processes are killed for real."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

from service.development.local_servers import start_redis
from service.log.keeper_status import read_status
from service.log.key_files import make_key
from tests.database_away import DatabaseAway
from tests.integration.served import NO_TLS, ROOT, START_SECONDS, fetch, serve, settings_of_serve, wait_for_exit
from tests.ports import unused_port
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.integration.house import House
    from tests.integration.served import Served

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]


async def test_a_worker_that_dies_again_and_again_takes_nobody_with_it(
    house: House, issuer: str, tmp_path: Path
) -> None:
    async with serve(house.log_database.url("app"), issuer, tmp_path, WORKERS="2") as service:
        healthy = (await service.ready(workers=2))[1]["pid"]
        victims: set[int] = set()
        for _ in range(4):
            victim = await until(partial(other_worker, service, {healthy, *victims}), 60) or 0
            os.kill(victim, signal.SIGKILL)
            victims.add(victim)
            await until(partial(has_ended, victim), 10)
            statuses = [(await service.get("/v1/me")).status_code for _ in range(10)]
            assert statuses == [401] * 10
            assert (await service.health()).status_code == 200, "one worker is enough"
        assert len(victims) == 4
        workers = await service.ready(workers=2)
        assert [worker["restarts"] for worker in workers] == [4, 0]
        assert workers[1]["pid"] == healthy


async def other_worker(service: Served, known: set[int]) -> int | None:
    """A worker beside the known ones, as soon as there is one. The dead one is named until its end is noticed."""
    found = [worker["pid"] for worker in await service.workers() if worker["pid"] not in known]
    return found[0] if found else None


async def has_ended(pid: int) -> bool:
    """Whether all its threads have ended, and its sockets are closed with them."""
    return await asyncio.to_thread(_has_ended, Path(f"/proc/{pid}"))


def _has_ended(process: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        state = (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        return state in "ZX" and len([*(process / "task").iterdir()]) == 1
    return True


@pytest.mark.long
async def test_a_worker_that_hangs_is_named_not_ready_and_then_replaced(
    house: House, issuer: str, tmp_path: Path
) -> None:
    async with serve(house.log_database.url("app"), issuer, tmp_path) as service:
        (worker,) = await service.ready()
        os.kill(worker["pid"], signal.SIGSTOP)

        async def silent() -> bool:
            (now,) = await service.workers()
            return not now["ready"] and now["detail"].startswith("silent for")

        await until(silent, 30)
        assert (await service.health()).status_code == 503
        assert (await service.health("live")).status_code == 200, "the supervisor itself replaces it"
        (other,) = await service.ready()
        assert other["pid"] != worker["pid"]
        assert other["restarts"] == 1


async def test_readiness_repeats_the_instance_and_the_worker_runs_on_uvloop(
    house: House, issuer: str, tmp_path: Path
) -> None:
    async with serve(house.log_database.url("app"), issuer, tmp_path) as service:
        (worker,) = await service.ready()
        loaded = await asyncio.to_thread(Path(f"/proc/{worker['pid']}/maps").read_text, encoding="utf-8")
        assert "/uvloop/" in loaded
        assert (await service.health()).json()["instance"] == service.instance


@pytest.mark.long
async def test_workers_end_when_their_supervisor_is_killed(house: House, issuer: str, tmp_path: Path) -> None:
    async with serve(house.log_database.url("app"), issuer, tmp_path, WORKERS="2") as service:
        workers = await service.ready(workers=2)
        service.process.kill()
        await service.process.wait()
        for worker in workers:
            await until(partial(has_ended, worker["pid"]), 20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_to_the_whole_process_group_cuts_off_no_request(
    house: House, issuer: str, tmp_path: Path, number: signal.Signals
) -> None:
    """As systemd, `timeout` and Ctrl-C signal."""
    port, management = unused_port(), unused_port()
    # A port that was inherited is not drained.
    own = {"PORT": str(port), "MANAGEMENT_ADDRESS": f"127.0.0.1:{management}", "WORKERS": "2"}
    log = tmp_path / "serve.log"
    process = await start_process("serve", settings_of_serve(house.log_database.url("app"), issuer) | own, log)
    answers: list[httpx2.Response | str] = []

    async def both_ready() -> bool:
        assert process.returncode is None, log.read_text()
        with contextlib.suppress(httpx2.HTTPError):
            found = (await fetch(f"http://127.0.0.1:{management}/health/ready", 5.0)).json()
            return all(worker["ready"] for worker in found["workers"])
        return False

    async def call(*, keep: bool) -> None:
        while process.returncode is None:
            async with httpx2.AsyncClient(timeout=30, trust_env=False, verify=NO_TLS) as http:
                try:
                    for _ in range(1_000 if keep else 1):
                        answers.append(await http.post(f"http://127.0.0.1:{port}/v1/timesheets", json={}))
                        await asyncio.sleep(0.01)
                except (httpx2.ConnectError, httpx2.ConnectTimeout):
                    # Nothing was sent: the caller may ask another replica.
                    await asyncio.sleep(0.01)
                except httpx2.HTTPError as error:
                    answers.append(type(error).__name__)

    async def has_answered(more: int) -> bool:
        return len(answers) > more

    try:
        await until(both_ready, START_SECONDS)
        calling = [asyncio.create_task(call(keep=keep)) for keep in (True, True, False, False)]
        await until(partial(has_answered, 40))
        os.killpg(process.pid, number)
        assert await wait_for_exit(process) == 0, log.read_text()
        await asyncio.gather(*calling)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    assert [answer for answer in answers if isinstance(answer, str)] == []
    assert any(answer.headers.get("Connection") == "close" for answer in answers if isinstance(answer, httpx2.Response))
    assert b"worker_ended" not in log.read_bytes(), "no worker ended on its own, and none was started again"


async def test_serve_waits_for_postgres_says_so_and_goes_on_by_itself(
    house: House, issuer: str, tmp_path: Path
) -> None:
    with DatabaseAway(house.log_database.url("app")) as away:
        async with serve(away.url, issuer, tmp_path) as service:
            await until(lambda: says(service.log, b"database_away"), 60)
            # The API answers meanwhile, as it does whenever Postgres is away.
            await until(partial(has_told_of_the_database, service), 60)
            refused = await service.get("/v1/log/checkpoint")
            assert refused.status_code == 503
            assert refused.headers["Retry-After"]
            health = await service.health()
            assert health.status_code == 503
            assert {"name": "database", "ready": False, "needed": True} in [
                {name: part[name] for name in ("name", "ready", "needed")}
                for part in health.json()["workers"][0]["parts"]
            ]
            assert (await service.health("live")).status_code == 200
            async with away.back():
                (worker,) = await service.ready()
                assert worker["restarts"] == 0
                assert (await service.get("/v1/me")).status_code == 401


async def has_told_of_the_database(service: Served) -> bool:
    (worker,) = await service.workers()
    return any(part["name"] == "database" for part in worker["parts"])


@pytest.mark.long
async def test_serve_that_waits_for_postgres_ends_when_it_is_told(issuer: str, tmp_path: Path) -> None:
    with DatabaseAway("postgresql://timewarden_app:secret-word@127.0.0.1:1/timewarden") as away:
        async with serve(away.url, issuer, tmp_path) as service:
            await until(lambda: says(service.log, b"database_away"), 60)
            service.process.send_signal(signal.SIGTERM)
            assert await wait_for_exit(service.process, 15) == 0
        assert b"secret-word" not in service.log.read_bytes()


async def test_what_a_database_that_came_back_is_unfit_for_ends_the_start(
    house: House, issuer: str, tmp_path: Path
) -> None:
    with DatabaseAway(house.log_database.url("owner")) as away:
        async with serve(away.url, issuer, tmp_path) as service:
            await until(partial(says, service.log, b"database_away"), 60)
            async with away.back():
                assert await wait_for_exit(service.process, 90) == 2
        assert b"timewarden: The role of TIMEWARDEN_DATABASE_URL could rewrite the log" in service.log.read_bytes()


async def says(log: Path, words: bytes) -> bool:
    return words in await asyncio.to_thread(log.read_bytes)


@pytest.mark.long
async def test_keep_waits_for_postgres_and_goes_on_by_itself(house: House, tmp_path: Path) -> None:
    with DatabaseAway(house.log_database.url("keeper")) as away, start_redis(tmp_path, preferred_port=0) as redis:
        async with keeper(away.url, redis.url, tmp_path) as (process, log):
            await until(lambda: says(log, b"database_away"), 60)
            async with away.back():

                async def reports() -> bool:
                    assert process.returncode is None, log.read_text()
                    statuses = await read_status(house.owner)
                    return {status.part for status in statuses if status.ready} >= {"sealer", "relay"}

                await until(reports, 60)


@pytest.mark.long
async def test_keep_that_waits_for_postgres_ends_when_it_is_told(tmp_path: Path) -> None:
    with DatabaseAway("postgresql://timewarden_keeper:secret-word@127.0.0.1:1/timewarden") as away:
        async with keeper(away.url, "redis://127.0.0.1:1/0", tmp_path) as (process, log):
            await until(lambda: says(log, b"database_away"), 60)
            process.send_signal(signal.SIGTERM)
            assert await wait_for_exit(process, 10) == 0
        assert b"secret-word" not in log.read_bytes()


async def start_process(command: str, settings: Mapping[str, str], log: Path) -> asyncio.subprocess.Process:
    """A command with these settings alone, in a process group of its own, which writes to the log."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIMEWARDEN_")}
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", command),
            cwd=ROOT,
            env={**environment, **{f"TIMEWARDEN_{name}": value for name, value in settings.items()}},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


@asynccontextmanager
async def keeper(
    database_url: str, redis_url: str, folder: Path, **more: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Path]]:
    """`timewarden keep` as a process; several, one after the other, have the same key."""
    key, log = folder / "log.key", folder / "keep.log"
    if not key.exists():
        make_key(key, "log.example/audit/1")
    settings = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "LOG_ORIGIN": "log.example/audit/1",
        "LOG_KEY_FILE": str(key),
        "LOG_ANCHOR_FILE": str(folder / "anchor"),
        **more,
    }
    process = await start_process("keep", settings, log)
    try:
        yield process, log
    finally:
        if process.returncode is None:
            process.terminate()
            assert await wait_for_exit(process) == 0, log.read_text()
