"""`site`: the API under rows that would allow more than is shipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.api import api
from tests.integration.four_eyes import MORE, Site
from tests.integration.house import activate_unread
from tests.policy_forge import with_more

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.house import House


@pytest.fixture
async def site(house: House, issuer: str, linked: None) -> AsyncIterator[Site]:
    await activate_unread(house, with_more(MORE))
    async with api(house, issuer) as running:
        yield Site(running, house)
