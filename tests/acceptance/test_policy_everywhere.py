"""A policy takes effect at once on every replica: several API processes, versions activated under load, and the log."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.acceptance.api_replicas import api_replicas, database_of
from tests.acceptance.caller import SHEETS, Caller, fresh_week
from tests.acceptance.policy_author import activate, active, add_note, propose
from tests.policy_forge import read_shipped
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from tests.acceptance.caller import Callers
    from tests.acceptance.running_service import RunningService

PEOPLE = ("ana", "mia")
# Each replica activates once.
ROUNDS = 3


@pytest.fixture(scope="module")
async def replicas(
    service: RunningService, tmp_path_factory: pytest.TempPathFactory, callers: Callers
) -> AsyncIterator[list[httpx2.AsyncClient]]:
    """Three API processes, one of them with the smallest pools; the version before decides again afterwards."""
    paula = await callers("paula")
    before = await active(paula)
    async with api_replicas(service, tmp_path_factory.mktemp("replicas"), 2, database_pool="2") as clients:
        yield clients
    now = await active(paula)
    if now != before:
        assert (await activate(paula, before, now)).status_code == 200


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of which replica, when it was sent, and its answer."""

    sent: float
    replica: int
    answer: httpx2.Response


async def asking(token: str, clients: list[httpx2.AsyncClient], until: asyncio.Event) -> list[Asked]:
    """Reads, lists and changes, at each replica in turn."""
    asked: list[Asked] = []
    while not until.is_set():
        for number, client in enumerate(clients):
            caller = Caller(client, token)
            week = {"period_start": str(fresh_week())}
            for method, path, body in (("GET", "/v1/me", None), ("GET", SHEETS, None), ("POST", SHEETS, week)):
                sent = time.monotonic()
                asked.append(Asked(sent, number, await caller.send(method, path, body=body)))
            # Leave the processors to the activations.
            await asyncio.sleep(0.02)
    return asked


async def at(callers: Callers, who: str, client: httpx2.AsyncClient) -> Caller:
    """A caller of this replica."""
    token = (await callers(who)).token
    return Caller(client, token)


async def test_no_replica_decides_by_an_older_version_than_the_one_acknowledged(
    service: RunningService, callers: Callers, replicas: list[httpx2.AsyncClient]
) -> None:
    paula = await callers("paula")
    numbers = [await propose(paula, add_note(read_shipped(), value)) for value in range(ROUNDS)]
    tokens = [str((await callers(who)).token) for who in PEOPLE]
    stop = asyncio.Event()
    load = [asyncio.create_task(asking(token, replicas, stop)) for token in tokens]
    acknowledged: list[tuple[float, int]] = []
    current = await active(paula)
    for turn, number in enumerate(numbers):
        await asyncio.sleep(0.3)
        answer = await activate(await at(callers, "paula", replicas[turn % len(replicas)]), number, current)
        assert answer.status_code == 200, answer.text
        acknowledged.append((time.monotonic(), number))
        current = number
        # At once, everywhere: the next request of each replica is decided by it.
        told = await asyncio.gather(*(active(Caller(client, paula.token)) for client in replicas))
        assert told == [number] * len(replicas)
    await asyncio.sleep(0.3)
    stop.set()
    asked = [value for task in load for value in await task]

    assert {item.answer.status_code for item in asked} <= {200, 201}
    assert {item.replica for item in asked} == set(range(len(replicas)))
    versions = await decided_by(callers, asked)
    for item in asked:
        least = max((number for moment, number in acknowledged if moment < item.sent), default=0)
        if (version := versions.get(item.answer.headers["Decision-Id"])) is not None:
            assert version >= least
    assert set(versions.values()) >= set(numbers)
    await no_change_committed_under_a_replaced_version(service, numbers[0])


async def decided_by(callers: Callers, asked: list[Asked]) -> dict[str, int]:
    """The recorded version of many of these decisions, every replica's among them."""
    audrey = await callers("audrey")
    found = {}
    for item in asked[:: max(1, len(asked) // 200)]:
        found[item.answer.headers["Decision-Id"]] = (await audrey.decision(item.answer))["record"]["policy"]["version"]
    return found


async def no_change_committed_under_a_replaced_version(service: RunningService, first: int) -> None:
    """In the order of the log, which keeps changes and activations apart as they committed, each change that stands
    behind an activation was decided by its version and by no older one."""
    connection = await asyncpg.connect(database_of(service))
    rows = await connection.fetch(
        "SELECT kind, action, resource_id, policy_version FROM audit_record WHERE kind IN ('change', 'policy')"
        " AND id > (SELECT min(id) FROM audit_record WHERE kind = 'policy' AND action = 'propose' AND resource_id = $1)"
        " ORDER BY id",
        str(first),
    )
    await connection.close()
    newest, seen = 0, 0
    for row in rows:
        if row["action"] == "activate":
            newest = int(row["resource_id"])
        elif row["kind"] == "change" and newest:
            seen += 1
            assert row["policy_version"] == newest
    assert seen > ROUNDS


async def test_readiness_of_every_replica_tells_of_the_new_version_without_a_request(
    callers: Callers, replicas: list[httpx2.AsyncClient]
) -> None:
    paula = await callers("paula")
    current = await active(paula)
    number = await propose(paula, read_shipped())
    assert (await activate(paula, number, current)).status_code == 200
    # The hint brings it in a moment; on a busy machine the heartbeat may come first.
    started = time.monotonic()
    while True:
        told = [(await item.get("/health/ready")).json()["policy_version"] for item in replicas]
        if told == [number] * len(replicas):
            break
        assert time.monotonic() - started < PATIENCE_SECONDS, told
        await asyncio.sleep(0.05)
    listed = (await paula.get("/v1/policies/replicas")).json()["items"]
    assert len([item for item in listed if item["alive"]]) >= len(replicas)
    back = await paula.post("/v1/policies/rollback", {"expected_active": number})
    assert (back.status_code, back.json()["number"]) == (200, current)
