"""Failures of the log for callers and operators: 503 with Retry-After, and a replica that is not ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.api import api

if TYPE_CHECKING:
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]


async def test_a_log_that_cannot_be_written_is_a_503_and_not_ready(house: House, issuer: str) -> None:
    async with api(house, issuer, database_timeout=4.0, lock_timeout=2.0) as service:
        token = service.token()
        assert (await service.send("GET", "/v1/me", token)).status_code == 200
        ready = (await service.send("GET", "/health/ready")).json()
        assert {part["name"]: part["ready"] for part in ready["parts"]}["log"] is True
        # No keeper runs here, so nothing is sealed or signed.
        assert {part["name"]: part["detail"] for part in ready["parts"]}["checkpoint"].startswith("none yet; 0 of 0")

        lock = house.owner.transaction()
        await lock.start()
        await house.owner.execute("LOCK TABLE audit_record IN SHARE MODE")
        refused = await service.send("GET", "/v1/me", token)
        assert refused.status_code == 503
        assert refused.json()["type"] == "urn:timewarden:problem:log-unavailable"
        assert int(refused.headers["Retry-After"]) >= 1
        assert "Decision-Id" not in refused.headers
        unready = await service.send("GET", "/health/ready")
        assert unready.status_code == 503
        parts = {part["name"]: part for part in unready.json()["parts"]}
        assert parts["database"]["ready"] is True
        assert (parts["log"]["ready"], parts["log"]["needed"]) == (False, True)
        assert parts["log"]["detail"].startswith("could not be written")

        await lock.rollback()
        assert (await service.send("GET", "/v1/me", token)).status_code == 200
        assert (await service.send("GET", "/health/ready")).status_code == 200
