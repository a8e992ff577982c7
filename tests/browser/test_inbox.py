"""A manager's inbox in a browser: read, approved and rejected, many at once, and a delegate's second factor."""

from __future__ import annotations

import asyncio
import re
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import expect

from tests.browser.conftest import SIZES, ZONE, change_rules, open_console_that_loses
from tests.browser.story_of_weeks import fill_week

if TYPE_CHECKING:
    import httpx2
    from playwright.async_api import Request, Route

    from service.standalone.client import Timesheet
    from tests.acceptance.caller import Callers
    from tests.acceptance.running_service import RunningService
    from tests.browser.conftest import Desk
    from tests.browser.story_of_weeks import Weeks

WEEKS = [date(2025, 5, day) for day in (5, 12, 19)]
MORE_WEEKS = [date(2025, 4, day) for day in (7, 14)]


async def submit(callers: Callers, who: str, monday: date) -> Timesheet:
    api = (await callers(who)).api
    return await api.submit(await fill_week(api, monday))


async def test_a_manager_reads_a_week_beside_the_list_and_approves_it(
    desk: Desk, callers: Callers, weeks: Weeks
) -> None:
    sheet = await submit(callers, "carl", WEEKS[0])
    async with desk.window("mia") as page:
        await page.goto(f"{desk.console}/inbox")
        await page.get_by_role("link", name="Carl Dupont 5 May 2025").click()
        shown = page.locator("#sheet")
        await expect(shown.get_by_role("heading", name="Carl Dupont, 5 May 2025")).to_be_visible()
        await expect(page.locator(".inbox li", has_text="5 May 2025")).to_contain_text("Contractors")
        await expect(shown.get_by_text("<img src=x onerror=alert(1)>")).to_be_visible()
        await expect(page).to_have_url(f"{desk.console}/inbox?sheet={sheet.id}")
        await shown.get_by_role("button", name="Approve").click()
        await expect(page.get_by_role("status")).to_have_text("The week is approved.")
        await expect(page.get_by_role("link", name="Carl Dupont 5 May 2025")).to_have_count(0)
    assert (await (await callers("carl")).api.timesheet(sheet.id)).state == "approved"


async def test_the_inbox_is_narrowed_by_project_and_relation_and_stays_so_beside_a_week(
    desk: Desk, callers: Callers, weeks: Weeks
) -> None:
    carl = (await callers("carl")).api
    monday = date(2025, 6, 16)
    hours = [{"day": monday, "project": "BOREALIS", "minutes": 60}]
    await carl.submit(await carl.open_week(monday, "Europe/Berlin", hours))
    async with desk.window("mia") as page:
        await page.goto(f"{desk.console}/inbox")
        await page.get_by_label("Project", exact=True).select_option("BOREALIS")
        await page.get_by_label("Approved by you as").select_option("As manager")
        await page.get_by_role("button", name="Find").click()
        await expect(page.locator(".inbox li")).to_have_count(1)
        await page.get_by_role("link", name="Carl Dupont").click()
        await expect(page).to_have_url(re.compile(r"project=BOREALIS&through=manager&sheet="))
        await page.reload()
        await expect(page.locator(".inbox li")).to_have_count(1)
        await page.get_by_label("Approved by you as").select_option("As delegate")
        await page.get_by_role("button", name="Find").click()
        await expect(page.get_by_role("heading", name="No pending week fits")).to_be_visible()


@pytest.mark.long
async def test_an_inbox_opens_without_teams_where_the_directory_needs_a_stronger_sign_in(
    desk: Desk, callers: Callers, weeks: Weeks
) -> None:
    paula = (await callers("paula")).api
    async with change_rules(paula, r"always(, *directory-read\n)", r"mfa\1"), desk.window("mia") as page:
        await page.goto(f"{desk.console}/inbox")
        await expect(page.get_by_role("link", name="Ana Lima 9 March 2026")).to_be_visible()
        await expect(page.locator("#sheet header")).not_to_contain_text("Atlas ·")


