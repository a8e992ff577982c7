"""Auditors' searches, counts and exports are answered by a standby that streams, with what the primary would answer."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from service import metrics
from service.database import Database, ReadReplica
from service.errors import DatabaseUnavailable, Misconfigured
from tests.acceptance.running_service import processes
from tests.integration.api import api
from tests.ports import unused_port
from tests.standby import MANY_CONNECTIONS, copy_server, start_server
from tests.until import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from service.development.local_servers import LocalPostgres
    from tests.integration.api import InProcess
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

# Each is one read of the standby.
SEARCHES = ("/v1/decisions", "/v1/decisions/summary", "/v1/audit/records?kind=access", "/v1/audit/export")


@pytest.fixture(scope="module")
def standby(postgres: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Any:
    state = tmp_path_factory.mktemp("standby")
    copy_server(postgres, state)
    with start_server(state, unused_port(), MANY_CONNECTIONS) as server:
        yield server


def on(house: House, server: LocalPostgres) -> str:
    """The URL of the house's database on another server."""
    return house.log_database.url("app").replace(f":{house.log_database.postgres.port}/", f":{server.port}/")


@asynccontextmanager
async def api_with(house: House, issuer: str, server: LocalPostgres) -> AsyncIterator[InProcess]:
    """The API, whose replica is this server, once that is in use."""
    async with api(house, issuer, replica_url=on(house, server)) as running:
        await until(partial(is_used, running))
        yield running


async def is_used(running: InProcess) -> bool:
    return bool((await replica_part(running))["ready"])


async def is_avoided(running: InProcess) -> bool:
    return not await is_used(running)


async def replica_part(running: InProcess) -> dict[str, Any]:
    parts = (await running.send("GET", "/health/ready")).json()["parts"]
    found: dict[str, Any] = next(part for part in parts if part["name"] == "replica")
    return found


