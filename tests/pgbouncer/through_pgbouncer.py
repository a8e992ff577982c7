"""The service behind a real PgBouncer: the story of a week, activation at once, time limits, and a pooler that dies.
Run by `make pgbouncer`, where PgBouncer is installed; no part of `make test`.

Everything that `timewarden up` does goes through it: roles, migrations, the API, the keeper.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from service.connectivity import Connectivity
from service.database import Database
from service.development.local_servers import start_postgres
from service.errors import DatabaseUnavailable, Misconfigured
from tests.acceptance.api_replicas import database_of
from tests.acceptance.caller import SHEETS, Callers, fresh_week
from tests.acceptance.conftest import callers, http  # noqa: F401 — fixtures
from tests.acceptance.running_service import ROOT, RunningService

# Tests that must pass behind a pooler as they do without it.
from tests.acceptance.test_policy_everywhere import (  # noqa: F401
    replicas,
    test_no_replica_decides_by_an_older_version_than_the_one_acknowledged,
)
from tests.acceptance.test_story_of_a_week import *  # noqa: F403
from tests.held_sockets import HeldSockets
from tests.pgbouncer.bouncer import PgBouncer
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import httpx2

    from service.development.local_servers import LocalPostgres

MODES: dict[str, tuple[str, Mapping[str, str]]] = {
    "session": ("session", {}),
    "transaction": ("transaction", {"max_prepared_statements": "200"}),
    "transaction that forgets statements": ("transaction", {"max_prepared_statements": "0"}),
    "transaction that drops limits in silence": (
        "transaction",
        {
            "max_prepared_statements": "200",
            "ignore_startup_parameters": "statement_timeout,lock_timeout,idle_in_transaction_session_timeout",
        },
    ),
}
WAYS = dict(
    zip(
        MODES,
        (Connectivity.FORGETTING, Connectivity.KEEPING, Connectivity.FORGETTING, Connectivity.KEEPING),
        strict=True,
    )
)


@contextmanager
def bouncer_of(postgres: LocalPostgres, mode: str, settings: Mapping[str, str]) -> Iterator[PgBouncer]:
    """A PgBouncer before a Postgres."""
    with tempfile.TemporaryDirectory(prefix="timewarden-pgbouncer-") as folder:
        bouncer = PgBouncer(postgres, Path(folder), mode, settings)
        bouncer.start()
        try:
            yield bouncer
        finally:
            bouncer.stop()


@pytest.fixture(scope="session", params=["session", "transaction", "transaction that forgets statements"])
def behind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningService, PgBouncer]]:
    """Everything that `timewarden up` starts, behind a PgBouncer of each mode."""
    folder = tmp_path_factory.mktemp("behind")
    mode, settings = MODES[request.param]
    with (
        start_postgres(folder / "postgres", preferred_port=0, durable=False) as server,
        bouncer_of(server, mode, settings) as bouncer,
    ):
        running = RunningService(folder / "state", {"TIMEWARDEN_DATABASE_URL": bouncer.url(server.superuser_url)})
        running.start()
        yield running, bouncer
        running.stop()


@pytest.fixture(scope="session")
def service(behind: tuple[RunningService, PgBouncer]) -> RunningService:
    return behind[0]


@pytest.fixture
def bouncer(behind: tuple[RunningService, PgBouncer]) -> PgBouncer:
    return behind[1]


async def test_the_keeper_seals_signs_and_publishes(service: RunningService, http: httpx2.AsyncClient) -> None:  # noqa: F811
    async def all_ready() -> bool:
        parts = (await http.get("/health/ready")).json()["parts"]
        return {"sealer", "signer", "relay"} <= {part["name"] for part in parts if part["ready"]}

    await until(all_ready)


async def test_postgres_ends_what_takes_too_long_however_it_is_reached(service: RunningService) -> None:
    database = Database(database_of(service), size=2, timeout=5, lock_timeout=3)
    await database.open()
    try:
        with pytest.raises(DatabaseUnavailable) as stopped:
            async with database.connection() as connection:
                await connection.execute("SELECT pg_sleep(30)", timeout=30)
        assert isinstance(stopped.value.__cause__, asyncpg.QueryCanceledError)
    finally:
        await database.close()


async def test_a_pooler_that_dies_is_a_moment_without_answers_and_nothing_more(
    bouncer: PgBouncer,
    callers: Callers,  # noqa: F811
    service: RunningService,
) -> None:
    ana = await callers("ana")
    made = await ana.post(SHEETS, {"period_start": fresh_week().isoformat()})
    assert made.status_code == 201
    bouncer.kill()
    meanwhile = await ana.post(SHEETS, {"period_start": fresh_week().isoformat()})
    assert meanwhile.status_code == 503
    assert meanwhile.headers["Retry-After"]
    bouncer.start()
    await asyncio.to_thread(service.wait_ready)
    assert (await ana.get(made.headers["Location"])).json() == made.json()
    assert (await ana.post(SHEETS, {"period_start": fresh_week().isoformat()})).status_code == 201


@pytest.mark.parametrize("mode", MODES)
async def test_a_role_without_time_limits_is_refused_behind_a_pooler(postgres: LocalPostgres, mode: str) -> None:
    pool_mode, settings = MODES[mode]
    admin = await asyncpg.connect(postgres.superuser_url)
    await admin.execute("DROP ROLE IF EXISTS unlimited")
    await admin.execute("CREATE ROLE unlimited LOGIN PASSWORD 'secret-word'")
    with bouncer_of(postgres, pool_mode, settings) as bouncer:
        url = bouncer.url(postgres.url("unlimited", "secret-word", "postgres"))
        database = Database(url, size=2)
        with pytest.raises(Misconfigured) as refused:
            await database.open()
        assert "ALTER ROLE unlimited SET statement_timeout = '5000ms'" in refused.value.public
        assert "secret-word" not in refused.value.public
        # Our own clock is enough for a command that a person waits for.
        command = Database(url, size=2, enforced=False)
        await command.open()
        await command.close()
        for statement in refused.value.public.split("`")[1].split("; "):
            await admin.execute(statement)
        bouncer.kill()
        bouncer.start()
        await database.open()
        assert database.way is WAYS[mode]
        async with database.connection() as connection:
            assert await connection.fetchval("SHOW statement_timeout") == "5s"
        await database.close()
    await admin.close()


def test_serve_says_in_one_sentence_what_a_pooler_lacks(postgres: LocalPostgres) -> None:
    with bouncer_of(postgres, "transaction", {}) as bouncer, HeldSockets() as held:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TIMEWARDEN_")}
        run = subprocess.run(
            [sys.executable, "-m", "service", "serve", *held.options],
            cwd=ROOT,
            pass_fds=held.numbers,
            env={
                **environment,
                "TIMEWARDEN_DATABASE_URL": bouncer.url(postgres.superuser_url),
                "TIMEWARDEN_ISSUER": "https://issuer.example/",
                "TIMEWARDEN_AUDIENCE": "https://api.example/timesheets",
                "TIMEWARDEN_CURSOR_KEY": "0" * 32,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert run.returncode == 2
    assert run.stderr.startswith("timewarden: A connection pooler in front of Postgres")
    assert run.stderr.count("\n") == 1
