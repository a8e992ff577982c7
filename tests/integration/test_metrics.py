"""Metrics on the management address: right over several workers and after a worker was killed, with bounded labels."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from functools import partial
from typing import TYPE_CHECKING, TypeAlias
from uuid import uuid4

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from service import metrics
from service.metric_families import CONTENT_TYPE, FamilySnapshot
from service.supervisor import Supervisor
from tests.integration.api import token_of
from tests.integration.served import NO_TLS, fetch, serve
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.integration.house import House
    from tests.integration.served import Served

    Samples: TypeAlias = dict[str, dict[tuple[tuple[str, str], ...], float]]

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
REQUESTS = "http_server_request_duration_seconds_count"
DECISIONS = "timewarden_decisions_total"


async def test_requests_and_decisions_of_all_workers_add_up_also_after_one_was_killed(
    house: House, issuer: str, tmp_path: Path
) -> None:
    async with serve(house.log_database.url("app"), issuer, tmp_path, WORKERS="2", CLIENT_RATE="0") as service:
        workers = await service.ready(workers=2)
        token = token_of(issuer)
        statuses = await asyncio.gather(*(ask(service, "GET", "/v1/me", token) for _ in range(40)))
        assert statuses == [200] * 40
        await until(partial(count_reaches, service, REQUESTS, 40, http_route="/v1/me"), 20)
        before = await scrape(service)
        assert total(before, DECISIONS, kind="me", action="read", outcome="allow", policy_version="1") == 40
        assert total(before, REQUESTS, http_route="/v1/me", http_response_status_code="200") == 40
        os.kill(workers[0]["pid"], signal.SIGKILL)
        await until(partial(count_reaches, service, "timewarden_worker_restarts_total", 1), 20)
        after = await scrape(service)
        assert total(after, DECISIONS, kind="me") == 40, "no counter falls"
        await service.ready(workers=2)
        await asyncio.gather(*(ask(service, "GET", "/v1/me", token) for _ in range(10)))
        await until(partial(count_reaches, service, DECISIONS, 50, kind="me"), 20)
        assert total(await scrape(service), DECISIONS, kind="me") == 50


async def test_counts_of_a_worker_that_ends_while_the_service_stops_stay_on_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def check() -> None:
        pass

    async def run_once(_worker: object) -> str:
        supervisor._stopping.set()
        return "was ended by SIGKILL"

    with socket.socket() as reserved:
        supervisor = Supervisor(reserved, inherited=False, workers=1, bounds=(), check=check, instance="")
        (worker,) = supervisor._workers
        worker.counted = [FamilySnapshot(metrics.PROBLEMS.name, [(("not-found", "404"), [7.0])])]
        monkeypatch.setattr(supervisor, "_run_once", run_once)
        supervisor._begin.set()
        before = supervisor._respond_metrics()[2]
        await supervisor._keep_running(worker)
        after = supervisor._respond_metrics()[2]
    sample = b'timewarden_problems_total{problem="not-found",status="404"} 7'
    assert sample in before.splitlines()
    assert sample in after.splitlines()


async def test_no_caller_can_make_labels(house: House, issuer: str, tmp_path: Path) -> None:
    async with serve(house.log_database.url("app"), issuer, tmp_path, ADDRESS_RATE="0") as service:
        await service.ready()
        token = token_of(issuer)
        for number in range(60):
            await ask(service, "GET", f"/v1/nothing/{uuid4()}?{number}", token)
            await ask(service, f"METHOD{number}", f"/{number}")
            await ask(service, "GET", f"/v1/timesheets/{uuid4()}", token_of(issuer, client_id=f"app-{number}"))
        await until(partial(count_reaches, service, REQUESTS, 180), 20)
        page = await scrape(service)
        labels = [dict(pairs) for pairs in page[REQUESTS]]
        assert {pairs["http_route"] for pairs in labels} <= {"", "/v1/timesheets/{timesheet_id}", "/v1/me"}
        assert {pairs["http_request_method"] for pairs in labels} == {"GET", "_OTHER"}
        assert len(labels) < 10
        assert len(page[DECISIONS]) < 5


async def test_the_page_shows_stages_pools_queues_keys_and_refusals(house: House, issuer: str, tmp_path: Path) -> None:
    async with serve(house.log_database.url("app"), issuer, tmp_path) as service:
        await service.ready()
        assert await ask(service, "GET", "/v1/me", token_of(issuer)) == 200
        assert await ask(service, "GET", "/v1/me", token_of(issuer, exp=1)) == 401
        assert await ask(service, "GET", f"/v1/timesheets/{uuid4()}", token_of(issuer)) == 404
        await until(partial(count_reaches, service, REQUESTS, 3), 20)
        page = await scrape(service)
        for stage in ("token", "facts", "engine"):
            assert total(page, "timewarden_stage_duration_seconds_count", stage=stage) == 2, stage
        assert total(page, "timewarden_stage_duration_seconds_count", stage="record") == 3, "also the first use"
        assert total(page, "timewarden_tokens_refused_total", cause="expired") == 1
        assert total(page, "timewarden_problems_total", problem="not-found", status="404") == 1
        assert total(page, "db_client_connection_max", db_client_connection_pool_name="requests", worker="1") == 8
        assert total(page, "db_client_connection_wait_time_seconds_count") > 0
        assert total(page, "timewarden_log_commit_records_sum") >= 2
        assert total(page, "timewarden_log_commit_wait_seconds_count") >= 1
        assert set(page["timewarden_admission_refused_total"].values()) == {0}
        assert total(page, "timewarden_issuer_keys", issuer="main") > 0
        assert total(page, "timewarden_issuer_keys_age_seconds", issuer="main") < 60
        assert total(page, "timewarden_policy_version") == 1
        assert total(page, "timewarden_worker_ready", worker="1") == 1
        assert total(page, "timewarden_part_ready", part="database") == 1
        assert 0 < total(page, "process_cpu_seconds_total") < 600
        assert total(page, "process_resident_memory_bytes") > 2**20


async def ask(service: Served, method: str, path: str, token: str | None = None) -> int:
    """The status of an answer, on a connection of its own, so that any worker may take it."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(timeout=20.0, trust_env=False, verify=NO_TLS) as http:
        return (await http.request(method, f"{service.held.api}{path}", headers=headers)).status_code


async def scrape(service: Served) -> Samples:
    """The samples of the page by name and labels, as Prometheus's own parser reads them."""
    answer = await fetch(f"{service.held.management}/metrics", 5.0)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == CONTENT_TYPE
    found: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.items())] = sample.value
    return found


def total(samples: Samples, name: str, **labels: str) -> float:
    """The sum of the samples that have these labels."""
    return sum(value for pairs, value in samples.get(name, {}).items() if labels.items() <= dict(pairs).items())


async def count_reaches(service: Served, name: str, count: int, **labels: str) -> bool:
    return total(await scrape(service), name, **labels) >= count