async def ask(running: InProcess, path: str) -> Any:
    auditor = running.token(sub="auth0|audrey", scope="read:audit", roles=["auditor"])
    answer = await running.send("GET", path, auditor)
    assert answer.status_code == 200, answer.text
    return answer


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service waits for a standby of a busy machine, where it would read the primary otherwise."""
    monkeypatch.setattr("service.database.MAX_REPLAY_SECONDS", PATIENCE_SECONDS)


def reads() -> dict[str, float]:
    """How many reads each server has answered."""
    return {labels[0]: numbers[0] for labels, numbers in metrics.REPLICA_READS.series.items()}


async def grown(before: dict[str, float]) -> dict[str, float]:
    return {server: count - before.get(server, 0) for server, count in reads().items() if count != before.get(server)}


@pytest.mark.usefixtures("patient")
async def test_searches_counts_and_exports_go_to_the_standby_and_single_records_to_the_primary(
    house: House, issuer: str, standby: LocalPostgres
) -> None:
    async with api_with(house, issuer, standby) as running:
        mine = (await running.send("GET", "/v1/me", running.token())).headers["Decision-Id"]
        for path in SEARCHES:
            before = reads()
            await ask(running, path)
            assert await grown(before) == {"standby": 1}, path
        before = reads()
        for path in (f"/v1/decisions/{mine}", f"/v1/audit/records/{mine}", f"/v1/decisions/{mine}/explanation"):
            await ask(running, path)
        assert await grown(before) == {}


@pytest.mark.usefixtures("patient")
async def test_a_search_on_the_standby_shows_every_answer_that_was_given_before_it(
    house: House, issuer: str, standby: LocalPostgres
) -> None:
    async with api_with(house, issuer, standby) as running:
        before = reads()
        for _ in range(30):
            given = (await running.send("GET", "/v1/me", running.token())).headers["Decision-Id"]
            newest = (await ask(running, "/v1/decisions?action=read&resource_kind=me&limit=1")).json()["items"][0]["id"]
            assert newest == given
        assert (await grown(before)).get("standby") == 30


async def test_the_auditor_is_decided_on_by_the_primary(house: House, issuer: str, standby: LocalPostgres) -> None:
    async with api_with(house, issuer, standby) as running:
        auditor = running.token(sub="auth0|audrey", scope="read:audit", roles=["auditor"], jti="stolen")
        assert (await running.send("GET", "/v1/decisions", auditor)).status_code == 200
        async with replay_paused(standby):
            administrator = running.token(sub="auth0|adam", scope="manage:tokens", roles=["administrator"], jti="own")
            body = {"issuer": issuer, "token_id": "stolen"}
            revoked = await running.send("POST", "/v1/revocations", administrator, body=body)
            assert revoked.status_code == 201, revoked.text
            assert (await running.send("GET", "/v1/decisions", auditor)).status_code == 401


async def test_while_the_standby_is_behind_the_primary_answers(
    house: House, issuer: str, standby: LocalPostgres
) -> None:
    async with api_with(house, issuer, standby) as running:
        async with replay_paused(standby):
            given = (await running.send("GET", "/v1/me", running.token())).headers["Decision-Id"]
            before = reads()
            newest = (await ask(running, "/v1/decisions?resource_kind=me&limit=1")).json()["items"][0]["id"]
            assert newest == given
            assert await grown(before) == {"primary": 1}
            await until(partial(is_avoided, running))
            part = await replica_part(running)
            assert part["needed"] is False
            assert part["detail"] == "the primary is read instead: it is more than 1 s behind the primary"
        await until(partial(is_used, running))
        before = reads()
        await ask(running, "/v1/decisions")
        assert await grown(before) == {"standby": 1}


@pytest.mark.long
async def test_a_standby_that_is_lost_is_not_missed_and_one_that_is_back_is_used(
    house: House, issuer: str, postgres: LocalPostgres, tmp_path: Path
) -> None:
    copy_server(postgres, tmp_path)
    port = unused_port()
    with start_server(tmp_path, port, MANY_CONNECTIONS) as server:
        url = on(house, server)
        async with api(house, issuer, replica_url=url) as running:
            await until(partial(is_used, running))
            for number in range(5):
                await running.send("GET", "/v1/me", running.token(jti=f"token-{number}"))
            await asyncio.to_thread(server.kill)
            before = reads()
            await asyncio.gather(*(ask(running, path) for path in SEARCHES * 2))
            assert await grown(before) == {"primary": 8}
            assert (await running.send("GET", "/health/ready")).status_code == 200, "it is not needed"
            with start_server(tmp_path, port, MANY_CONNECTIONS):
                await until(partial(is_used, running))
                before = reads()
                await ask(running, "/v1/decisions")
                assert await grown(before) == {"standby": 1}


@pytest.mark.long
async def test_a_standby_that_hangs_costs_one_wait(house: House, issuer: str, standby: LocalPostgres) -> None:
    async with api(house, issuer, replica_url=on(house, standby), database_timeout=1.0) as running:
        await until(partial(is_used, running))
        stopped = [item for item in processes() if standby.pid in (item.pid, item.parent)]
        for process in stopped:
            process.send(signal.SIGSTOP)
        try:
            before = reads()
            for _ in range(4):
                await ask(running, "/v1/decisions")
            assert await grown(before) == {"primary": 4}
        finally:
            for process in stopped:
                process.send(signal.SIGCONT)
        await until(partial(is_used, running))


@asynccontextmanager
async def watched(url: str, primary: Database) -> AsyncIterator[ReadReplica]:
    """A replica that is in use."""
    replica = ReadReplica(url, primary, size=2, timeout=2.0, lock_timeout=1.0)
    watching = asyncio.create_task(replica.watch())

    async def usable() -> bool:
        return replica.problem is None

    try:
        await until(usable)
        yield replica
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await replica.close()


@pytest.mark.long
async def test_the_next_connection_shows_the_same_when_the_standby_is_lost(
    house: House, postgres: LocalPostgres, tmp_path: Path
) -> None:
    copy_server(postgres, tmp_path)
    primary = await house.log_database.open("app")
    query = "SELECT pg_is_in_recovery(), (SELECT count(*) FROM audit_record)"
    with start_server(tmp_path, unused_port(), MANY_CONNECTIONS) as server:
        async with watched(on(house, server), primary) as replica:
            async with replica.connection() as connection:
                first = await connection.fetchrow(query)
            await asyncio.to_thread(server.kill)
            async with replica.connection() as connection:
                second = await connection.fetchrow(query)
    assert first is not None
    assert second is not None
    assert (first[0], second[0]) == (True, False)
    assert first[1] == second[1]


async def test_a_server_that_is_no_standby_is_not_read(house: House, issuer: str, postgres: LocalPostgres) -> None:
    async with api(house, issuer, replica_url=house.log_database.url("app")) as running:

        async def says() -> bool:
            return bool((await replica_part(running))["detail"].endswith("it is no standby"))

        await until(says)
        before = reads()
        await ask(running, "/v1/decisions")
        assert await grown(before) == {"primary": 1}


async def test_a_primary_that_became_a_standby_is_a_database_that_is_away(house: House, standby: LocalPostgres) -> None:
    async with watched(on(house, standby), await house.log_database.open("app")):
        demoted = Database(on(house, standby), size=1)
        await demoted.open()
        replica = ReadReplica(on(house, standby), demoted, size=2, timeout=2.0, lock_timeout=1.0)
        await replica.open()
        with pytest.raises(DatabaseUnavailable) as raised:
            await replica.measure_lag()
        assert raised.value.cause == "the primary is in recovery"
        for database in (replica, demoted):
            await database.close()


async def test_of_several_hosts_the_standby_is_read(house: House, standby: LocalPostgres) -> None:
    primary = await house.log_database.open("app")
    hosts = f"127.0.0.1:{house.log_database.postgres.port},127.0.0.1:{standby.port}"
    url = house.log_database.url("app").replace(f"127.0.0.1:{house.log_database.postgres.port}", hosts)
    async with watched(url, primary) as replica, replica.connection() as connection:
        assert await connection.fetchval("SELECT pg_is_in_recovery()")


async def test_a_wrong_password_names_the_setting_and_not_the_password(house: House, standby: LocalPostgres) -> None:
    primary = await house.log_database.open("app")
    url = on(house, standby).replace(":a@", ":wrong-word@")
    replica = ReadReplica(url, primary, size=2, timeout=5.0, lock_timeout=1.0)
    with pytest.raises(Misconfigured, match="TIMEWARDEN_REPLICA_URL does not open a database") as raised:
        await replica.open()
    assert "wrong-word" not in str(raised.value)
    absent = ReadReplica(
        url.replace(f":{standby.port}/", f":{unused_port()}/"), primary, size=2, timeout=2, lock_timeout=1
    )
    with pytest.raises(DatabaseUnavailable):
        await absent.open()


@asynccontextmanager
async def replay_paused(standby: LocalPostgres) -> AsyncIterator[None]:
    """The standby receives the log and does not replay it inside the block."""
    superuser = await asyncpg.connect(standby.superuser_url)
    try:
        await superuser.execute("SELECT pg_wal_replay_pause()")
        await until(lambda: superuser.fetchval("SELECT pg_get_wal_replay_pause_state() = 'paused'"))
        yield
    finally:
        await superuser.execute("SELECT pg_wal_replay_resume()")
        await superuser.close()
