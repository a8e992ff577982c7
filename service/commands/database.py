"""`timewarden migrate`: the schema and the opened log, as the owner of the database."""

from __future__ import annotations

import asyncio

import rich_click as click

from service import settings as configuration
from service.audit.opening import open_log
from service.database import Database
from service.migrations import migrate as run_migrations


@click.command()
def migrate() -> None:
    """Bring the database at TIMEWARDEN_DATABASE_URL to the newest schema, and open the log if it is new."""
    settings = configuration.load()
    settings.need("database_url")
    asyncio.run(migrated(settings.database_url))
    print("The database has the newest schema, and its log is open.")


async def migrated(owner_url: str) -> None:
    """Migrate and open the log, as the owner of the database. Both do nothing when they were done before."""
    await run_migrations(owner_url)
    database = Database(owner_url, size=1, timeout=30, name="migrate", enforced=False)
    await database.open()
    try:
        async with database.transaction() as connection:
            await open_log(connection)
    finally:
        await database.close()
