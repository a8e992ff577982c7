"""`site`: the API under rows that would allow more than is shipped."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from service.administration.versions import version_store
from tests.integration.api import api
from tests.integration.four_eyes import MORE, Site
from tests.policy_forge import read_shipped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.house import House


@pytest.fixture
async def site(house: House, issuer: str, linked: None) -> AsyncIterator[Site]:
    text = replace(read_shipped(), rules=read_shipped().rules + MORE, cases={})
    number = (await version_store.insert(house.owner, text, message="m", author_person=None, author_client="c")).number
    assert await version_store.move_head(house.owner, number, expected=1)
    async with api(house, issuer) as running:
        yield Site(running, house)
