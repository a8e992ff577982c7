"""Fixtures for all tests: an embedded Postgres and Redis for a session, a fresh database for a test.

The servers are real; only flushing to disk is left to the system.
"""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import hypothesis
import pytest

from service.development.local_servers import LocalPostgres, LocalRedis, start_postgres, start_redis
from tests.example_count import LONG, TIMES
from tests.scheduling import FileScheduling, place
from tests.standby import MANY_CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# A law holds however busy the machine is. The numbers of examples of both tiers are in example_count.py.
hypothesis.settings.register_profile("usual", deadline=None)
hypothesis.settings.register_profile(LONG, deadline=None, max_examples=100 * TIMES)
hypothesis.settings.load_profile("usual")

# A client looks for certificates and asks Postgres for TLS at each connection otherwise.
os.environ["PGSSLMODE"] = "disable"

# The last database is lent to nobody: it is the one for servers that live as long as a whole file of tests.
REDIS_DATABASES = 64
LASTING_DATABASE = REDIS_DATABASES - 1
MEMORY, ROOM = Path("/dev/shm"), 4 << 30

database_numbers = itertools.count(1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FileScheduling | None:
    return FileScheduling(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: place(item.path))


def pytest_collection_finish() -> None:
    # Objects that exist after collection stay to the end, so the garbage collector skips them, and it runs less often
    # than by default: it took a tenth of the CPU.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture(scope="session")
def servers_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In memory if there is room: on a disk, new databases take longer the more were dropped before."""
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
        with tempfile.TemporaryDirectory(prefix="timewarden-", dir=MEMORY) as folder:
            yield Path(folder)
    else:
        yield tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def postgres(servers_directory: Path) -> Iterator[LocalPostgres]:
    # A password is hashed 4,096 times by default, by every connection of every test.
    quick = {"scram_iterations": "1", **MANY_CONNECTIONS}
    with start_postgres(servers_directory, preferred_port=0, durable=False, settings=quick) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(servers_directory: Path) -> Iterator[LocalRedis]:
    with start_redis(servers_directory, preferred_port=0, databases=REDIS_DATABASES) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: LocalRedis) -> Iterator[str]:
    """An empty numbered database of the session's Redis, emptied again afterwards."""
    number = next(database_numbers) % LASTING_DATABASE
    yield redis_server.database_url(number)
    redis_server.ask(f"SELECT {number}", "FLUSHDB")


@pytest.fixture(scope="session")
async def superuser(postgres: LocalPostgres) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """The connection that makes and drops all databases: the first copy by a connection takes ten times as long."""
    connection = await asyncpg.connect(postgres.superuser_url)
    yield connection
    await connection.close()


@asynccontextmanager
async def database_from(
    superuser: asyncpg.Connection[asyncpg.Record], template: str, *, owner: str = "postgres"
) -> AsyncIterator[str]:
    """The name of a copy of a template database; it is dropped at the end, with its connections."""
    name = f"test_{next(database_numbers)}"
    await superuser.execute(f"CREATE DATABASE {name} OWNER {owner} TEMPLATE {template} STRATEGY file_copy")
    try:
        yield name
    finally:
        await superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def empty_database(postgres: LocalPostgres, superuser: asyncpg.Connection[asyncpg.Record]) -> AsyncIterator[str]:
    """The superuser's URL of an empty database of this test."""
    async with database_from(superuser, "template0") as name:
        yield postgres.superuser_database_url(name)
