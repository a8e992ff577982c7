"""A development authorization server of a module's own, and a client of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest
import pytest_asyncio

from service.development.authorization_server.application import running
from tests.integration.authorization_server.browser import AUDIENCE, held_issuer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def issuer(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    url, held = held_issuer()
    async with running(url, AUDIENCE, tmp_path_factory.mktemp("keys"), listener=held):
        yield url


@pytest_asyncio.fixture(loop_scope="session")
async def http(issuer: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=issuer, trust_env=False) as client:
        yield client


@pytest.fixture
def browser(http: httpx2.AsyncClient) -> httpx2.AsyncClient:
    """The client as a person's, which keeps cookies."""
    return http
