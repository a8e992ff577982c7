"""Migrations: from empty to the newest schema, twice without effect, and every privilege as the schema file says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from service.migrations import migrate
from tests.golden.schema import schema_of
from tests.golden.stored import stored
from tests.integration.log_database import PASSWORDS

if TYPE_CHECKING:
    from service.development.local_servers import LocalPostgres
    from tests.integration.log_database import LogDatabase

pytest_plugins = ["tests.integration.log_fixtures"]


async def test_migrating_again_changes_nothing(log_database: LogDatabase) -> None:
    before = await schema_of(log_database.url("owner"))
    await migrate(log_database.url("owner"))
    assert await schema_of(log_database.url("owner")) == before


async def test_the_schema_is_the_one_that_was_reviewed(log_database: LogDatabase) -> None:
    """`make golden` rewrites the file; the difference is read like code."""
    assert await schema_of(log_database.url("owner")) == stored("schema.txt")


async def test_a_database_of_the_first_release_comes_to_the_same_schema_and_keeps_its_rows(
    log_database: LogDatabase, postgres: LocalPostgres, empty_database: str
) -> None:
    name = empty_database.rpartition("/")[2]
    superuser = await asyncpg.connect(empty_database)
    await superuser.execute(f"ALTER DATABASE {name} OWNER TO timewarden_owner")
    await superuser.close()
    url = postgres.url("timewarden_owner", PASSWORDS["owner"], name)
    await migrate(url, "0001")
    owner = await asyncpg.connect(url)
    await owner.execute("INSERT INTO person (id, display_name) VALUES (gen_random_uuid(), 'Ana Lima')")
    await migrate(url)

    assert await schema_of(url) == await schema_of(log_database.url("owner"))
    assert await owner.fetchval("SELECT display_name FROM person") == "Ana Lima"
    await owner.close()
