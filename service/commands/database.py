"""`timewarden migrate`: bring the schema up to date and open the log, as the owner of the database."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import rich_click as click

from service import settings as configuration
from service.connectivity import translate_connection_errors
from service.database import Database
from service.errors import DatabaseUnavailable, TryLater
from service.log.epochs import open_log
from service.log.roles import check_owner
from service.migrations import migrate as run_migrations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


# A few seconds for each partition of a large log.
ANALYZE_SECONDS = 600.0


@click.command()
def migrate() -> None:
    """Bring the database at TIMEWARDEN_DATABASE_URL to the newest schema, and open the log if it is new."""
    settings = configuration.load()
    settings.need("database_url")
    asyncio.run(migrate_database(settings.database_url))
    print("The database has the newest schema, and its log is open.")


async def migrate_database(owner_url: str) -> None:
    """Migrate and open the log, as the owner of the database. Doing it again changes nothing."""
    async with owner_database(owner_url, "migrate") as database:
        with translate_connection_errors(owner_url):
            has_changed = await run_migrations(owner_url, say=_say)
        async with database.transaction() as connection:
            await open_log(connection)
        if has_changed:
            await update_statistics(database)


async def update_statistics(database: Database) -> None:
    """Let Postgres count and sample all tables. It does so itself only for tables of more than fifty rows, a minute
    after they changed; without statistics it plans some statements anew for every request."""
    async with database.connection() as connection:
        await connection.execute("ANALYZE", timeout=ANALYZE_SECONDS)


@asynccontextmanager
async def owner_database(owner_url: str, name: str, *, longest: float = 30.0) -> AsyncIterator[Database]:
    """Connect as the owner of the database for the command `name`, whose statements take `longest` seconds at most.
    Raises Misconfigured for another role, DatabaseUnavailable, and TryLater if a table is locked."""
    database = Database(owner_url, size=1, timeout=longest, name=name, enforced=False)
    with translate_connection_errors(owner_url):
        await database.open()
    try:
        async with database.connection() as connection:
            await check_owner(connection, name)
        yield database
    except DatabaseUnavailable as error:
        if isinstance(error.__cause__, asyncpg.LockNotAvailableError):
            raise TryLater("A table is locked; try again", cause=error.cause) from error
        raise
    finally:
        await database.close()


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
