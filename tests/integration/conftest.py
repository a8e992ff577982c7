"""An issuer whose tokens are taken, and the API in this process: what most tests over HTTP need.

A module that wants another API overrides `running`; `house` comes with house_fixtures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.api import InProcess, api, key_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.integration.house import House


@pytest.fixture(scope="session")
def issuer() -> Iterator[str]:
    yield from key_server()


@pytest.fixture
async def linked(house: House, issuer: str) -> None:
    """The issuer's subjects are the names of the people in the house."""
    await house.link_people(issuer)


@pytest.fixture(scope="module")
async def common(common_house: House, issuer: str) -> AsyncIterator[InProcess]:
    """As `running`, for all tests of a module that change nothing."""
    async with api(common_house, issuer) as started:
        yield started


@pytest.fixture
async def running(house: House, issuer: str) -> AsyncIterator[InProcess]:
    async with api(house, issuer) as started:
        yield started
