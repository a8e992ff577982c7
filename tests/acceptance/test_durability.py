"""Things die while requests run: what was answered is there afterwards, and nothing is there by half.

A service of its own is started, hurt, and started again from the same state directory.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from service.development.processes import wait_until
from tests.acceptance.caller import SHEETS, Caller, Callers, draft, fresh_week, problem, submit_week
from tests.acceptance.published import read_events
from tests.acceptance.running_service import (
    KEEP,
    POSTGRES,
    REDIS,
    SERVE,
    UP,
    WORKER,
    RunningService,
    fresh_connections,
)
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WORKERS = 4
ENOUGH = 20
STATES = ("draft", "draft", "submitted", "approved")


@dataclass
class Told:
    """The answers of the service before, while and after it was hurt."""

    # Decision-Id to Decision-Leaf of every answer.
    leaves: dict[str, str] = field(default_factory=dict)
    # The last version of each sheet that was answered.
    versions: dict[str, int] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, answer: httpx2.Response) -> httpx2.Response:
        self.statuses[answer.status_code] += 1
        if self.statuses[200] > ENOUGH:
            self.enough.set()
        if "Decision-Id" in answer.headers:
            self.leaves[answer.headers["Decision-Id"]] = answer.headers["Decision-Leaf"]
        if answer.is_success and "ETag" in answer.headers:
            sheet = answer.json()
            self.versions[sheet["id"]] = sheet["version"]
        return answer


@pytest.fixture
async def those(hurt: RunningService) -> AsyncIterator[Callers]:
    """Callers of the service that is hurt."""
    if not hurt.started:
        hurt.start()
    async with fresh_connections(hurt) as http:
        callers = Callers(http, hurt.addresses)
        for who in ("ana", "mia", "audrey"):
            await callers(who)
        yield callers


async def weeks_of_work(owner: Caller, lead: Caller, told: Told, until: asyncio.Event) -> None:
    """One week after the other, from opening it to its approval; after any failure, go on to the next."""
    while not until.is_set():
        try:
            await _one_week(owner, lead, told)
        except httpx2.HTTPError:
            told.broken += 1
            await asyncio.sleep(0.02)


async def _one_week(owner: Caller, lead: Caller, told: Told) -> None:
    week = fresh_week().isoformat()
    made = told.hear(await owner.post(SHEETS, {"period_start": week}))
    if not made.is_success:
        await asyncio.sleep(0.02)
        return
    path = f"{SHEETS}/{made.json()['id']}"
    entry = {"day": week, "project": "ATLAS", "minutes": 60}
    told.hear(await owner.post(f"{path}/entries", entry, if_match='"1"'))
    told.hear(await owner.post(f"{path}/submit", if_match='"2"'))
    told.hear(await lead.post(f"{path}/approve", if_match='"3"'))
    told.hear(await owner.get(path))


async def check(callers: Callers, told: Told) -> None:
    """Every answer's decision is in the log, and every sheet is where its decisions and its events say."""
    audrey, ana = await callers("audrey"), await callers("ana")
    for decision, leaf in told.leaves.items():
        found = await audrey.get(f"/v1/decisions/{decision}")
        assert found.status_code == 200, f"the answered decision {decision} is lost"
        assert found.json()["leaf"] == leaf
    for sheet, version in told.versions.items():
        now = (await ana.get(f"{SHEETS}/{sheet}")).json()
        # One request may have been under way: its change is whole or not there.
        assert version <= now["version"] <= version + 1
        assert now["state"] == STATES[now["version"] - 1]
        assert now["minutes"] == (60 if now["version"] > 1 else 0)
        decided = (await audrey.get("/v1/decisions", resource=sheet, outcome="allow", limit=200)).json()["items"]
        assert sum(item["record"]["applied"] is True for item in decided if item["record"]["action"] != "create") == (
            now["version"] - 1
        )
    await check_events(callers, told)


async def check_events(callers: Callers, told: Told) -> None:
    """Every change of the sheets is published once, and no event is missing from the chain."""
    missing = dict(told.versions)
    events: list[dict[str, Any]] = []
    for _ in range(200):
        events = await read_events(callers.addresses)
        counted = Counter(event["subject"] for event in events)
        missing = {sheet: version for sheet, version in told.versions.items() if counted[sheet] < version}
        if not missing:
            break
        await asyncio.sleep(0.05)
    assert not missing
    assert [event.get("previous") for event in events] == [None, *(event["sequence"] for event in events[:-1])]


async def run_and_hurt(hurt: RunningService, those: Callers, marks: tuple[str, ...] | None) -> Told:
    """Work, kill what carries the marks (None: everything) in the middle of it, and work on for a while."""
    told, stop = Told(), asyncio.Event()
    ana, mia = await those("ana"), await those("mia")
    work = [asyncio.create_task(weeks_of_work(ana, mia, told, stop)) for _ in range(WORKERS)]
    async with asyncio.timeout(PATIENCE_SECONDS):
        await told.enough.wait()
    await asyncio.to_thread(hurt.kill, *(marks or ()))
    await asyncio.sleep(0.3)
    stop.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*work)
    assert set(told.statuses) <= {200, 201, 409, 412, 503}
    return told


