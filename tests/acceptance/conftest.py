"""One running service for all acceptance tests of a worker, and its callers; crash tests start their own.

Both stop with the last acceptance test, since a service that nobody uses takes a tenth of a core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.acceptance.caller import Callers
from tests.acceptance.policy_author import version_restored
from tests.acceptance.running_service import RunningService
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Everything that `timewarden up` starts. It must stop cleanly in the end."""
    running = RunningService(tmp_path_factory.mktemp("acceptance") / "state")
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="package")
def hurt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service whose processes tests kill. Each test leaves it running, or the next one starts it again."""
    service = RunningService(tmp_path_factory.mktemp("hurt") / "state")
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="package")
async def http(service: RunningService) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=service.addresses.api, timeout=PATIENCE_SECONDS, trust_env=False) as client:
        yield client


@pytest.fixture(scope="package")
async def callers(service: RunningService, http: httpx2.AsyncClient) -> Callers:
    """Real tokens: `await callers("ana")`."""
    return Callers(http, service.addresses)


@pytest.fixture
async def same_version(callers: Callers) -> AsyncIterator[None]:
    """The version that is active before the test decides again after it."""
    async with version_restored(await callers("paula")):
        yield


@pytest.fixture(scope="module")
async def undone(callers: Callers) -> AsyncIterator[None]:
    """Undo what made-up requests changed for the tests of other files: the active policy and legal holds."""
    async with version_restored(await callers("paula")):
        yield
    await lift_holds(callers)


async def lift_holds(callers: Callers) -> None:
    """Lift every legal hold. Nobody lifts a hold that they set, so Paula lifts Audrey's, as an auditor for a moment."""
    listed = (await (await callers("audrey")).get("/v1/audit/holds")).json()["items"]
    open_holds = [hold["id"] for hold in listed if hold["until"] is None]
    if not open_holds:
        return
    adam, paula = await callers("adam"), await callers("paula")
    roles = f"/v1/people/{await paula.me()}/roles"
    assert (await adam.post(roles, {"role": "auditor"})).status_code == 201
    for hold in open_holds:
        lifted = await paula.post(f"/v1/audit/holds/{hold}/lift")
        assert lifted.status_code == 200, lifted.text
    assert (await adam.delete(f"{roles}/auditor")).status_code == 200


@pytest.fixture
def nothing_unexpected(service: RunningService) -> Iterator[None]:
    """No test that uses this may leave an unexpected error in the service's log."""
    before = service.log.stat().st_size
    yield
    with service.log.open("rb") as log:
        log.seek(before)
        assert b"unexpected error" not in log.read()
