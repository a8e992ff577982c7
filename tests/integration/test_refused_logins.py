"""Postgres refuses the login of a process that runs, as while a password is rotated: the process waits and goes on."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Self

import pytest

from service import metrics
from service.database import Database
from service.errors import DatabaseUnavailable, Misconfigured
from service.keeper import keep
from service.log.keeper_status import read_status
from service.log.key_files import make_key
from service.log.log import Log
from tests.database_away import DatabaseAway
from tests.integration.api import api
from tests.integration.log_database import change
from tests.integration.log_trees import ORIGIN, keeper_settings
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import asyncpg

    from service.development.local_servers import LocalPostgres
    from service.settings import Settings
    from tests.integration.house import House
    from tests.integration.log_database import LogDatabase

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

# A login with the rights of a keeper. The roles of the project belong to all tests.
LOGIN = "rotated"
TERMINATE = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{LOGIN}'"
REFUSALS = {
    "InvalidAuthorizationSpecificationError": (f"ALTER ROLE {LOGIN} NOLOGIN", f"ALTER ROLE {LOGIN} LOGIN"),
    "InvalidPasswordError": (f"ALTER ROLE {LOGIN} PASSWORD 'b'", f"ALTER ROLE {LOGIN} PASSWORD 'a'"),
    "ObjectNotInPrerequisiteStateError": (
        "ALTER DATABASE {database} ALLOW_CONNECTIONS false",
        "ALTER DATABASE {database} ALLOW_CONNECTIONS true",
    ),
}


@pytest.fixture
async def url(
    log_database: LogDatabase, postgres: LocalPostgres, superuser: asyncpg.Connection[asyncpg.Record]
) -> AsyncIterator[str]:
    await superuser.execute(f"CREATE ROLE {LOGIN} LOGIN PASSWORD 'a' IN ROLE timewarden_keeper")
    yield postgres.url(LOGIN, "a", log_database.name)
    await superuser.execute(TERMINATE)
    await superuser.execute(f"DROP ROLE {LOGIN}")


@pytest.mark.parametrize("cause", REFUSALS)
async def test_a_refused_login_of_a_database_that_was_open_is_a_database_that_is_away(
    url: str, log_database: LogDatabase, superuser: asyncpg.Connection[asyncpg.Record], cause: str
) -> None:
    refuse, allow = (statement.format(database=log_database.name) for statement in REFUSALS[cause])
    database = Database(url, size=2, name="rotated")
    await database.open()
    await superuser.execute(refuse)
    try:
        await superuser.execute(TERMINATE)

        async def is_refused() -> bool:
            # Before, the pool may hand out the connection that was lost.
            with pytest.raises(DatabaseUnavailable) as connecting:
                await read(database)
            return connecting.value.cause == f"rotated: {cause}"

        await until(is_refused)
        with pytest.raises(DatabaseUnavailable, check=lambda error: error.cause == f"rotated: {cause}"):
            await database.reserve()
    finally:
        await superuser.execute(allow)
    assert await read(database) == 1
    await database.close()


async def read(database: Database) -> int:
    async with database.connection() as connection:
        found: int = await connection.fetchval("SELECT 1")
    return found


async def test_a_process_that_starts_while_a_database_takes_no_connections_can_wait(
    url: str, log_database: LogDatabase, superuser: asyncpg.Connection[asyncpg.Record]
) -> None:
    await superuser.execute(f"ALTER DATABASE {log_database.name} ALLOW_CONNECTIONS false")
    try:
        with pytest.raises(DatabaseUnavailable, match="does not answer"):
            await Database(url, size=1).open()
    finally:
        await superuser.execute(f"ALTER DATABASE {log_database.name} ALLOW_CONNECTIONS true")


async def test_a_process_that_starts_with_a_wrong_password_is_told(
    url: str, superuser: asyncpg.Connection[asyncpg.Record]
) -> None:
    await superuser.execute(f"ALTER ROLE {LOGIN} PASSWORD 'b'")
    with pytest.raises(Misconfigured, match="check its user, password"):
        await Database(url, size=1).open()


async def test_a_keeper_goes_on_after_its_login_was_refused(
    url: str,
    log_database: LogDatabase,
    superuser: asyncpg.Connection[asyncpg.Record],
    redis_url: str,
    tmp_path: Path,
) -> None:
    async with Keeper(keeper_settings(url, redis_url, tmp_path), log_database, tmp_path) as keeper:
        await until(keeper.has_signed_everything)
        await superuser.execute(f"ALTER ROLE {LOGIN} PASSWORD 'b'")
        await superuser.execute(TERMINATE)
        before = count_refused()

        async def were_refused() -> bool:
            keeper.check()
            return count_refused() >= before + 6

        await until(were_refused)
        await superuser.execute(f"ALTER ROLE {LOGIN} PASSWORD 'a'")
        await keeper.log.append([change()])
        await until(keeper.has_signed_everything)


async def test_an_api_that_opens_its_database_during_a_restore_goes_on_after_it(house: House, issuer: str) -> None:
    with DatabaseAway(house.log_database.url("app")) as away:
        async with api(house, issuer, database_url=away.url) as running:
            await house.owner.execute("ALTER TABLE policy_head RENAME TO not_made_yet")

            async def status(wanted: int, detail: str) -> bool:
                answer = await running.send("GET", "/health/ready")
                return answer.status_code == wanted and detail in answer.text

            async with away.back():
                await until(partial(status, 503, "Postgres refuses a statement: UndefinedTableError"))
                await house.owner.execute("ALTER TABLE not_made_yet RENAME TO policy_head")
                await until(partial(status, 200, ""))


def count_refused() -> float:
    """How often a part of a keeper in this process got no connection."""
    return metrics.CONNECTION_TIMEOUTS.series.get(("keeper",), [0])[0]


async def test_a_keeper_says_which_part_lacks_a_right_and_goes_on_once_it_is_given(
    log_database: LogDatabase, redis_url: str, tmp_path: Path
) -> None:
    """As while `pg_restore` runs: it gives the rights last."""
    settings = keeper_settings(log_database.url("keeper"), redis_url, tmp_path)
    owner = await log_database.connect("owner")
    async with Keeper(settings, log_database, tmp_path) as keeper:
        await until(keeper.has_signed_everything)
        await owner.execute("REVOKE SELECT ON checkpoint FROM timewarden_keeper")
        await keeper.log.append([change()])

        async def has_told() -> bool:
            keeper.check()
            details = [part.detail for part in await read_status(owner) if part.part == "signer"]
            return any("Postgres refuses its statements: InsufficientPrivilegeError" in detail for detail in details)

        await until(has_told)
        await owner.execute("GRANT SELECT ON checkpoint TO timewarden_keeper")
        await until(keeper.has_signed_everything)


async def test_a_keeper_that_starts_without_a_right_waits_for_it(
    log_database: LogDatabase, redis_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = keeper_settings(log_database.url("keeper"), redis_url, tmp_path)
    owner = await log_database.connect("owner")
    await owner.execute("REVOKE SELECT ON log_head FROM timewarden_keeper")
    async with Keeper(settings, log_database, tmp_path) as keeper:
        said = ""

        async def waits() -> bool:
            nonlocal said
            keeper.check()
            said += "".join(capfd.readouterr())
            return "InsufficientPrivilegeError" in said

        await until(waits)
        await owner.execute("GRANT SELECT ON log_head TO timewarden_keeper")
        await until(keeper.has_signed_everything)


class Keeper:
    """A keeper that runs inside the block, and must not have ended before its end."""

    def __init__(self, settings: Settings, log_database: LogDatabase, folder: Path) -> None:
        make_key(folder / "key", ORIGIN)
        self._settings, self._log_database, self._stop = settings, log_database, asyncio.Event()

    async def __aenter__(self) -> Self:
        self.log = Log(await self._log_database.open("app"))
        self._auditor = await self._log_database.connect("auditor")
        await self.log.append([change()])
        self._running = asyncio.create_task(keep(self._settings, self._stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await self._running

    def check(self) -> None:
        """Raises why the keeper has ended, if it has."""
        if self._running.done():
            self._running.result()
            raise AssertionError("the keeper has ended")

    async def has_signed_everything(self) -> bool:
        """Whether a signed checkpoint covers every record."""
        self.check()
        return bool(
            await self._auditor.fetchval(
                "SELECT max(size) = (SELECT count(*) FROM audit_record) FROM checkpoint WHERE note IS NOT NULL"
            )
        )