async def test_many_are_rejected_at_once_and_each_has_its_result(desk: Desk, callers: Callers, weeks: Weeks) -> None:
    first, second = [await submit(callers, "carl", monday) for monday in WEEKS[1:]]
    async with desk.window("mia") as page:
        await page.goto(f"{desk.console}/inbox?who=CARL")
        for day in ("12 May 2025", "19 May 2025"):
            await page.get_by_label(f"Choose Carl Dupont, {day}").check()
        await page.get_by_role("button", name="Reject chosen").click()
        await expect(page.get_by_text("Say why you reject")).to_be_visible()
        # Meanwhile the second week is withdrawn.
        carl = (await callers("carl")).api
        await page.goto(f"{desk.console}/inbox?who=carl")
        for day in ("12 May 2025", "19 May 2025"):
            await page.get_by_label(f"Choose Carl Dupont, {day}").check()
        await carl.withdraw(second)
        await page.get_by_label("Reason or comment, for all that are chosen").fill("Wrong project")
        await page.get_by_role("button", name="Reject chosen").click()
        await expect(page.get_by_role("heading", name="Rejected: 1 of 2")).to_be_visible()
        refused = page.locator(".results .wrong")
        await expect(refused).to_have_count(1)
        # Whose week it is, though it does not wait any more, and what to do in the words of the page.
        await expect(refused).to_contain_text("Carl Dupont, 19 May 2025", timeout=20_000)
        await expect(refused).not_to_contain_text("If-Match")
        await refused.get_by_role("link").click()
        await expect(page.get_by_role("heading", name="Refused")).to_be_visible()
    found = [await carl.timesheet(sheet.id) for sheet in (first, second)]
    assert [(sheet.state, sheet.reason) for sheet in found] == [("rejected", "Wrong project"), ("draft", None)]


async def test_what_a_stronger_sign_in_would_allow_is_there_to_send_after_it(
    desk: Desk, callers: Callers, weeks: Weeks
) -> None:
    sheet = await submit(callers, "carl", date(2025, 8, 4))
    async with change_rules((await callers("paula")).api, r"always(, *reject-team\n)", r"mfa\1"), desk.window() as page:
        await desk.sign_in(page, "mia")
        await page.goto(f"{desk.console}/inbox?who=carl&sheet={sheet.id}")
        shown = page.locator("#sheet")
        await shown.get_by_label("Reason or comment").fill("Wrong project")
        await shown.get_by_role("button", name="Reject").click()
        await page.wait_for_url(lambda url: not url.startswith(desk.console))
        await desk.prove(page, "mia")
        await expect(page.get_by_role("alert")).to_contain_text("Wrong project")
        await page.get_by_role("button", name="Send again").click()
        await expect(page.get_by_role("status")).to_contain_text("The week is rejected")
    assert (await (await callers("carl")).api.timesheet(sheet.id)).reason == "Wrong project"


async def test_more_weeks_than_a_request_may_hold_are_approved_at_once_and_the_list_stays_narrowed(
    desk: Desk, callers: Callers, weeks: Weeks
) -> None:
    carl, first = (await callers("carl")).api, date(2011, 1, 3)
    for number in range(101):
        monday = first + timedelta(weeks=number)
        await carl.submit(await carl.open_week(monday, ZONE, [{"day": monday, "project": "SITE", "minutes": 5}]))
    async with desk.window("mia") as page:
        await page.goto(f"{desk.console}/inbox?who=carl")
        await page.get_by_label("Choose all").check()
        await page.get_by_role("button", name="Reject chosen").click()
        # The list and what was chosen stay, so that only the reason is missing.
        await expect(page.get_by_label("Choose Carl Dupont, 3 January 2011")).to_be_checked()
        await expect(page).to_have_url(f"{desk.console}/inbox?who=carl")
        await page.get_by_role("button", name="Approve chosen").click()
        await expect(page.get_by_role("status")).to_have_text("All chosen weeks are approved.")
        await expect(page).to_have_url(f"{desk.console}/inbox?who=carl")
    last = first + timedelta(weeks=100)
    assert [sheet.state async for sheet in carl.timesheets(since=first, until=last)] == ["approved"] * 101


