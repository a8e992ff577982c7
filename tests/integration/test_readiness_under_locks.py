"""A locked table makes a worker unready if requests need it, and only then. Locks are held for real."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import pytest

from service.authorization.enforcement.fact_statements import AMBIENT_STATEMENT, NEEDED_STATEMENT, NOBODYS_PARAMETERS
from tests.integration.api import api
from tests.integration.served import serve
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

LOCK = "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE"
NEEDED = (
    "policy_head",
    "directory_revision",
    "revocation",
    "revocation_revision",
    "erased_subject",
    "person",
    "person_link",
    "person_role",
    "membership",
)


@pytest.mark.parametrize("table", NEEDED)
async def test_readiness_reads_the_tables_that_every_decision_reads(house: House, table: str) -> None:
    reader = await house.log_database.connect("app")
    await reader.execute("SET lock_timeout = '50ms'")

    async def read() -> None:
        assert await reader.fetchrow(AMBIENT_STATEMENT, *NOBODYS_PARAMETERS) is not None
        assert await reader.fetchrow(NEEDED_STATEMENT) is not None

    await read()
    async with house.owner.transaction():
        await house.owner.execute(LOCK.format(table))
        with pytest.raises(asyncpg.LockNotAvailableError):
            await read()


async def test_a_worker_is_unready_only_while_what_decisions_read_is_locked(
    house: House, issuer: str, tmp_path: Path
) -> None:
    async with serve(house.log_database.url("app"), issuer, tmp_path) as service:
        await service.ready()
        for table in ("keeper_report", "checkpoint"):
            async with house.owner.transaction():
                await house.owner.execute(LOCK.format(table))

                async def is_told() -> bool:
                    answer = await service.health()
                    parts = {part["name"]: part for part in answer.json()["workers"][0]["parts"]}
                    told = parts.get("checkpoint", {"detail": ""})["detail"].startswith("could not be read")
                    return answer.status_code == 200 and told

                await until(is_told)

        async with house.owner.transaction():
            await house.owner.execute(LOCK.format("person_role"))

            async def is_unready() -> bool:
                answer = await service.health()
                return answer.status_code == 503 and "does not answer" in answer.text

            await until(is_unready)
        await service.ready()


async def test_a_worker_is_unready_while_postgres_takes_no_writes(
    house: House, issuer: str, superuser: asyncpg.Connection[asyncpg.Record]
) -> None:
    async with api(house, issuer) as running:

        async def says(ready: bool, detail: str) -> bool:  # noqa: FBT001
            answer = await running.send("GET", "/health/ready")
            return (answer.status_code == 200) is ready and detail in answer.text

        await until(partial(says, True, "answers"))
        name = house.log_database.name
        await superuser.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        # New connections have it.
        await superuser.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        await until(partial(says, False, "takes no writes"))