@pytest.mark.parametrize(
    "marks",
    [
        pytest.param((SERVE,), marks=pytest.mark.long, id="the API"),
        pytest.param((KEEP,), marks=pytest.mark.long, id="the keeper"),
        pytest.param((POSTGRES,), marks=pytest.mark.long, id="Postgres"),
        pytest.param(None, id="everything"),
    ],
)
async def test_what_was_answered_is_there_after_a_crash(
    hurt: RunningService, those: Callers, marks: tuple[str, ...] | None
) -> None:
    told = await run_and_hurt(hurt, those, marks)

    if marks is not None:
        await asyncio.to_thread(hurt.end)
    await asyncio.to_thread(hurt.start)
    await check(those, told)


@pytest.mark.long
async def test_an_api_worker_that_dies_is_replaced_while_the_rest_goes_on(hurt: RunningService, those: Callers) -> None:
    workers = hurt.processes(WORKER)
    assert workers
    told, stop = Told(), asyncio.Event()
    work = asyncio.create_task(weeks_of_work(await those("ana"), await those("mia"), told, stop))
    await asyncio.sleep(0.3)

    await asyncio.to_thread(hurt.kill_these, workers)
    await asyncio.sleep(0.2)
    await asyncio.to_thread(hurt.wait_ready)
    stop.set()
    await work
    await check(those, told)


@pytest.mark.long
async def test_no_worker_outlives_a_leader_that_was_killed(hurt: RunningService, those: Callers) -> None:
    workers = hurt.processes(WORKER)
    assert workers

    await asyncio.to_thread(hurt.kill_these, hurt.processes(SERVE))
    await asyncio.to_thread(hurt.end)
    assert not any(worker.alive for worker in workers)
    await asyncio.to_thread(hurt.start)
    assert (await (await those("ana")).get("/v1/me")).status_code == 200


@pytest.mark.long
async def test_nothing_of_ours_outlives_a_supervisor_that_was_killed(hurt: RunningService, those: Callers) -> None:
    mine = hurt.processes()
    told = Told()
    told.hear(await (await those("ana")).get("/v1/me"))

    await asyncio.to_thread(hurt.kill_these, hurt.processes(UP))
    gone = await asyncio.to_thread(wait_until, lambda: not any(item.alive for item in mine), PATIENCE_SECONDS)
    assert gone, [item.line for item in mine if item.alive]
    await asyncio.to_thread(hurt.start)
    await check(those, told)


async def test_without_the_log_nothing_is_answered_and_nothing_changes(hurt: RunningService, those: Callers) -> None:
    ana, mia = await those("ana"), await those("mia")
    sheet = (await submit_week(ana)).json()
    week = fresh_week().isoformat()
    await asyncio.gather(*(item.get(SHEETS) for item in (ana, mia) * 6))
    servers = hurt.processes(POSTGRES) + [
        process for process in hurt.processes() if process.parent in {each.pid for each in hurt.processes(POSTGRES)}
    ]

    for server in servers:
        server.send(signal.SIGSTOP)
    try:
        # Postgres stands still until all are there.
        answers = await asyncio.gather(
            ana.get("/v1/me"),
            ana.get(SHEETS),
            ana.get(f"{SHEETS}/{sheet['id']}"),
            ana.post(SHEETS, {"period_start": week}),
            mia.post(f"{SHEETS}/{sheet['id']}/approve", if_match='"3"'),
            mia.post(SHEETS + f"/{sheet['id']}/reject", {"reason": "no"}, if_match='"3"'),
        )
    finally:
        for server in servers:
            server.send(signal.SIGCONT)
    for answer in answers:
        assert answer.status_code == 503, answer.text
        assert answer.json()["type"].startswith("urn:timewarden:problem:")
        assert int(answer.headers["Retry-After"]) >= 1
        assert "Decision-Id" not in answer.headers
    await asyncio.to_thread(hurt.wait_ready)
    assert (await ana.get(f"{SHEETS}/{sheet['id']}")).json() == sheet
    assert (await ana.get(SHEETS, since=week, until=week)).json()["items"] == []
    assert (await mia.post(f"{SHEETS}/{sheet['id']}/approve", if_match='"3"')).status_code == 200


@pytest.mark.long
async def test_without_redis_the_api_goes_on_and_the_events_catch_up(hurt: RunningService, those: Callers) -> None:
    ana, mia = await those("ana"), await those("mia")
    await draft(ana)
    await asyncio.to_thread(hurt.kill, REDIS)
    told = Told()

    for _ in range(5):
        await _one_week(ana, mia, told)
    assert set(told.statuses) == {200, 201}
    ready = await those.nobody().get("/health/ready")
    assert ready.status_code == 200
    await asyncio.to_thread(hurt.end)
    await asyncio.to_thread(hurt.start)
    await check(those, told)


async def test_tokens_and_refusals_hold_after_all_of_it(those: Callers) -> None:
    ana = await those("ana")
    assert (await ana.get("/v1/me")).status_code == 200
    problem(await those.nobody().get("/v1/me"), 401, "missing-token")
