"""A migrated database with an opened log, and an event stream beside it. To use them:
`pytest_plugins = ["tests.integration.log_fixtures"]`.

The template is migrated once a session; each test gets a copy.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import service.migrations
from events.stream import open_redis, stream_name
from service.development.local_servers import LocalPostgres, run_psql_script
from service.log.feed import ChangeFeed
from service.migrations.run import migrate
from tests.conftest import database_from
from tests.integration.event_stream import EventStream
from tests.integration.log_database import PASSWORDS, LogDatabase, copy_database, open_new_log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

TEMPLATE = "log_template"


@pytest.fixture(scope="session")
async def log_template(postgres: LocalPostgres) -> str:
    script = Path(service.migrations.__file__).parent / "roles.sql"
    environment = {f"TIMEWARDEN_{role.upper()}_PASSWORD": word for role, word in PASSWORDS.items()}
    run_psql_script(postgres.superuser_url, script, {**environment, "TIMEWARDEN_DATABASE": TEMPLATE})
    await migrate(postgres.url("timewarden_owner", PASSWORDS["owner"], TEMPLATE))
    return TEMPLATE


@pytest.fixture
async def log_database(
    postgres: LocalPostgres, superuser: asyncpg.Connection[asyncpg.Record], log_template: str
) -> AsyncIterator[LogDatabase]:
    async with copy_database(postgres, superuser, log_template) as found:
        found.epoch = await open_new_log(found)
        yield found


@pytest.fixture
async def event_stream(log_database: LogDatabase, redis_url: str) -> AsyncIterator[EventStream]:
    keeper = await log_database.open("keeper", size=6)
    redis = open_redis(redis_url)
    stream = stream_name("test", log_database.epoch)
    yield EventStream(log_database, await log_database.open("app"), keeper, redis, stream, ChangeFeed(keeper))
    await redis.aclose()


@pytest.fixture
async def unmigrated(
    postgres: LocalPostgres, superuser: asyncpg.Connection[asyncpg.Record], log_template: str
) -> AsyncIterator[str]:
    """The owner's URL of a database without a table; the roles are there."""
    assert log_template
    async with database_from(superuser, "template0", owner="timewarden_owner") as name:
        yield postgres.url("timewarden_owner", PASSWORDS["owner"], name)
