"""`house`: Timewarden without HTTP, with a small organisation, on a fresh database under the shipped policy.

It is put together once a session; each test gets a copy.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from service.administration.checks import examination
from service.administration.versions.bootstrap import bootstrap
from service.log.log import Log
from tests.integration.house import House, add_organisation, wire_house
from tests.integration.log_database import copy_database, open_new_log
from tests.policy_forge import read_shipped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    import asyncpg

    from service.development.local_servers import LocalPostgres


@dataclass(frozen=True, slots=True)
class Furnished:
    """The database to copy, and who lives there."""

    template: str
    epoch: UUID
    people: dict[str, UUID]
    teams: dict[str, UUID]


@pytest.fixture(scope="session")
async def furnished(
    postgres: LocalPostgres, superuser: asyncpg.Connection[asyncpg.Record], log_template: str
) -> AsyncIterator[Furnished]:
    async with copy_database(postgres, superuser, log_template) as database:
        epoch = await open_new_log(database)
        owner = await database.open("owner", size=1)
        async with owner.transaction() as connection:
            await bootstrap(connection, Log(owner), read_shipped(), examination.load, datetime.now(UTC))
        house = await add_organisation(await wire_house(database))
        # Nothing may be connected to what is copied.
        await database.stack.aclose()
        yield Furnished(database.name, epoch, house.people, house.teams)


@pytest.fixture
async def house(
    postgres: LocalPostgres, superuser: asyncpg.Connection[asyncpg.Record], furnished: Furnished
) -> AsyncIterator[House]:
    async with copy_house(postgres, superuser, furnished) as house:
        yield house


@pytest.fixture(scope="module")
async def common_house(
    postgres: LocalPostgres, superuser: asyncpg.Connection[asyncpg.Record], furnished: Furnished
) -> AsyncIterator[House]:
    """A house for all tests of a module that change nothing."""
    async with copy_house(postgres, superuser, furnished) as house:
        yield house


@asynccontextmanager
async def copy_house(
    postgres: LocalPostgres, superuser: asyncpg.Connection[asyncpg.Record], furnished: Furnished
) -> AsyncIterator[House]:
    async with copy_database(postgres, superuser, furnished.template) as database:
        database.epoch = furnished.epoch
        house = await wire_house(database)
        house.people, house.teams = dict(furnished.people), dict(furnished.teams)
        yield house
