"""The API page in a browser: its request builder sends what its command says, and asks no other host."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING, Any

from tests.browser.conftest import Desk, find_violations

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page

    from tests.acceptance.caller import Callers
    from tests.acceptance.running_service import RunningService

MONDAY = "2023-05-01"


async def open_builder(page: Page, operation: str) -> Locator:
    article = page.locator(f"article#{operation}")
    await article.get_by_role("button", name="Build a request").click()
    await article.locator("form").wait_for()
    return article


async def send(article: Locator) -> dict[str, Any]:
    """Send the request of a form; returns the body of the answer."""
    output = article.locator("output")
    await article.get_by_role("button", name="Send").click()
    await output.locator("h4").wait_for()
    shown = await output.locator("pre.answer").inner_text()
    return {**json.loads(shown), "status": (await output.locator("h4").inner_text()).split()[0]}


async def test_a_week_is_opened_and_submitted_on_the_page(
    desk: Desk, service: RunningService, callers: Callers
) -> None:
    token = str((await callers("ana")).token)
    async with desk.window() as page:
        await page.goto(f"{service.addresses.api}/docs")
        await page.get_by_label("Access token").fill(token)

        opening = await open_builder(page, "create_timesheet")
        body = json.dumps({"period_start": MONDAY, "entries": [{"day": MONDAY, "project": "ATLAS", "minutes": 60}]})
        await opening.get_by_label("Body").fill(body)
        command = await opening.locator("pre.command").inner_text()
        opened = await send(opening)
        assert opened["status"] == "201"

        submitting = await open_builder(page, "submit_timesheet")
        await submitting.get_by_label("timesheet_id").fill(opened["id"])
        # The version of the answer above.
        assert await submitting.get_by_label("If-Match").input_value() == f'"{opened["version"]}"'
        submitted = await send(submitting)
        assert (submitted["status"], submitted["state"]) == ("200", "submitted")

        withdrawing = await open_builder(page, "withdraw_timesheet")
        await withdrawing.get_by_label("timesheet_id").fill(opened["id"])
        assert (await send(withdrawing))["state"] == "draft"

        # The command of the form does what the form did: there is such a week by now.
        environment = {"TOKEN": token, "PATH": "/usr/bin:/bin"}
        pasted = await asyncio.to_thread(subprocess.check_output, ["sh", "-c", command], env=environment)
        assert json.loads(pasted)["timesheet"] == opened["id"]


async def test_the_page_shows_refusals_lists_choices_and_asks_no_other_host(
    desk: Desk, service: RunningService, callers: Callers
) -> None:
    token, asked = str((await callers("ana")).token), set[str]()
    async with desk.window() as page:
        page.on("request", lambda request: asked.add(request.url.partition("?")[0]))
        await page.goto(f"{service.addresses.api}/docs")
        listing = await open_builder(page, "list_timesheets")
        assert (await send(listing))["type"].endswith("missing-token")

        await page.get_by_label("Access token").fill(token)
        decisions = await open_builder(page, "list_decisions")
        assert await decisions.locator("select[name=outcome] option").all_inner_texts() == ["", "allow", "deny"]
        refused = await send(decisions)
        assert (refused["status"], refused["required_scope"]) == ("403", ["read:audit"])
        assert token not in await page.content()
        assert await find_violations(page) == []
        # A new visit knows nothing of the last.
        await page.reload()
        assert await page.get_by_label("Access token").input_value() == ""
    api = service.addresses.api
    assert asked == {f"{api}/docs", f"{api}/openapi.json", f"{api}/v1/timesheets", f"{api}/v1/decisions"}
