"""One running service for all acceptance tests of a session, and its callers; crash tests start their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.acceptance.caller import Callers
from tests.acceptance.running_service import RunningService
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Everything that `timewarden up` starts. It must stop cleanly in the end."""
    running = RunningService(tmp_path_factory.mktemp("acceptance") / "state")
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def hurt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service to be hurt. Each test leaves it running, or the next one starts it again."""
    service = RunningService(tmp_path_factory.mktemp("hurt") / "state")
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="session")
async def http(service: RunningService) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.addresses.api, timeout=PATIENCE_SECONDS, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
async def callers(service: RunningService, http: httpx.AsyncClient) -> Callers:
    """Real tokens: `await callers("ana")`."""
    return Callers(http, service.addresses)


@pytest.fixture
def nothing_unexpected(service: RunningService) -> Iterator[None]:
    """No test that uses this may leave an unexpected error in the service's log."""
    before = service.log.stat().st_size
    yield
    with service.log.open("rb") as log:
        log.seek(before)
        assert b"unexpected error" not in log.read()
