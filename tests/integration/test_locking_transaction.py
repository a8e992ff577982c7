"""A transaction that takes a lock as it begins commits, rolls back and gives its connection back as any other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from service.database import savepoint
from service.errors import DatabaseUnavailable
from tests.until import lock_is_waited_for

if TYPE_CHECKING:
    from service.database import Connection, Database
    from tests.integration.log_database import LogDatabase

pytest_plugins = ["tests.integration.log_fixtures"]
LOCK = "SELECT pg_advisory_xact_lock(7)"
HELD = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"


@pytest.fixture
async def database(log_database: LogDatabase) -> Database:
    """A single connection, so that each use of it shows how the last one left it."""
    opened = await log_database.open("owner", size=1, lock_timeout=0.5)
    async with opened.connection() as connection:
        await connection.execute("CREATE TABLE kept (word text)")
    return opened


async def words(database: Database) -> list[str]:
    async with database.connection() as connection:
        assert not connection.is_in_transaction()
        assert await connection.fetchval(HELD) == 0
        return [row["word"] for row in await connection.fetch("SELECT word FROM kept")]


async def keep(connection: Connection, word: str) -> None:
    await connection.execute("INSERT INTO kept VALUES ($1)", word)


async def test_it_holds_the_lock_until_it_commits(database: Database) -> None:
    async with database.locking_transaction(LOCK) as connection:
        assert connection.is_in_transaction()
        assert await connection.fetchval(HELD) == 1
        await keep(connection, "committed")
    assert await words(database) == ["committed"]


@pytest.mark.parametrize("error", [LookupError, asyncio.CancelledError, DatabaseUnavailable])
async def test_what_its_block_raises_rolls_it_back(database: Database, error: type[BaseException]) -> None:
    async def fail() -> None:
        async with database.locking_transaction(LOCK) as connection:
            await keep(connection, "lost")
            raise error

    with pytest.raises(error):
        await fail()
    assert await words(database) == []


async def test_a_lock_that_is_not_free_in_time_begins_nothing(database: Database, log_database: LogDatabase) -> None:
    other = await log_database.connect("owner")
    async with other.transaction():
        await other.execute(LOCK)
        with pytest.raises(DatabaseUnavailable) as refused:
            async with database.locking_transaction(LOCK):
                pytest.fail("the lock is held by another transaction")
        assert refused.value.cause == "test-owner: LockNotAvailableError"
    assert await words(database) == []


async def test_a_task_that_is_cancelled_while_it_waits_leaves_no_transaction(
    database: Database, log_database: LogDatabase
) -> None:
    other = await log_database.connect("owner")

    async def change() -> None:
        async with database.locking_transaction(LOCK):
            pytest.fail("the lock is held by another transaction")

    async with other.transaction():
        await other.execute(LOCK)
        changing = asyncio.create_task(change())
        await lock_is_waited_for(other)
        changing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await changing
    assert await words(database) == []


async def test_a_savepoint_undoes_its_block_alone(database: Database) -> None:
    async def fail(connection: Connection) -> None:
        async with savepoint(connection):
            await keep(connection, "undone")
            raise LookupError

    async with database.locking_transaction(LOCK) as connection:
        async with savepoint(connection):
            await keep(connection, "first")
        with pytest.raises(LookupError):
            await fail(connection)
        await keep(connection, "last")
    assert await words(database) == ["first", "last"]
