"""The page about what was done in a person's name: by others, by themselves, by app, and why they were refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.async_api import expect

from tests.browser.conftest import look_at
from tests.browser.story_of_weeks import find_week

if TYPE_CHECKING:
    from tests.acceptance.caller import Callers
    from tests.browser.conftest import Desk
    from tests.browser.story_of_weeks import Weeks


async def test_a_person_sees_who_used_what_is_theirs_through_which_app_and_why(desk: Desk, weeks: Weeks) -> None:
    async with desk.window("ana") as page:
        await page.goto(f"{desk.console}/week")
        await page.get_by_role("link", name="In my name").click()
        row = page.get_by_role("row", name="approve timesheet").first
        await expect(row).to_contain_text("Mia Novak")
        await expect(row).to_contain_text("yours")
        await row.get_by_role("cell").nth(3).get_by_role("link").click()
        await expect(page.get_by_label("App", exact=True)).not_to_have_value("")
        await page.get_by_role("row", name="approve timesheet").first.get_by_role("link").first.click()
        await expect(page.get_by_text("A rule of the policy allowed this")).to_be_visible()
        await expect(page.get_by_text("approve-team")).to_be_visible()
        await look_at(page, "in-my-name-decision")


async def test_a_refusal_leads_to_its_explanation_for_its_own_person(
    desk: Desk, weeks: Weeks, callers: Callers
) -> None:
    async with desk.window("ana") as page:
        await page.goto(f"{desk.console}/directory/teams")
        await page.locator("main").get_by_role("link").first.click()
        await expect(page.get_by_role("heading", name="Refused")).to_be_visible()
        await expect(page.get_by_text("It would have been allowed, but")).to_be_visible()
        decision = page.url.rpartition("/")[2]
        await page.goto(f"{desk.console}/in-my-name?by=me&outcome=deny")
        await expect(page.locator(f"a[href='/in-my-name/{decision}']")).to_have_count(1)
    async with desk.window("ben") as page:
        answer = await page.goto(f"{desk.console}/in-my-name/{decision}")
        assert answer is not None
        assert answer.status == 404


async def test_another_person_is_shown_as_refused_without_a_reason(desk: Desk, weeks: Weeks, callers: Callers) -> None:
    sheet = await find_week((await callers("ana")).api, weeks.draft)
    refused = await (await callers("carl")).get(f"/v1/timesheets/{sheet.id}")
    assert refused.status_code == 404
    async with desk.window("ana") as page:
        await page.goto(f"{desk.console}/in-my-name?outcome=deny")
        await page.get_by_role("row", name="Carl Dupont").get_by_role("link").first.click()
        await expect(page.get_by_text("The reason is not shown")).to_be_visible()
