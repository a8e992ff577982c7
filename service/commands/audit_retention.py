"""`timewarden audit partition` and `audit retain`: the log's table through the years, as the database's owner."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import rich_click as click

from service import settings as configuration
from service.commands.database import owner_database
from service.log.archive import open_store, read_archived
from service.log.partitions import add_partition
from service.log.retention import Pruned, prune, time_ago

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.database import Connection

# Reading a whole partition may take minutes.
MAX_SECONDS = 3600.0
MONTH_DAYS, YEAR_DAYS = 31, 366
# Dates of Python end at year 1, so an age has a bound.
MAX_AGE_DAYS = 100 * YEAR_DAYS


class Age(click.ParamType[str]):
    """A number of days, months or years, such as `90d`, `36mo` or `10y`; months and years are counted long."""

    name = "age"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The same text; fails unless it is an age."""
        if not re.fullmatch(r"[1-9][0-9]{0,3}(d|mo|y)", value):
            self.fail("for example 90d, 36mo or 10y", param, ctx)
        if days_of(value) > MAX_AGE_DAYS:
            self.fail("longer than 100 years; for example 10y", param, ctx)
        return value


def days_of(age: str) -> int:
    """The largest number of days that the age can mean."""
    number = age.rstrip("dmoy")
    return int(number) * {"d": 1, "mo": MONTH_DAYS, "y": YEAR_DAYS}[age.removeprefix(number)]


@click.command()
def partition() -> None:
    """Begin this month's partition of the log; does nothing when there is one. For the first day of each month."""
    name = asyncio.run(_add_partition(_owner_url()))
    print(f"New records go to {name}." if name else "This month's partition is there, or nothing was written since.")


@click.command()
@click.option("--older-than", "age", type=Age(), required=True, help="For example 36mo.")
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, and delete nothing.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def retain(*, age: str, dry_run: bool, yes: bool) -> None:
    """Drop the bodies of records older than this, keeping their hashes, so that all proofs hold. Cannot be undone.

    With TIMEWARDEN_ARCHIVE_URL, records that are not in the archive are kept.
    """
    if not (dry_run or yes):
        click.confirm(f"Drop all records older than {age} for good?", abort=True)
    pruned = asyncio.run(_prune(_owner_url(), age, dry_run=dry_run))
    verb = "would be pruned" if dry_run else "pruned"
    print(f"{pruned.records} records in {pruned.partitions} partitions {verb}.")
    if pruned.held is not None:
        raise click.ClickException(f"The legal hold {pruned.held} forbids pruning the next records")
    if pruned.unarchived:
        raise click.ClickException("The next records are not in the archive yet")


async def _add_partition(owner_url: str) -> str | None:
    async with _owner(owner_url, "audit partition") as connection:
        return await add_partition(connection, (await time_ago(connection, timedelta())).date())


async def _prune(owner_url: str, age: str, *, dry_run: bool) -> Pruned:
    archived = await _archived_size()
    async with _owner(owner_url, "audit retain") as connection:
        before = await time_ago(connection, timedelta(days=days_of(age)))
        return await prune(connection, before, age, archived=archived, dry_run=dry_run)


async def _archived_size() -> int | None:
    """How many records are archived; None without an archive. Raises Misconfigured, and a ClickException when the
    archive cannot be read."""
    settings = configuration.load()
    if not settings.archive_url:
        return None
    settings.need("log_origin")
    try:
        found = await read_archived(open_store(settings.archive_url, settings.log_origin))
    except OSError as error:
        raise click.ClickException(f"The archive cannot be read: {error}") from error
    return found.size if found else 0


@asynccontextmanager
async def _owner(owner_url: str, command: str) -> AsyncIterator[Connection]:
    async with (
        owner_database(owner_url, command, longest=MAX_SECONDS) as database,
        database.connection() as connection,
    ):
        yield connection


def _owner_url() -> str:
    settings = configuration.load()
    settings.need("database_url")
    return settings.database_url
