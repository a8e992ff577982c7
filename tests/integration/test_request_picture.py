"""docs/pictures/request-*.svg shows the functions that an approval really passes, in this order."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tests.golden.request_picture import STEPS
from tests.integration.house import MONDAY

if TYPE_CHECKING:
    from types import FrameType

    from tests.integration.api import InProcess
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]


async def test_an_approval_passes_the_functions_of_the_picture_in_its_order(
    house: House, linked: None, running: InProcess
) -> None:
    sheet = await house.submit_week("ana", MONDAY)
    calls: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            calls.append((frame.f_globals.get("__name__", ""), frame.f_code.co_qualname))

    path, token = f"/v1/timesheets/{sheet.id}/approve", running.token(sub="mia", scope="approve:timesheets")
    sys.setprofile(note)
    try:
        answer = await running.send("POST", path, token, headers={"If-Match": f'"{sheet.version}"'})
    finally:
        sys.setprofile(None)
    assert answer.status_code == 200, answer.text
    remaining = iter(calls)
    for step in STEPS:
        assert any(step.is_call_of(*call) for call in remaining), step
