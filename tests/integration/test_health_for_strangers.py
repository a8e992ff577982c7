"""Health on the port of the API names no host, process or file of the inside: anybody can read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.log.keeper_status import KeeperStatus, this_process
from tests.integration.api import api

if TYPE_CHECKING:
    import httpx2
    import pytest

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

AWAY = "postgresql://timewarden_app:secret@localhost:1/timewarden"
WHERE = "cannot archive: [Errno 13] Permission denied: '/mnt/archive/acme'"


def detail_of(answer: httpx2.Response, part: str) -> str:
    return next(str(found["detail"]) for found in answer.json()["parts"] if found["name"] == part)


async def test_while_postgres_is_away_strangers_do_not_read_where_it_is(
    house: House, issuer: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with api(house, issuer, database_url=AWAY) as running:
        answer = await running.send("GET", "/health/ready")
        assert answer.status_code == 503
        assert detail_of(answer, "database") == "does not answer"
        assert "localhost" not in answer.text
    # Operators do, in the log lines.
    assert "Postgres does not answer at localhost, port 1" in "".join(capfd.readouterr())


async def test_strangers_do_not_read_what_a_keeper_reports(house: House, issuer: str) -> None:
    keeper = await house.log_database.open("keeper")
    await KeeperStatus(keeper, "archiver").report(ready=False, detail=WHERE)
    await KeeperStatus(keeper, "relay").report(ready=True, detail=f"waiting: {this_process()} publishes")
    async with api(house, issuer) as running:
        answer = await running.send("GET", "/health/ready")
        assert answer.status_code == 200
        assert detail_of(answer, "archiver") == "does not work: the management address says why"
        assert detail_of(answer, "relay") == "works"
