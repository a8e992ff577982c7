"""`timewarden serve`: the API, in as many worker processes as asked. Everything durable is in Postgres."""

from __future__ import annotations

import asyncio
import sys

import rich_click as click
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from service import settings as configuration
from service.authorization.policy_file import PolicyText
from service.database import Database
from service.errors import PolicyRejected


@click.command()
def serve() -> None:
    """Serve the API on TIMEWARDEN_HOST and TIMEWARDEN_PORT with TIMEWARDEN_WORKERS processes."""
    settings = configuration.load()
    settings.need("database_url", "cursor_key", *settings.names_of_issuer())
    asyncio.run(tell_of_other_files(settings))
    Granian(
        "service.app:create",
        factory=True,
        interface=Interfaces.ASGI,
        address=settings.host,
        port=settings.port,
        workers=settings.workers,
        respawn_failed_workers=True,
        log_level=LogLevels.warning,
        websockets=False,
        backlog=1024,
        workers_kill_timeout=10,
    ).serve()


async def tell_of_other_files(settings: configuration.Settings) -> None:
    """The database is the truth: if policies/ differs from the active version, say so and change nothing."""
    if not settings.policies_directory.is_dir():
        return
    database = Database(settings.database_url, size=1, timeout=settings.database_timeout, name="start")
    await database.open()
    try:
        async with database.connection() as connection:
            # The active version's number and digest.
            row = await connection.fetchrow(
                "SELECT number, digest FROM policy_version WHERE number = (SELECT active FROM policy_head)"
            )
    finally:
        await database.close()
    try:
        here = PolicyText.read(settings.policies_directory).digest()
    except PolicyRejected:
        here = "unreadable"
    if row is not None and row["digest"] != here:
        print(
            f"{settings.policies_directory}/ differs from the active policy version {row['number']}, which goes on "
            "deciding; `timewarden policy propose` puts the files forward.",
            file=sys.stderr,
        )
