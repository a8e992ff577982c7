"""`timewarden audit partition` and `audit retain`: the log's table through the years, as the database's owner."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import rich_click as click

from service import settings as configuration
from service.commands.database import owner_database
from service.log.partitions import add_partition
from service.log.retention import Pruned, prune

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.database import Connection

# Looking through a partition may take minutes, and nobody waits for the answer.
LONGEST = 3600.0
MONTH_DAYS, YEAR_DAYS = 31, 366
# A hundred years: the calendar ends somewhere behind two thousand.
LONGEST_AGE = 100 * YEAR_DAYS


class Age(click.ParamType[str]):
    """A number of days, months or years, such as `90d`, `36mo` or `10y`; months and years are counted long."""

    name = "age"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The same text, once it is one."""
        if not re.fullmatch(r"[1-9][0-9]{0,3}(d|mo|y)", value):
            self.fail("say for example 90d, 36mo or 10y", param, ctx)
        if days_of(value) > LONGEST_AGE:
            self.fail("that is longer than any record was kept; say for example 10y", param, ctx)
        return value


def days_of(age: str) -> int:
    """How many days that is at most."""
    number = age.rstrip("dmoy")
    return int(number) * {"d": 1, "mo": MONTH_DAYS, "y": YEAR_DAYS}[age.removeprefix(number)]


@click.command()
def partition() -> None:
    """Begin this month's partition of the log; does nothing when there is one. For the first day of each month."""
    name = asyncio.run(_cut(_owner_url()))
    print(f"New records go to {name}." if name else "This month's partition is there, or nothing was written since.")


@click.command()
@click.option("--older-than", "age", type=Age(), required=True, help="For example 36mo.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def retain(*, age: str, dry_run: bool, yes: bool) -> None:
    """Drop the bodies of records older than this, keeping their hashes, so that all proofs hold. Cannot be undone."""
    if not (dry_run or yes):
        click.confirm(f"Drop all records older than {age} for good?", abort=True)
    pruned = asyncio.run(_prune(_owner_url(), age, dry_run=dry_run))
    verb = "would go" if dry_run else "went"
    print(f"{pruned.records} records in {pruned.partitions} partitions {verb}.")
    if pruned.held is not None:
        raise click.ClickException(f"The legal hold {pruned.held} keeps what comes next")


async def _cut(owner_url: str) -> str | None:
    async with _owner(owner_url) as connection:
        return await add_partition(connection, datetime.now(UTC).date())


async def _prune(owner_url: str, age: str, *, dry_run: bool) -> Pruned:
    async with _owner(owner_url) as connection:
        return await prune(connection, datetime.now(UTC) - timedelta(days=days_of(age)), age, dry_run=dry_run)


@asynccontextmanager
async def _owner(owner_url: str) -> AsyncIterator[Connection]:
    async with (
        owner_database(owner_url, "audit retain", longest=LONGEST) as database,
        database.connection() as connection,
    ):
        yield connection


def _owner_url() -> str:
    settings = configuration.load()
    settings.need("database_url")
    return settings.database_url
