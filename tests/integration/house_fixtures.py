"""`house`: Timewarden without HTTP, with a small organisation, on a fresh database under the shipped policy."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from service.audit.log import Log
from service.authorization import policy_check
from service.authorization.policy_administration import bootstrap
from tests.integration.house import House, peopled, wired
from tests.policy_forge import shipped

if TYPE_CHECKING:
    from tests.integration.log_database import LogDatabase


@pytest.fixture
async def house(log_database: LogDatabase) -> House:
    owner = await log_database.open("owner", size=1)
    async with owner.transaction() as connection:
        await bootstrap(connection, Log(owner), shipped(), policy_check.load, datetime.now(UTC))
    return await peopled(await wired(log_database))
