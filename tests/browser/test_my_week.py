"""An employee's week in a browser: written, corrected, submitted, withdrawn; and the weeks that others decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.async_api import expect

from tests.browser.story_of_weeks import find_week

if TYPE_CHECKING:
    from tests.acceptance.caller import Callers
    from tests.browser.conftest import Desk
    from tests.browser.story_of_weeks import Weeks

OWN_WEEK = "2025-06-02"


async def test_a_person_signs_in_writes_a_week_submits_and_withdraws_it_and_signs_out(
    desk: Desk, callers: Callers
) -> None:
    async with desk.window() as page:
        await desk.sign_in(page, "ben")
        await page.goto(f"{desk.console}/week/{OWN_WEEK}")
        await expect(page.get_by_text("Not begun")).to_be_visible()
        await page.get_by_label("Add a project").select_option("BOREALIS")
        await page.get_by_label("BOREALIS, Monday 2 June 2025").fill("7:30")
        await page.get_by_label("BOREALIS, Tuesday 3 June 2025").fill("8,25")
        await expect(page.locator("tfoot .total")).to_have_text("15:45")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_role("status")).to_have_text("Your hours are saved.")
        await page.get_by_label("BOREALIS, Monday 2 June 2025").fill("")
        await page.get_by_role("button", name="Save and submit").click()
        await expect(page.get_by_role("status")).to_have_text("Your week is submitted.")
        await expect(page.get_by_text("Waits for approval")).to_be_visible()
        await page.get_by_role("button", name="Withdraw").click()
        await expect(page.get_by_label("BOREALIS, Tuesday 3 June 2025")).to_have_value("8:15")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
        await page.goto(f"{desk.console}/week")
        await expect(page).not_to_have_url(f"{desk.console}/week")
    ben = (await callers("ben")).api
    sheets = [sheet async for sheet in ben.timesheets(owner=(await ben.me()).person)]
    assert [(sheet.state, sheet.minutes) for sheet in sheets if str(sheet.period_start) == OWN_WEEK] == [("draft", 495)]


async def test_wrong_hours_are_explained_beside_the_cell_and_nothing_is_saved(desk: Desk, weeks: Weeks) -> None:
    async with desk.window("ana") as page:
        await page.goto(f"{desk.console}/week/{weeks.draft}")
        monday = page.get_by_label("ATLAS, Monday 16 March 2026")
        await monday.fill("a lot")
        await page.get_by_label("ATLAS, Tuesday 17 March 2026").fill("1:00")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_text("Write a time like 7:30 or 7.5")).to_be_visible()
        await expect(monday).to_have_value("a lot")
        await page.goto(f"{desk.console}/week/{weeks.draft}")
        await expect(page.get_by_label("ATLAS, Tuesday 17 March 2026")).to_have_value("5:30")


async def test_a_week_that_changed_meanwhile_is_not_overwritten(desk: Desk, weeks: Weeks, callers: Callers) -> None:
    ana = (await callers("ana")).api
    async with desk.window("ana") as page:
        await page.goto(f"{desk.console}/week/{weeks.draft}")
        sheet = await find_week(ana, weeks.draft)
        entry = next(entry for entry in sheet.entries if entry.project == "SITE")
        await ana.amend_entry(sheet, entry.id, minutes=60)
        await page.get_by_label("SITE, Monday 16 March 2026").fill("3:00")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_text("This week has changed since you opened it")).to_be_visible()
        await expect(page.get_by_text("saved: 1:00")).to_be_visible()
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_role("status")).to_have_text("Your hours are saved.")


async def test_the_owner_reads_why_a_week_was_rejected_and_hostile_text_stays_text(desk: Desk, weeks: Weeks) -> None:
    async with desk.window("ana") as page:
        await page.goto(f"{desk.console}/week/{weeks.rejected}")
        await expect(page.get_by_text("Friday is missing").first).to_be_visible()
        await expect(page.get_by_text("<img src=x onerror=alert(1)>").first).to_be_visible()
        assert await page.locator("main img").count() == 0
        assert "49" not in await page.locator(".notes").inner_text()
