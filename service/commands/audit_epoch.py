"""`timewarden audit new-epoch`: go on after a restore that lost records for good. Speaks to the database as owner."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from service import settings as configuration
from service.commands.database import owner_database
from service.errors import Misconfigured
from service.log.anchor import Anchor
from service.log.epochs import begin_epoch

if TYPE_CHECKING:
    from service.log.checkpoint import Checkpoint


@click.command(name="new-epoch")
@click.option("--origin", required=True, help="The log's new name; nothing is signed under the old name any more.")
@click.option(
    "--anchor",
    "file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The old anchor file, whose last line is written into the log.",
)
@click.confirmation_option(prompt="Signed records are permanently lost. Begin a new epoch?")
def new_epoch(origin: str, file: Path) -> None:
    """Begin a new epoch: the log's next record names the last checkpoint of the old one. Read the runbook first."""
    settings = configuration.load()
    settings.need("database_url")
    last = Anchor(file).last()
    if last is None:
        raise Misconfigured(f"{file} names no checkpoint")
    print(f"The log continues as {origin}, epoch {asyncio.run(start_epoch(settings.database_url, last, origin))}.")
    print("Now make a key with `timewarden audit key new`, name a new anchor file, and start the keeper.")


async def start_epoch(owner_url: str, last: Checkpoint, origin: str) -> str:
    """Begin it, as the owner of the database, and return the epoch."""
    async with owner_database(owner_url, "audit new-epoch") as database, database.connection() as connection:
        return str(await begin_epoch(connection, last, origin))