async def test_a_long_project_does_not_widen_the_inbox(desk: Desk, callers: Callers, weeks: Weeks) -> None:
    carl, monday, code = (await callers("carl")).api, date(2025, 4, 21), "LONG-" + "W" * 35
    added = await (await callers("adam")).post("/v1/projects", {"code": code, "name": "W" * 200})
    assert added.status_code == 201, added.text
    hours = [{"day": monday, "project": code, "minutes": 60}]
    sheet = await carl.submit(await carl.open_week(monday, ZONE, hours))
    async with desk.window("mia", viewport=SIZES["narrow"]) as page:
        await page.goto(f"{desk.console}/inbox?sheet={sheet.id}")
        await expect(page.get_by_label("Project", exact=True)).to_contain_text(code)
        assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    await carl.withdraw(sheet)


async def test_what_was_decided_is_shown_though_the_list_cannot_be_read_any_more(
    desk: Desk, callers: Callers, weeks: Weeks, service: RunningService
) -> None:
    mia, sheets = await callers("mia"), [await submit(callers, "carl", monday) for monday in MORE_WEEKS]
    await mia.api.approve(await mia.api.timesheet(sheets[1].id))
    decided: list[httpx2.Request] = []

    def is_lost(asked: httpx2.Request) -> bool:
        """The list, once something was decided."""
        decided.extend([asked] if asked.url.path.endswith("/batch-reject") else [])
        return bool(decided) and asked.url.path == "/v1/approvals"

    async with open_console_that_loses(service, mia, is_lost) as (person, token):
        form = {"csrf_token": token, "decision": "reject", "reason": "Wrong project"}
        chosen = [f"{sheet.id}/{sheet.version}" for sheet in sheets]
        page = await person.post("/inbox", data={**form, "sheet": chosen})
    assert page.status_code == 200
    assert "Rejected: 1 of 2" in page.text
    assert "The API does not answer" in page.text
    assert "Nothing waits for you" not in page.text


async def test_a_first_approval_of_two_is_not_called_the_approval_of_the_week(
    desk: Desk, callers: Callers, weeks: Weeks
) -> None:
    paula = (await callers("paula")).api
    shipped = await paula.policy_version()
    vocabulary = shipped.vocabulary + '\n[kinds.timesheet.approval]\ncomplete = "size(resource.approvals) >= 2"\n'
    cases = {name: text for name, text in shipped.cases.items() if "approv" not in text}
    stricter = await paula.propose_policy(
        "two", model=shipped.model, rules=shipped.rules, vocabulary=vocabulary, cases=cases
    )
    await paula.activate_policy(stricter.number, instead_of=shipped.number)
    try:
        await submit(callers, "ben", date(2025, 5, 5))
        async with desk.window("max") as page:
            await page.goto(f"{desk.console}/inbox")
            await page.get_by_role("link", name="Ben Okafor 5 May 2025").click()
            await page.locator("#sheet").get_by_role("button", name="Approve").click()
            await expect(page.get_by_role("status")).to_contain_text("waits for another person")
    finally:
        await paula.activate_policy(shipped.number, instead_of=stricter.number)


