"""The operator's page while the API does not answer: it is read most when something is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.console import visits
from tests.browser.conftest import open_console_that_loses

if TYPE_CHECKING:
    import pytest

    from tests.acceptance.caller import Callers
    from tests.acceptance.running_service import RunningService


async def test_the_page_about_health_opens_while_the_api_decides_nothing(
    service: RunningService, callers: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visits, "ME_SECONDS", 0.0)
    lost: list[str] = []
    paula = await callers("paula")
    async with open_console_that_loses(service, paula, lambda asked: asked.url.path in lost) as (person, _):
        assert (await person.get("/service")).status_code == 200
        lost += ["/v1/me", "/v1/policies/replicas"]
        page = await person.get("/service")
        assert page.status_code == 200
        assert "database" in page.text
        assert "They cannot be read at the moment." in page.text
        # Other pages say what is wrong, and lead there.
        lost.append("/v1/replays")
        failed = await person.get("/replays")
        assert failed.status_code == 503
        assert 'href="/policies"' in failed.text
