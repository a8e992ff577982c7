"""`timewarden policy bootstrap`: the first version from files, as the database's owner."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import rich_click as click

from service import settings as configuration
from service.administration.checks import examination
from service.administration.versions.bootstrap import bootstrap as make_first
from service.commands.database import owner_database, update_statistics
from service.commands.policy_files import read_files
from service.errors import Conflict
from service.log.log import Log

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
def bootstrap() -> None:
    """Load TIMEWARDEN_POLICIES_DIRECTORY as version 1, as the database's owner. Does nothing if a version exists."""
    settings = configuration.load()
    settings.need("database_url")
    try:
        print(
            f"Version {asyncio.run(bootstrap_policy(settings.database_url, settings.policies_directory))} decides now."
        )
    except Conflict:
        print("The database already has a policy; nothing was changed.")


async def bootstrap_policy(owner_url: str, files: Path) -> int:
    """Load the first version and make it active. Raises Conflict when there is one, PolicyRejected."""
    text = read_files(files)
    async with owner_database(owner_url, "policy bootstrap") as database:
        async with database.transaction() as connection:
            version = await make_first(connection, Log(database), text, examination.admit, datetime.now(UTC))
        await update_statistics(database)
    return version.number
