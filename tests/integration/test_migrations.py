"""Migrations: from empty to the newest schema, twice without effect, and every privilege as the schema file says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.migrations import migrate
from tests.golden.schema import schema_of
from tests.golden.stored import stored

if TYPE_CHECKING:
    from tests.integration.log_database import LogDatabase

pytest_plugins = ["tests.integration.log_fixtures"]


async def test_migrating_again_changes_nothing(log_database: LogDatabase) -> None:
    before = await schema_of(log_database.url("owner"))
    await migrate(log_database.url("owner"))
    assert await schema_of(log_database.url("owner")) == before


async def test_the_schema_is_the_one_that_was_reviewed(log_database: LogDatabase) -> None:
    """`make golden` rewrites the file; the difference is read like code."""
    assert await schema_of(log_database.url("owner")) == stored("schema.txt")
