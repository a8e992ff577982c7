"""Access for a time in a browser: asked for, seen in the inbox, granted, ended; and declined with a reason."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from playwright.async_api import expect

from service.console.access import PAGE
from tests.browser.conftest import look_at
from tests.browser.story_of_weeks import HOSTILE, fill_week

if TYPE_CHECKING:
    from playwright.async_api import Page

    from tests.acceptance.caller import Callers
    from tests.browser.conftest import Desk
    from tests.browser.story_of_weeks import Weeks

WEEK = date(2025, 8, 4)


async def ask(page: Page, why: str, team: str = "Atlas") -> None:
    await page.get_by_label("For the team").fill(team)
    await page.get_by_label("Why").fill(why)
    await page.get_by_role("button", name="Ask").click()


async def test_access_is_asked_for_granted_by_another_person_used_and_ended(
    desk: Desk, weeks: Weeks, callers: Callers
) -> None:
    ana = (await callers("ana")).api
    sheet = await ana.submit(await fill_week(ana, WEEK))
    async with desk.window("max") as maxs, desk.window("mia") as mias:
        await maxs.goto(f"{desk.console}/access")
        await ask(maxs, f"Mia is away {HOSTILE}")
        await expect(maxs.get_by_role("status")).to_contain_text("Another person decides")
        await expect(maxs.get_by_role("row", name="temporary approver")).to_contain_text("waits")
        # Nobody grants their own: there is nothing to press.
        await expect(maxs.get_by_role("button", name="Grant")).to_have_count(0)
        await mias.goto(f"{desk.console}/inbox")
        await mias.get_by_role("link", name="Max Weber", exact=True).click()
        await expect(mias.get_by_text(HOSTILE[:28])).to_be_visible()
        await look_at(mias, "access-asked")
        await mias.get_by_label("Reason or comment").fill("Until Monday")
        await mias.get_by_role("button", name="Grant").click()
        await expect(mias.get_by_role("status")).to_contain_text("ends by itself")
        await maxs.goto(f"{desk.console}/inbox")
        await expect(maxs.get_by_role("link", name="Ana Lima 4 August 2025")).to_be_visible()
        await maxs.goto(f"{desk.console}/access")
        await expect(maxs.get_by_role("row", name="temporary approver")).to_contain_text("Until Monday")
        await mias.get_by_role("button", name="End the access of Max Weber").click()
        await expect(mias.get_by_role("row", name="Max Weber")).to_contain_text("ended")
        await maxs.reload()
        await expect(maxs.get_by_role("row", name="temporary approver")).to_contain_text("ended")
        await maxs.goto(f"{desk.console}/inbox")
        await expect(maxs.get_by_role("link", name="Ana Lima 4 August 2025")).to_have_count(0)
    # Other tests look at what waits.
    await ana.withdraw(sheet)


async def test_access_that_another_person_ended_still_names_the_person_who_granted_it(
    desk: Desk, weeks: Weeks, callers: Callers
) -> None:
    max_weber, mia = (await callers("max")).api, (await callers("mia")).api
    asked = await max_weber.request_access(
        datetime.now(UTC) + timedelta(days=1), "Mia is away", relation="temporary_approver", team="Atlas"
    )
    await mia.grant_access(asked.id)
    await max_weber.end_access(asked.id)
    async with desk.window("mia") as page:
        await page.goto(f"{desk.console}/access")
        row = page.get_by_role("row", name="Max Weber").first
        await expect(row.locator("td").nth(4)).to_have_text("ended granted by you", timeout=20_000)


async def test_a_request_is_declined_with_a_reason_and_a_wrong_one_is_explained(desk: Desk, weeks: Weeks) -> None:
    async with desk.window("max") as maxs, desk.window("mia") as mias:
        await maxs.goto(f"{desk.console}/access")
        await ask(maxs, "I would like to", team="Nowhere")
        await expect(maxs.get_by_role("alert")).to_contain_text("team")
        await expect(maxs.get_by_label("Why")).to_have_value("I would like to")
        await ask(maxs, "I would like to")
        await mias.goto(f"{desk.console}/access")
        await mias.get_by_role("button", name="Decline").click()
        await expect(mias.get_by_role("alert")).to_be_visible()
        # The refused reason stays in its field.
        await mias.get_by_label("Reason or comment").evaluate("(field) => field.removeAttribute('maxlength')")
        await mias.get_by_label("Reason or comment").fill("x" * 1_001)
        await mias.get_by_role("button", name="Decline").click()
        await expect(mias.get_by_role("alert")).to_contain_text("1000 characters")
        await expect(mias.get_by_label("Reason or comment")).to_have_value("x" * 1_001)
        await mias.get_by_label("Reason or comment").fill("I am here")
        await mias.get_by_role("button", name="Decline").click()
        await expect(mias.get_by_role("status")).to_contain_text("declined")
        await maxs.goto(f"{desk.console}/access")
        await expect(maxs.get_by_role("row", name="declined")).to_contain_text("I am here")


async def test_a_link_to_a_week_that_is_hidden_or_missing_leads_to_the_form(desk: Desk, callers: Callers) -> None:
    """Both pages are the same, so a person does not learn which it is."""
    ana = (await callers("ana")).api
    sheet = await fill_week(ana, WEEK + timedelta(weeks=1))
    async with desk.window("max") as page:
        said = []
        for sheet_id in (sheet.id, "0198c0de-0000-7000-8000-000000000000"):
            await page.goto(f"{desk.console}/inbox?sheet={sheet_id}")
            decision = await page.get_by_role("alert").locator("code").inner_text()
            said.append((await page.locator("main").inner_html()).replace(decision, "").replace(sheet_id, ""))
        assert said[0] == said[1]
        await page.get_by_role("alert").get_by_role("link", name=re.compile("-")).click()
        await expect(page.get_by_text("or you may not see it")).to_be_visible()
        await page.get_by_role("link", name="Ask for access").click()
        choice = page.get_by_role("radio", name="Temporary approver")
        await expect(choice).to_be_checked()
        await expect(page.get_by_text("approve a timesheet that was handed in; read a timesheet")).to_be_visible()
        await page.goto(f"{desk.console}/inbox?sheet=../people")
        await expect(page.get_by_role("alert")).to_contain_text("No such page")
    # A week that she may see, and that waits for nobody.
    async with desk.window("mia") as page:
        await page.goto(f"{desk.console}/inbox?sheet={sheet.id}")
        await expect(page.get_by_role("alert")).to_contain_text("Its state is: Draft")


async def test_the_form_after_a_refusal_asks_for_what_was_missing(desk: Desk) -> None:
    async with desk.window("max") as page:
        unknown = "0198c0de-4f2b-7000-8000-00000000002c"
        await page.goto(f"{desk.console}/access?decision={unknown}&relation=temporary_approver")
        await expect(page.get_by_text("for what you were refused")).to_be_visible()
        await page.get_by_label("Why").fill("Ana waits")
        await page.get_by_role("button", name="Ask").click()
        await expect(page.get_by_role("alert")).to_be_visible()
        await expect(page.get_by_label("Why")).to_have_value("Ana waits")


async def test_more_requests_than_a_page_holds_are_on_the_next_page(desk: Desk, weeks: Weeks, callers: Callers) -> None:
    dora = (await callers("dora")).api
    for _ in range(PAGE + 1):
        until = datetime.now(UTC) + timedelta(days=1)
        asked = await dora.request_access(until, "Many", relation="temporary_approver", team="Atlas")
        await dora.withdraw_access_request(asked.id)
    for login, older in (("dora", "Your older requests"), ("adam", "Older requests of others")):
        async with desk.window(login) as page:
            await page.goto(f"{desk.console}/access")
            shown = page.get_by_role("row").filter(has_text="taken back")
            await expect(shown).to_have_count(PAGE)
            await page.get_by_role("link", name=older).click()
            await expect(page.get_by_role("link", name="First page")).to_be_visible()
            await expect(shown.first).to_be_visible()
            assert await shown.count() < PAGE
