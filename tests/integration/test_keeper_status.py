"""The status of the keeper is decided from the log: real keeper processes that are frozen, or whose volume
hangs, and processes that say `ready` while they do nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from service.log.keeper_status import KeeperStatus, PartStatus, read_reports, read_status
from service.log.key_files import make_key
from service.log.log import Log
from service.log.sealing import Sealer
from tests.integration.log_database import decision
from tests.integration.log_trees import ORIGIN, as_superuser, seal_all
from tests.integration.test_serve_start import ROOT, environment_of
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.integration.log_database import LogDatabase

pytest_plugins = ["tests.integration.log_fixtures"]
FIVE_MINUTES = "UPDATE audit_record SET at = clock_timestamp() - interval '5 minutes'"


def settings(log_database: LogDatabase, redis_url: str, folder: Path) -> dict[str, str]:
    return environment_of(
        {
            "DATABASE_URL": log_database.url("keeper"),
            "REDIS_URL": redis_url,
            "LOG_ORIGIN": ORIGIN,
            "LOG_KEY_FILE": str(folder / "key"),
            "LOG_ANCHOR_FILE": str(folder / "anchor"),
        }
    )


@asynccontextmanager
async def keeping(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A `timewarden keep` process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "keep"), cwd=ROOT, env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def health(environment: dict[str, str], *options: str) -> tuple[int, str]:
    """Exit code and output of `timewarden health --keeper`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "health", "--keeper", *options),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def status_of(log_database: LogDatabase, part: str) -> PartStatus | None:
    auditor = await log_database.connect("auditor")
    try:
        return next((status for status in await read_status(auditor) if status.part == part), None)
    finally:
        await auditor.close()


async def has_status(log_database: LogDatabase, part: str, words: str, *, ready: bool) -> PartStatus | None:
    status = await status_of(log_database, part)
    return status if status and status.ready is ready and words in status.detail else None


async def freeze(log_database: LogDatabase, keeper: asyncio.subprocess.Process) -> None:
    """Stop a keeper between its transactions. Otherwise it would hold the sealer's lock until Postgres ends its
    session, and the other keeper could not seal meanwhile."""
    connection = await asyncpg.connect(log_database.postgres.superuser_database_url(log_database.name))
    try:
        while True:
            keeper.send_signal(signal.SIGSTOP)
            await asyncio.sleep(0.05)
            # Sessions of the keeper that run a statement or hold a transaction.
            if not await connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'timewarden-keeper' AND state <> 'idle')"
            ):
                return
            keeper.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.01)
    finally:
        await connection.close()


async def test_a_frozen_keeper_is_named_by_the_waiting_one(
    log_database: LogDatabase, redis_url: str, tmp_path: Path
) -> None:
    make_key(tmp_path / "key", ORIGIN)
    # Opening a FIFO waits for a writer, like a hanging volume.
    os.mkfifo(tmp_path / "anchor")
    environment = settings(log_database, redis_url, tmp_path)
    log = Log(await log_database.open("app"))
    host = socket.gethostname()
    async with AsyncExitStack() as stack:
        frozen = await stack.enter_async_context(keeping(environment))
        await until(partial(has_status, log_database, "signer", "anchor file has not answered", ready=False), 60)
        await freeze(log_database, frozen)
        await stack.enter_async_context(keeping(environment))
        await log.append([decision()])
        waits = f"waiting: process {frozen.pid} on {host} signs"
        await until(partial(has_status, log_database, "signer", waits, ready=True), 60)

        await as_superuser(log_database, FIVE_MINUTES)
        behind = partial(
            has_status, log_database, "signer", "have no signed checkpoint, the oldest for 30", ready=False
        )
        assert waits in (await until(behind)).detail  # type: ignore[union-attr]  # until gives what is true
        silent = partial(
            has_status, log_database, "signer", f"process {frozen.pid} on {host} has not reported for", ready=False
        )
        await until(silent, 60)
        code, output = await health(environment)
        assert code == 1
        assert output.startswith("the signer is not ready: 2 sealed records have no signed checkpoint")
        code, output = await health(environment, "--json")
        found: dict[str, Any] = json.loads(output)
        assert (code, found["ready"]) == (1, False)
        assert {process["pid"] for process in found["processes"] if not process["ready"]} == {frozen.pid}
        # The waiting process itself is healthy.
        assert await health(environment, "--here") == (0, "ready\n")

        (tmp_path / "anchor").unlink()
        frozen.kill()
        await until(partial(has_status, log_database, "signer", f"signing as {ORIGIN}", ready=True), 60)
        assert await health(environment) == (0, "ready\n")


