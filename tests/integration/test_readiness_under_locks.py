"""A locked table makes a worker unready if requests need it, and only then. Locks are held for real."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from service.authorization.enforcement.fact_statements import AMBIENT_STATEMENT, NOBODYS_PARAMETERS
from tests.integration.served import serve
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

LOCK = "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE"
NEEDED = ("policy_head", "directory_revision", "revocation", "person", "person_link", "person_role", "membership")


@pytest.mark.parametrize("table", NEEDED)
async def test_readiness_reads_the_tables_that_every_decision_reads(house: House, table: str) -> None:
    reader = await house.log_database.connect("app")
    await reader.execute("SET lock_timeout = '50ms'")
    assert await reader.fetchrow(AMBIENT_STATEMENT, *NOBODYS_PARAMETERS) is not None
    async with house.owner.transaction():
        await house.owner.execute(LOCK.format(table))
        with pytest.raises(asyncpg.LockNotAvailableError):
            await reader.fetchrow(AMBIENT_STATEMENT, *NOBODYS_PARAMETERS)


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