async def test_a_delegation_includes_its_last_day_and_an_open_one_says_who_ends_it(
    desk: Desk, callers: Callers, weeks: Weeks
) -> None:
    mia = (await callers("mia")).api
    async with desk.window("mia") as page:
        await page.goto(f"{desk.console}/delegations")
        await page.get_by_label("Delegate", exact=True).fill("Max Weber")
        await page.get_by_label("From", exact=True).fill("2031-02-03", timeout=20_000)
        await page.get_by_label("Until, including that day").fill("2031-03-03", timeout=20_000)
        await page.get_by_role("button", name="Name delegate").click()
        await expect(page.get_by_role("status")).to_have_text("The delegation holds.")
        shown = page.get_by_role("row", name="3 Mar 2031")
        await expect(shown).to_contain_text("Max Weber")
        (found,) = [each async for each in mia.delegations() if each.valid_to and each.valid_to.year == 2031]
        assert found.valid_to == datetime(2031, 3, 4, tzinfo=ZoneInfo(ZONE))
        await shown.get_by_role("button", name="End").click()
        await expect(page.get_by_role("status")).to_have_text("The delegation has ended.")
        # It never began.
        await expect(page.get_by_role("row", name="3 Feb 2031").get_by_role("button", name="End")).to_have_count(0)
        await page.get_by_label("Delegate", exact=True).fill("Max Weber")
        await page.get_by_role("button", name="Name delegate").click()
        await expect(page.get_by_role("row", name="Max Weber").first).to_contain_text("until you end it")
        await page.get_by_role("button", name="End the delegation to Max Weber").click()
        await expect(page.get_by_role("status")).to_have_text("The delegation has ended.")


async def test_a_second_click_while_the_first_is_answered_sends_nothing(
    desk: Desk, callers: Callers, weeks: Weeks
) -> None:
    sent: list[Request] = []
    answering = asyncio.Event()

    async def answer_late(route: Route) -> None:
        sent.append(route.request)
        await answering.wait()
        await route.continue_()

    async with desk.window("mia") as page:
        await page.goto(f"{desk.console}/delegations")
        await page.route(lambda address: address.endswith("/delegations"), answer_late)
        await page.get_by_label("Delegate", exact=True).fill("Max Weber")
        box = await page.get_by_role("button", name="Name delegate").bounding_box()
        assert box is not None
        # As the mouse does it: a click by name would wait for the answer to the one before.
        for _ in range(3):
            await page.mouse.click(box["x"] + 5, box["y"] + 5)
            await asyncio.sleep(0.1)
        answering.set()
        await expect(page.get_by_role("status")).to_have_text("The delegation holds.")
        assert [request.method for request in sent] == ["POST"]
        await page.get_by_role("button", name="End the delegation to Max Weber").click()
        await expect(page.get_by_role("status")).to_have_text("The delegation has ended.")


async def test_a_delegate_signs_in_again_with_a_second_factor_to_see_what_waits(
    desk: Desk, callers: Callers, weeks: Weeks
) -> None:
    async with desk.window("mia") as page:
        await page.goto(f"{desk.console}/delegations")
        await page.get_by_label("Delegate", exact=True).press_sequentially("web")
        await expect(page.locator("#delegate-names option")).to_have_attribute("value", "Max Weber")
        await page.get_by_label("Delegate", exact=True).fill("Nobody At All")
        await page.get_by_role("button", name="Name delegate").click()
        await expect(page.get_by_role("alert")).to_contain_text("Nobody has this name")
        await page.get_by_label("Delegate", exact=True).fill("max weber")
        await page.get_by_role("button", name="Name delegate").click()
        await expect(page.get_by_role("status")).to_have_text("The delegation holds.")
        await expect(page.get_by_role("row", name="Max Weber").locator("small").last).to_have_text("Atlas")
    async with desk.window() as page:
        await desk.sign_in(page, "max")
        await page.goto(f"{desk.console}/inbox")
        await page.get_by_role("link", name="Sign in again").click()
        await desk.prove(page, "max")
        await expect(page).to_have_url(f"{desk.console}/inbox")
        await expect(page.get_by_role("link", name="Ana Lima")).to_be_visible()
        await expect(page.locator(".inbox li", has_text="as delegate").first).to_be_visible()
    async with desk.window("mia") as page:
        await page.goto(f"{desk.console}/delegations")
        await page.get_by_role("button", name="End the delegation to Max Weber").click()
        await expect(page.get_by_role("status")).to_have_text("The delegation has ended.")