async def test_a_hanging_volume_stops_only_the_signer(
    log_database: LogDatabase, redis_url: str, tmp_path: Path
) -> None:
    make_key(tmp_path / "key", ORIGIN)
    os.mkfifo(tmp_path / "anchor")
    environment = settings(log_database, redis_url, tmp_path)
    async with keeping(environment) as process:
        await until(partial(has_status, log_database, "signer", "anchor file has not answered", ready=False), 60)
        await Log(await log_database.open("app")).append([decision()])
        auditor = await log_database.connect("auditor")

        async def is_sealed() -> bool:
            return bool(await auditor.fetchval("SELECT size = 2 FROM log_head"))

        await until(is_sealed)
        code, output = await health(environment, "--here")
        assert code == 1
        assert f"process {process.pid} on {socket.gethostname()}: its signer is not ready" in output
        assert {part: (await status_of(log_database, part)).ready for part in ("sealer", "relay")} == {  # type: ignore[union-attr]
            "sealer": True,
            "relay": True,
        }
        process.terminate()
        async with asyncio.timeout(30):
            assert await process.wait() == 0


@pytest.mark.parametrize(
    ("part", "output"),
    [
        ("sealer", "records wait for their position, the oldest for 30"),
        ("signer", "2 sealed records have no signed checkpoint, the oldest for 30"),
    ],
)
async def test_a_false_report_of_ready_does_not_count(log_database: LogDatabase, part: str, output: str) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    await seal_all(keeper)
    await Log(app).append([decision()])
    if part == "signer":
        await Sealer(keeper).seal()
    statuses = {"sealer": KeeperStatus(keeper, "sealer"), "signer": KeeperStatus(keeper, "signer")}
    await statuses[part].report(ready=True, detail="at work")
    # A short delay is no lag.
    assert (await status_of(log_database, part)) == PartStatus(part, ready=True, detail="at work")
    await as_superuser(log_database, FIVE_MINUTES)
    status = await status_of(log_database, part)
    assert status is not None
    assert not status.ready
    assert output in status.detail


async def test_log_lines_say_when_a_part_stops_and_when_it_works_again(log_database: LogDatabase) -> None:
    status = KeeperStatus(await log_database.open("keeper"), "relay")
    with capture_logs() as lines:
        for ready, detail in (
            (True, "published 1"),
            (False, "Redis is away"),
            (False, "Redis is away"),
            (True, "again"),
        ):
            await status.report(ready=ready, detail=detail)
    assert lines == [
        {"event": "part_not_ready", "log_level": "warning", "part": "relay", "detail": "Redis is away"},
        {"event": "part_ready", "log_level": "info", "part": "relay", "detail": "again"},
    ]


async def test_one_working_process_is_enough_and_the_other_is_listed(log_database: LogDatabase) -> None:
    keeper = await log_database.open("keeper")
    await KeeperStatus(keeper, "relay").report(ready=True, detail="published nothing")
    await as_superuser(
        log_database,
        "INSERT INTO keeper_report (process, part, host, pid, ready, detail)"
        " VALUES (gen_random_uuid(), 'relay', 'other', 7, false, 'Redis is away')",
    )
    status = await status_of(log_database, "relay")
    assert status is not None
    assert status.ready
    assert "published nothing" in status.detail
    assert "process 7 on other: Redis is away" in status.detail


async def test_a_report_from_before_the_clock_was_set_back_does_not_count(log_database: LogDatabase) -> None:
    for seconds, host in ((3600, "old"), (3, "near")):
        await as_superuser(
            log_database,
            "INSERT INTO keeper_report (process, part, host, pid, ready, detail, at) VALUES"
            f" (gen_random_uuid(), 'relay', '{host}', 7, {str(host == 'old').lower()}, 'at work',"
            f" clock_timestamp() + interval '{seconds} seconds')",
        )
    # The small difference between the clocks of a primary and the standby that took its place is none.
    assert await status_of(log_database, "relay") == PartStatus("relay", ready=False, detail="at work")
    auditor = await log_database.connect("auditor")
    assert [report.process.host for report in await read_reports(auditor)] == ["near", "old"]
    await as_superuser(log_database, "DELETE FROM keeper_report WHERE host = 'near'")
    status = await status_of(log_database, "relay")
    assert status is not None
    assert not status.ready
    assert status.detail.startswith("process 7 on old last reported 3")
    assert status.detail.endswith(" s ahead of the database's clock")
    # A live keeper reports again, by the clock as it is now.
    await KeeperStatus(await log_database.open("keeper"), "relay").report(ready=True, detail="published nothing")
    assert await status_of(log_database, "relay") == PartStatus("relay", ready=True, detail="published nothing")


@pytest.mark.parametrize("ended", ["now() - interval '25 hours'", "now() + interval '25 hours'"])
async def test_a_process_that_ended_a_day_ago_is_forgotten(log_database: LogDatabase, ended: str) -> None:
    keeper = await log_database.open("keeper")
    await as_superuser(
        log_database,
        "INSERT INTO keeper_report (process, part, host, pid, ready, detail, at)"
        f" VALUES (gen_random_uuid(), 'sealer', 'old', 7, true, 'sealing', {ended})",
    )
    await KeeperStatus(keeper, "relay").report(ready=True, detail="published nothing")
    assert await status_of(log_database, "sealer") is None
