"""The console by keyboard alone: an employee's week, a manager's inbox, and the way past the navigation."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from playwright.async_api import expect

from tests.browser.story_of_weeks import fill_week

if TYPE_CHECKING:
    from playwright.async_api import Page

    from tests.acceptance.caller import Callers
    from tests.browser.conftest import Desk
    from tests.browser.story_of_weeks import Weeks

MAX_STEPS = 60
NAME_OF_FOCUS = """() => {
  const found = document.activeElement;
  return (found.getAttribute("aria-label") ?? found.labels?.[0]?.textContent ?? found.textContent).trim();
}"""


async def tab_to(page: Page, name: str) -> None:
    """Press Tab until the focus is on an element of this name."""
    for _ in range(MAX_STEPS):
        await page.keyboard.press("Tab")
        if (await page.evaluate(NAME_OF_FOCUS)).startswith(name):
            return
    raise AssertionError(f"no {name} within {MAX_STEPS} steps")


async def test_a_week_is_written_moved_through_and_saved_by_keyboard(desk: Desk, callers: Callers) -> None:
    carl = (await callers("carl")).api
    monday = date(2025, 8, 18)
    hours = [{"day": monday, "project": code, "minutes": 60} for code in ("ATLAS", "SITE")]
    await carl.open_week(monday, "Europe/Berlin", hours)
    async with desk.window("carl") as page:
        await page.goto(f"{desk.console}/week/{monday}")
        await page.keyboard.press("Tab")
        assert await page.evaluate(NAME_OF_FOCUS) == "Skip to the content"
        await page.keyboard.press("Enter")
        await tab_to(page, "ATLAS, Tuesday 19 August 2025")
        await page.keyboard.type("7:30")
        await page.keyboard.press("ArrowDown")
        await page.keyboard.type("30m")
        assert await page.evaluate(NAME_OF_FOCUS) == "SITE, Tuesday 19 August 2025"
        # From a cell, Enter saves the week.
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_have_text("Your hours are saved.")
        await expect(page.locator("tfoot .total")).to_have_text("10:00")


async def test_a_manager_reads_and_approves_a_week_by_keyboard(desk: Desk, callers: Callers, weeks: Weeks) -> None:
    carl = (await callers("carl")).api
    sheet = await carl.submit(await fill_week(carl, date(2025, 8, 25)))
    async with desk.window("mia") as page:
        await page.goto(f"{desk.console}/inbox?who=carl")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await tab_to(page, "Choose Carl Dupont, 25 August 2025")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        # Reading goes on in the week that was opened, not in the rest of the list.
        await expect(page.locator("#sheet-title")).to_be_focused()
        await expect(page.locator("#sheet-title")).to_contain_text("25 August 2025")
        await tab_to(page, "Reason or comment")
        await page.keyboard.type("Thank you")
        await tab_to(page, "Approve")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_have_text("The week is approved.")
    assert (await carl.timesheet(sheet.id)).state == "approved"
