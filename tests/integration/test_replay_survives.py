"""A keeper is killed during a replay: another continues after the cursor and counts nothing twice."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.administration.replay import jobs
from service.administration.replay.replays import Replays
from service.administration.replay.tally import ReplayOutcome
from service.log.key_files import make_key
from service.log.recorded_decisions import DecisionSelection
from tests.integration.log_traffic import auditor, multiply_records, traffic
from tests.until import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.administration.replay.jobs import Job
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

PATIENCE = PATIENCE_SECONDS


class Keepers:
    """`timewarden keep` as real processes."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self.running: list[asyncio.subprocess.Process] = []

    async def start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "service", "keep", env=self._environment, stdout=asyncio.subprocess.DEVNULL
        )
        self.running.append(process)
        return process


@pytest.fixture
async def keepers(house: House, redis_url: str, tmp_path: Path) -> AsyncIterator[Keepers]:
    make_key(tmp_path / "key", "replays.example/log")
    settings = {
        "TIMEWARDEN_DATABASE_URL": house.log_database.url("keeper"),
        "TIMEWARDEN_REDIS_URL": redis_url,
        "TIMEWARDEN_ENVIRONMENT": "development",
        "TIMEWARDEN_LOG_ORIGIN": "replays.example/log",
        "TIMEWARDEN_LOG_KEY_FILE": str(tmp_path / "key"),
        "TIMEWARDEN_LOG_ANCHOR_FILE": str(tmp_path / "anchor"),
    }
    made = Keepers({**os.environ, **settings})
    yield made
    for process in made.running:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await asyncio.wait_for(process.wait(), PATIENCE)


def children(pid: int) -> set[int]:
    """The processes that a process started."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        found |= {int(part) for part in (task / "children").read_text().split()}
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_another_keeper_finishes_the_job_of_a_killed_one(house: House, keepers: Keepers) -> None:
    await traffic(house)
    await multiply_records(house, 40_000)
    asked = (await Replays(house.gate, house.requests).start(auditor(house), DecisionSelection())).value

    async def job() -> Job:
        async with house.requests.connection() as connection:
            found = await jobs.load(connection, jobs.LOG, asked.id)
        assert found is not None
        return found

    async def has_begun() -> bool:
        return (await job()).totals.records > 0

    async def has_ended() -> bool:
        return (await job()).state != "running"

    first = await keepers.start()
    await until(has_begun)
    workers = children(first.pid)
    first.kill()
    await first.wait()
    half = await job()
    assert half.state == "running"
    assert half.cursor is not None
    assert half.last_id is not None
    assert half.cursor < half.last_id, "the replay was over before the keeper was killed"

    async def orphans_gone() -> bool:
        return not any(alive(worker) for worker in workers)

    assert workers
    await until(orphans_gone)
    await house.owner.execute("UPDATE policy_replay SET claimed_at = claimed_at - interval '1 minute'")
    await keepers.start()
    await until(has_ended)

    whole = await job()
    assert (whole.state, whole.problem) == ("done", None)
    assert whole.totals.counts == {
        ReplayOutcome.SAME: await house.count(
            f"audit_record WHERE kind IN ('decision', 'access') AND id <= {whole.last_id}"
        )
    }
