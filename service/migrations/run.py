"""Brings a database to the newest schema. Owns nothing; what is durable is in Postgres, all steps in one transaction.

Alembic takes a second to load, so a database that is up to date is recognised without it.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from sqlalchemy import Connection

HERE = Path(__file__).parent


async def migrate(database_url: str, upto: str = "head") -> None:
    """Run every step that the database at `database_url` (postgresql://, as the owner) has not seen, in order, the last
    one being `upto`."""
    if await _is_newest(database_url):
        return
    sqlalchemy = importlib.import_module("sqlalchemy.ext.asyncio")
    pool = importlib.import_module("sqlalchemy.pool")
    engine = sqlalchemy.create_async_engine(_driver_url(database_url), poolclass=pool.NullPool)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade, upto)
    finally:
        await engine.dispose()


def newest() -> str:
    """The number of the last step, which its file's name begins with."""
    return max(path.name.split("_")[0] for path in (HERE / "versions").glob("[0-9]*.py"))


async def _is_newest(database_url: str) -> bool:
    connection = await asyncpg.connect(database_url, timeout=30)
    try:
        # Where Alembic remembers the last step that ran; there is none in an empty database.
        return bool(await connection.fetchval("SELECT version_num FROM alembic_version") == newest())
    except asyncpg.UndefinedTableError:
        return False
    finally:
        await connection.close()


def _upgrade(connection: Connection, upto: str) -> None:
    config = importlib.import_module("alembic.config").Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    importlib.import_module("alembic.command").upgrade(config, upto)


def _driver_url(database_url: str) -> str:
    """SQLAlchemy wants the driver named in the scheme."""
    for scheme in ("postgresql://", "postgres://"):
        if database_url.startswith(scheme):
            return "postgresql+asyncpg://" + database_url.removeprefix(scheme)
    return database_url
