"""Brings a database to the newest schema. Owns nothing; what is durable is in Postgres, all steps in one transaction.

Two that begin at the same time take turns, by an advisory lock that ends with that transaction and needs no table.
Alembic takes a second to load, so a database that is up to date is recognised without it.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from service.connectivity import MAX_CONNECT_SECONDS, Hosts
from service.errors import DatabaseUnavailable, Misconfigured, TryLater
from service.migrations.large import build_indexes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asyncpg.pool import PoolConnectionProxy
    from sqlalchemy import Connection

HERE = Path(__file__).parent
MAX_WAIT_SECONDS = 600.0
LOOK_EVERY_SECONDS = 0.2
# How long an attempt waits for the tables that it locks before its first step, all together: less than Postgres's
# deadlock_timeout, which is a second. Requests queue behind it for no longer, and in a deadlock with them the migration
# gives way. Then all steps are rolled back and tried again.
LOCK_TIMEOUT = "SET LOCAL lock_timeout = '500ms'"
LONGEST_PAUSE = 5.0
GIVES_WAY = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
READ_ONLY = (
    "The database takes no writes: connect to the primary, or turn default_transaction_read_only off,"
    " then run this again"
)
# Every role may see which step ran last.
GRANT_STEP = "GRANT SELECT ON alembic_version TO timewarden_app, timewarden_keeper, timewarden_auditor"
# Before the first step.
FIRST = "00"
# Take the turn to migrate this database, until the transaction ends; false while another has it.
TURN = "SELECT pg_try_advisory_xact_lock(hashtextextended('timewarden migrate', 0))"


def say_nothing(_sentence: str) -> None:
    """Where nobody reads along."""


async def migrate(
    database_url: str,
    upto: str = "head",
    *,
    say: Callable[[str], None] = say_nothing,
    max_wait: float = MAX_WAIT_SECONDS,
) -> bool:
    """Run every step that the database at `database_url` (postgresql://, as the owner) has not seen, in order, the last
    one being `upto`. While another migrates the same database, or a transaction holds a table, this one waits, up to
    `max_wait` seconds, and says for what. Raises TryLater when that takes longer, DatabaseUnavailable for a database
    that takes no writes, Misconfigured for one that a newer release migrated, and otherwise what asyncpg raises.
    Returns whether the database was behind."""
    hosts = Hosts(database_url)
    seen = await _load_step(hosts)
    if seen == newest():
        return False
    sqlalchemy = importlib.import_module("sqlalchemy.ext.asyncio")
    pool = importlib.import_module("sqlalchemy.pool")
    engine = sqlalchemy.create_async_engine(
        "postgresql+asyncpg://",
        async_creator=partial(hosts.connect, timeout=MAX_CONNECT_SECONDS),
        poolclass=pool.NullPool,
    )
    deadline, pause = time.monotonic() + max_wait, LOOK_EVERY_SECONDS
    try:
        while True:
            try:
                await _prepare(hosts, seen, upto, say)
                with _unwrapped_errors():
                    await _run_steps(engine, upto, say, max_wait)
            except GIVES_WAY as error:
                if time.monotonic() > deadline:
                    raise TryLater(
                        "A transaction holds a table for too long: look which, then run this again"
                    ) from error
                say(f"A table is in use; trying again in {pause:.1f} s")
                await _pause(hosts, pause, deadline, say)
                pause = min(2 * pause, LONGEST_PAUSE)
            except asyncpg.ReadOnlySQLTransactionError as error:
                raise DatabaseUnavailable(READ_ONLY, cause=type(error).__name__) from error
            else:
                return True
    finally:
        await engine.dispose()


async def _run_steps(engine: Any, upto: str, say: Callable[[str], None], max_wait: float) -> None:
    """Run the steps in one transaction. `engine` is SQLAlchemy's."""
    async with engine.begin() as connection:
        await _take_turn(connection, say, max_wait)
        await connection.exec_driver_sql(LOCK_TIMEOUT)
        await connection.run_sync(_upgrade, upto)
        await connection.exec_driver_sql(GRANT_STEP)


@contextmanager
def _unwrapped_errors() -> Iterator[None]:
    """Raise asyncpg's error in place of SQLAlchemy's: callers know a lost connection and a held lock by it."""
    wrapper = importlib.import_module("sqlalchemy.exc").DBAPIError
    try:
        yield
    except wrapper as error:
        # SQLAlchemy's own copy of the error is in between.
        if error.orig is None or error.orig.__cause__ is None:
            raise
        raise error.orig.__cause__ from error


async def _pause(hosts: Hosts, seconds: float, deadline: float, say: Callable[[str], None]) -> None:
    """Sleep for `seconds`, and then until every transaction that held a table before has ended: an attempt meanwhile
    would hold up requests and fail. A dump, for example, holds all tables as long as it runs. Such a transaction is
    named, so that the operator can end it. Raises TryLater if `deadline` passes first."""
    holders = importlib.import_module("service.migrations.sql").HOLDERS
    # Without prepared statements, which a pooler may forget from one transaction to the next.
    connection = await hosts.connect(timeout=MAX_CONNECT_SECONDS, statement_cache_size=0)
    try:
        # Short transactions are in the way all the time, but never the same ones.
        earlier = {holder["transaction"] for holder in await connection.fetch(holders)}
        await asyncio.sleep(seconds)
        named: set[str] = set()
        while True:
            lasting = [holder for holder in await connection.fetch(holders) if holder["transaction"] in earlier]
            for holder in lasting:
                if holder["transaction"] not in named:
                    say(_describe(holder) + ("; trying again when it ends" if holder["blocks"] else ""))
                    named.add(holder["transaction"])
            blocking = [holder for holder in lasting if holder["blocks"]]
            if not blocking:
                return
            if time.monotonic() > deadline:
                raise TryLater(f"{_describe(blocking[0])}: wait until it ends, or end it, then run this again")
            await asyncio.sleep(LOOK_EVERY_SECONDS)
    finally:
        await connection.close()


def _describe(holder: asyncpg.Record) -> str:
    """A sentence about a row of HOLDERS, without its end."""
    tables = f"{holder['tables']} tables" if holder["tables"] > 1 else f"the table {holder['example']}"
    age = "" if holder["seconds"] is None else f" of {holder['seconds']} s"
    return (
        f"{holder['application']} (process {holder['pid']}, role {holder['role']}) holds {tables} in a transaction{age}"
    )


async def _take_turn(connection: Any, say: Callable[[str], None], max_wait: float) -> None:
    """`connection` is SQLAlchemy's, in the transaction that migrates."""
    deadline = time.monotonic() + max_wait
    told = False
    while not (await connection.exec_driver_sql(TURN)).scalar():
        if not told:
            say(f"Another `timewarden migrate` is at work on this database; waiting for it, up to {max_wait:.0f} s")
            told = True
        if time.monotonic() > deadline:
            raise TryLater(
                f"Another `timewarden migrate` has been at work on this database for {max_wait:.0f} s:"
                " look what it waits for, then run this again"
            )
        await asyncio.sleep(LOOK_EVERY_SECONDS)


def newest() -> str:
    """The number of the last step, which its file's name begins with."""
    return max(path.name.split("_")[0] for path in (HERE / "versions").glob("[0-9]*.py"))


async def read_step(connection: asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]) -> str:
    """The number of the last step that ran. Raises UndefinedTableError if none did."""
    try:
        # Where Alembic remembers it; there is no such table in an empty database.
        step: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.InsufficientPrivilegeError:
        # Releases before this one did not let every role read it.
        return FIRST
    return step or FIRST


async def _load_step(hosts: Hosts) -> str:
    connection = await hosts.connect(timeout=MAX_CONNECT_SECONDS)
    try:
        return await read_step(connection)
    except asyncpg.UndefinedTableError:
        return FIRST
    finally:
        await connection.close()


async def _prepare(hosts: Hosts, seen: str, upto: str, say: Callable[[str], None]) -> None:
    connection = await hosts.connect(timeout=MAX_CONNECT_SECONDS, statement_cache_size=0)
    try:
        await build_indexes(connection, seen, upto, say)
    finally:
        await connection.close()


def _upgrade(connection: Connection, upto: str) -> None:
    # None before the first step.
    seen = importlib.import_module("alembic.migration").MigrationContext.configure(connection).get_current_revision()
    if seen is not None and seen > newest():
        raise Misconfigured(f"The database is at step {seen}, newer than this release: start the newer one")
    config = importlib.import_module("alembic.config").Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    importlib.import_module("alembic.command").upgrade(config, upto)
