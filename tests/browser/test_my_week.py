"""An employee's week in a browser: written, corrected, submitted, withdrawn; and the weeks that others decided."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from playwright.async_api import expect

from tests.browser.conftest import SIZES
from tests.browser.story_of_weeks import HOSTILE, find_week
from tests.until import until

if TYPE_CHECKING:
    from playwright.async_api import Dialog

    from tests.acceptance.caller import Callers
    from tests.browser.conftest import Desk
    from tests.browser.story_of_weeks import Weeks

OWN_WEEK = "2025-06-02"


def hour_on(day: date) -> dict[str, Any]:
    return {"day": day, "project": "SITE", "minutes": 60}


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


async def test_times_are_those_of_the_viewer_and_on_the_very_first_page_in_utc_which_they_say(
    desk: Desk, weeks: Weeks
) -> None:
    async with desk.window("ana", timezone_id="Asia/Kolkata") as page:
        await page.context.clear_cookies(name="timewarden-zone")
        for form, offset in (("%d %b %Y, %H:%M UTC", timedelta()), ("%d %b %Y, %H:%M", timedelta(hours=5, minutes=30))):
            await page.goto(f"{desk.console}/week/{weeks.submitted}")
            await page.wait_for_load_state("networkidle")
            time = page.locator(".story time").first
            text, title = await time.inner_text(), await time.get_attribute("title")
            assert title is not None
            shown = datetime.strptime(text, form)  # noqa: DTZ007
            utc = datetime.strptime(title, "%Y-%m-%d %H:%M:%S UTC")  # noqa: DTZ007
            assert shown - utc.replace(second=0) == offset


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


async def test_a_wrong_cell_does_not_hide_that_the_week_changed_meanwhile(desk: Desk, callers: Callers) -> None:
    carl, monday = (await callers("carl")).api, date(2025, 2, 17)
    sheet = await carl.open_week(monday, "Europe/Berlin", [hour_on(monday)])
    async with desk.window("carl") as page:
        await page.goto(f"{desk.console}/week/{monday}")
        await carl.amend_entry(sheet, sheet.entries[0].id, minutes=300)
        tuesday = page.get_by_label("SITE, Tuesday 18 February 2025")
        await tuesday.fill("a lot")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_text("Write a time like 7:30 or 7.5")).to_be_visible()
        await expect(page.get_by_text("This week has changed since you opened it")).to_be_visible()
        await expect(page.get_by_text("saved: 5:00")).to_be_visible()


async def test_without_scripts_a_first_project_is_added_and_hours_are_written(desk: Desk, callers: Callers) -> None:
    async with desk.window("carl", java_script_enabled=False) as page:
        await page.goto(f"{desk.console}/week/2025-11-03")
        await page.get_by_label("Add a project").select_option("SITE")
        await page.get_by_role("button", name="Add", exact=True).click()
        await page.get_by_label("SITE, Monday 3 November 2025").fill("7:30")
        await page.get_by_label("Add a project").select_option("ATLAS")
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.get_by_label("SITE, Monday 3 November 2025")).to_have_value("7:30")
        await page.get_by_label("ATLAS, Tuesday 4 November 2025").fill("1:00")
        # Enter saves here too, though the button to add a project comes first.
        await page.get_by_label("ATLAS, Tuesday 4 November 2025").press("Enter")
        await expect(page.get_by_role("status")).to_have_text("Your hours are saved.")
    assert (await find_week((await callers("carl")).api, date(2025, 11, 3))).minutes == 510


async def test_refused_hours_are_not_left_without_a_question(desk: Desk, callers: Callers) -> None:
    async with desk.window("carl") as page:
        questions: list[str] = []

        async def stay(dialog: Dialog) -> None:
            questions.append(dialog.type)
            await dialog.dismiss()

        page.on("dialog", stay)
        await page.goto(f"{desk.console}/week/2025-11-17")
        await page.get_by_label("Add a project").select_option("ATLAS")
        await page.get_by_label("ATLAS, Monday 17 November 2025").fill("99")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_text("A day has 24 hours")).to_be_visible()
        await page.get_by_role("link", name="Week after").click(no_wait_after=True)

        async def is_asked() -> bool:
            return bool(questions)

        await until(is_asked)
        assert questions == ["beforeunload"]
        await expect(page.get_by_label("ATLAS, Monday 17 November 2025")).to_have_value("99")


async def test_a_copy_of_the_week_before_that_is_refused_is_told_beside_the_week(desk: Desk, callers: Callers) -> None:
    carl, monday = (await callers("carl")).api, date(2025, 2, 10)
    await carl.open_week(monday - timedelta(days=7), "Europe/Berlin", [hour_on(monday - timedelta(days=7))])
    async with desk.window("carl") as page:
        await page.goto(f"{desk.console}/week/{monday}")
        await carl.open_week(monday, "Europe/Berlin", [hour_on(monday)])
        await page.get_by_role("button", name="Copy the week before").click()
        await expect(page.get_by_role("alert")).to_contain_text("already")
        await expect(page.get_by_label("SITE, Monday 10 February 2025")).to_have_value("1:00")


async def test_what_was_typed_is_not_replaced_by_a_copy_without_a_question(desk: Desk, callers: Callers) -> None:
    carl, monday = (await callers("carl")).api, date(2025, 11, 24)
    await carl.open_week(monday, "Europe/Berlin", [hour_on(monday)])
    questions: list[str] = []

    async def answer(dialog: Dialog) -> None:
        questions.append(dialog.message)
        await (dialog.accept() if len(questions) > 1 else dialog.dismiss())

    async with desk.window("carl") as page:
        page.on("dialog", answer)
        await page.goto(f"{desk.console}/week/{monday + timedelta(days=7)}")
        await page.get_by_label("SITE, Tuesday 2 December 2025").fill("3:00")
        copy = page.get_by_role("button", name="Copy the week before")
        await copy.click()
        await expect(page.get_by_label("SITE, Tuesday 2 December 2025")).to_have_value("3:00")
        await copy.click()
        await expect(page.get_by_label("SITE, Monday 1 December 2025")).to_have_value("1:00")
    assert questions == ["Copy, and discard what you typed?"] * 2


async def test_what_was_typed_in_a_week_that_was_submitted_meanwhile_is_listed_and_not_called_saved(
    desk: Desk, callers: Callers
) -> None:
    carl, monday = (await callers("carl")).api, date(2025, 3, 3)
    sheet = await carl.open_week(monday, "Europe/Berlin", [hour_on(monday)])
    async with desk.window("carl") as page:
        await page.goto(f"{desk.console}/week/{monday}")
        await page.get_by_label("SITE, Monday 3 March 2025").fill("1:00")
        await page.get_by_label("SITE, Tuesday 4 March 2025").fill("2:30")
        await page.locator("textarea[name^='note:']").fill(HOSTILE)
        sheet = await carl.submit(sheet)
        await page.get_by_role("button", name="Save", exact=True).click()
        alert = page.get_by_role("alert")
        await expect(alert).to_contain_text("This week was submitted meanwhile")
        await expect(alert).to_contain_text("Your hours were not saved")
        await expect(alert).not_to_contain_text("save again")
        await expect(alert.locator("li")).to_have_text(
            ["SITE, Tuesday 4 March 2025: 2:30", f"SITE, Monday 3 March 2025, note: {HOSTILE}"]
        )
        await expect(page.locator("tbody .total")).to_have_text("1:00")
    # Other tests look at what waits.
    await carl.withdraw(sheet)


async def test_a_second_withdrawal_leads_to_the_week_and_says_that_it_has_changed(desk: Desk, callers: Callers) -> None:
    carl, monday = (await callers("carl")).api, date(2025, 3, 10)
    sheet = await carl.open_week(monday, "Europe/Berlin", [hour_on(monday)])
    sheet = await carl.submit(sheet)
    async with desk.window("carl") as page:
        await page.goto(f"{desk.console}/week/{monday}")
        await carl.withdraw(sheet)
        await page.get_by_role("button", name="Withdraw").click()
        await expect(page.get_by_role("status")).to_contain_text("was not withdrawn", timeout=20_000)
        await expect(page).to_have_url(f"{desk.console}/week/{monday}")
        await expect(page.get_by_role("button", name="Save and submit")).to_be_visible()


async def test_the_owner_reads_why_a_week_was_rejected_and_hostile_text_stays_text(desk: Desk, weeks: Weeks) -> None:
    async with desk.window("ana") as page:
        await page.goto(f"{desk.console}/week/{weeks.rejected}")
        await expect(page.get_by_text("Friday is missing").first).to_be_visible()
        await expect(page.get_by_text("<img src=x onerror=alert(1)>").first).to_be_visible()
        assert await page.locator("main img").count() == 0
        assert "49" not in await page.locator(".notes").inner_text()


async def test_a_week_with_more_entries_than_a_request_may_hold_is_shown_and_edited(
    desk: Desk, callers: Callers
) -> None:
    carl = (await callers("carl")).api
    monday = date(2025, 7, 7)
    sheet = await carl.open_week(monday, "Europe/Berlin")
    many = [{"day": monday + timedelta(days=number % 4), "project": "SITE", "minutes": 5} for number in range(120)]
    for start in (0, 60):
        sheet = await carl.add_entries(sheet, many[start : start + 60])
    friday = monday + timedelta(days=4)
    sheet = await carl.add_entries(sheet, [{"day": friday, "project": "SITE", "minutes": 60, "tags": ["on site"]}])
    async with desk.window("carl") as page:
        await page.goto(f"{desk.console}/week/{monday}")
        await expect(page.locator("tfoot .total")).to_have_text("11:00")
        await page.get_by_label("SITE, Friday 11 July 2025").fill("2:00")
        await page.get_by_label("SITE, Saturday 12 July 2025").fill("3:00")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_role("status")).to_have_text("Your hours are saved.")
        await expect(page.locator("tfoot .total")).to_have_text("15:00")
        await page.get_by_label("SITE, Saturday 12 July 2025").fill("")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.locator("tfoot .total")).to_have_text("12:00")
    after = await carl.timesheet(sheet.id)
    assert [(entry.minutes, entry.tags) for entry in after.entries if entry.day == friday] == [(120, ["on site"])]
    assert {entry.id for entry in sheet.entries} == {entry.id for entry in after.entries}


async def test_a_saved_cell_keeps_what_the_grid_does_not_show(desk: Desk, callers: Callers) -> None:
    carl = (await callers("carl")).api
    monday = date(2025, 7, 14)
    sheet = await carl.open_week(
        monday, "Europe/Berlin", [{"day": monday, "project": "SITE", "minutes": 60, "tags": ["on site"]}]
    )
    async with desk.window("carl") as page:
        await page.goto(f"{desk.console}/week/{monday}")
        await page.get_by_label("SITE, Monday 14 July 2025").fill("2:00")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_role("status")).to_have_text("Your hours are saved.")
    (entry,) = (await carl.timesheet(sheet.id)).entries
    assert (entry.id, entry.minutes, entry.tags) == (sheet.entries[0].id, 120, ["on site"])


async def test_a_note_of_ten_thousand_characters_is_refused_in_words_and_nothing_typed_is_lost(
    desk: Desk, callers: Callers
) -> None:
    carl, monday = (await callers("carl")).api, date(2025, 7, 21)
    sheet = await carl.open_week(monday, "Europe/Berlin", [hour_on(monday)])
    async with desk.window("carl") as page:
        await page.goto(f"{desk.console}/week/{monday}")
        await page.get_by_label("SITE, Tuesday 22 July 2025").fill("1:30")
        note = page.locator("textarea[name^='note:']")
        await note.evaluate("(area) => area.removeAttribute('maxlength')")
        await note.fill("\u202e<svg onload=alert(1)>" * 500)
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("500 characters")
        await expect(page.get_by_label("SITE, Tuesday 22 July 2025")).to_have_value("1:30")
        assert len(await note.input_value()) > 10_000
        assert await page.locator("main svg[onload]").count() == 0
    assert (await carl.timesheet(sheet.id)).version == sheet.version


async def test_names_of_people_and_projects_stay_text_on_every_page_that_shows_them(
    desk: Desk, callers: Callers, weeks: Weeks
) -> None:
    adam, ana = await callers("adam"), await callers("ana")
    name, person = HOSTILE[:100] + "W" * 100, await ana.me()
    before = await adam.api.person(person)
    await adam.api.amend_person(before, display_name=name)
    try:
        for login, path in (
            ("adam", "/directory/people"),
            ("adam", f"/directory/people/{person}"),
            ("mia", "/inbox"),
            ("audrey", f"/decisions?owner={person}"),
        ):
            async with desk.window(login) as page:
                await page.goto(desk.console + path)
                await expect(page.get_by_text(name[:28]).first).to_be_visible()
                assert await page.locator("main img, svg[onload]").count() == 0, path
                await page.set_viewport_size(SIZES["narrow"])
                assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
                assert "{{ 7 * 7 }}" in await page.content(), path
    finally:
        await adam.api.amend_person(await adam.api.person(person), display_name=before.display_name)
