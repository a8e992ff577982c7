"""An auditor in a browser: finds a decision, reads why, follows the story of a timesheet, and exports records."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from service.commands.running import DEVELOPMENT_KEY
from service.log.key_files import read_key
from service.standalone.client import Denied
from tests.browser.conftest import look_at
from tests.browser.story_of_weeks import find_week

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.caller import Callers
    from tests.acceptance.running_service import RunningService
    from tests.browser.conftest import Desk
    from tests.browser.story_of_weeks import Weeks


# The ids of the decisions that links lead to.
PATHS = "links => links.map((link) => link.pathname.split('/').pop())"


async def test_an_auditor_narrows_a_search_opens_a_denial_and_reads_why(
    desk: Desk, weeks: Weeks, callers: Callers
) -> None:
    ana = (await callers("ana")).api
    sheet = await find_week(ana, weeks.submitted)
    with pytest.raises(Denied):
        await ana.approve(sheet)
    async with desk.window("audrey") as page:
        await page.goto(f"{desk.console}/decisions")
        await expect(page.locator("#actions option[value=approve]")).to_have_count(1)
        await page.get_by_label("Person").fill("Ana Lima")
        await page.get_by_label("Action").fill("approve")
        await page.get_by_role("button", name="Search").click()
        await expect(page.get_by_role("img", name="Decisions by day")).to_be_visible()
        await page.locator("table.decisions tbody tr a").first.click()
        await expect(page.get_by_role("heading", name="Why")).to_be_visible()
        await expect(page.get_by_text("approve:timesheets").first).to_be_visible()
        await look_at(page, "decision")
        await page.get_by_role("link", name="Story of the timesheet").click()
        await expect(page.locator("header.page")).to_contain_text("Ana Lima, week of 9 March 2026")
        await expect(page.get_by_text("approve: denied")).to_be_visible()


async def test_a_decision_shows_people_with_their_teams_hours_and_times_and_no_raw_ids(
    desk: Desk, weeks: Weeks
) -> None:
    async with desk.window("audrey") as page:
        await page.goto(f"{desk.console}/decisions?action=approve&outcome=allow")
        await expect(page.get_by_role("row", name="Mia Novak").first).to_contain_text("Atlas")
        await page.locator("table.decisions tbody tr a").first.click()
        await expect(page.locator("dl.words > div", has_text="Who")).to_contain_text("Atlas")
        await expect(page.get_by_role("link", name="Policy version")).to_be_visible()
        attributes = page.locator("section", has=page.get_by_role("heading", name="Relations of the caller"))
        await expect(attributes).to_contain_text("36:00")
        await expect(attributes.locator("time[title$=UTC]").first).to_be_visible()
        assert re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", await attributes.inner_text()) is None
        # As the policy writes them.
        await expect(attributes.locator("dt code", has_text="resource.entry_count")).to_be_visible(timeout=20_000)
        why = await page.locator("section", has=page.get_by_role("heading", name="Why")).locator("p").first.inner_text()
        assert ". Policy version" in why


async def test_decisions_are_counted_without_javascript_by_a_link(desk: Desk, weeks: Weeks) -> None:
    async with desk.window("audrey", java_script_enabled=False) as page:
        await page.goto(f"{desk.console}/decisions?action=approve")
        await expect(page.locator("table.decisions")).to_be_visible()
        await expect(page.get_by_text("Counting these decisions")).to_be_hidden(timeout=20_000)
        await page.get_by_role("link", name="Count these decisions").click()
        await expect(page.get_by_role("img", name="Decisions by day")).to_be_visible()
        await expect(page.get_by_label("Action")).to_have_value("approve")


async def test_a_wrong_filter_is_explained_and_an_empty_result_says_what_it_means(desk: Desk, weeks: Weeks) -> None:
    async with desk.window("audrey") as page:
        await page.goto(f"{desk.console}/decisions?action=aprove")
        await expect(page.get_by_role("alert")).to_contain_text("approve")
        await page.goto(f"{desk.console}/decisions?action=lock&outcome=deny")
        await expect(page.get_by_role("heading", name="Nothing was done like that")).to_be_visible()
        await page.goto(f"{desk.console}/decisions?since=2026-01-01")
        await expect(page.get_by_text("These decisions are not counted by day")).to_contain_text("92 days")
        for address, words in (
            ("/decisions?since=x", "From: write the day as year, month and day"),
            ("/decisions?since=2026-03-03&until=2026-03-01", "To: must not be before From"),
            ("/in-my-name?until=2026-02-30", "To: write the day as year, month and day"),
            ("/decisions?cursor=x", "This page of the list: is not there any more: open the list again"),
        ):
            await page.goto(f"{desk.console}{address}")
            await expect(page.get_by_role("alert")).to_contain_text(words)


@pytest.mark.parametrize("name", ["resource", "request_id"])
async def test_an_empty_result_for_an_id_says_that_the_id_may_be_mistyped(desk: Desk, weeks: Weeks, name: str) -> None:
    async with desk.window("audrey") as page:
        await page.goto(f"{desk.console}/decisions?{name}=0198c0de-0000-7000-8000-00000000dead")
        await expect(page.locator(".empty")).to_contain_text(
            "Resource and request ids are not checked: an empty page may mean a mistyped id.", timeout=20_000
        )
        await expect(page.locator(".empty")).not_to_contain_text("Every word in them is known")


async def test_the_story_of_a_timesheet_shows_before_and_after_and_hostile_text_as_text(
    desk: Desk, weeks: Weeks, callers: Callers
) -> None:
    ana = (await callers("ana")).api
    sheet = await find_week(ana, weeks.rejected)
    async with desk.window("audrey") as page:
        await page.goto(f"{desk.console}/timesheets/{sheet.id}/story")
        row = page.locator(".diff tr", has=page.get_by_role("rowheader", name="state")).last
        await expect(row.locator("del")).to_have_text("submitted")
        await expect(row.locator("ins")).to_have_text("rejected")
        await expect(page.get_by_text("Friday is missing").first).to_be_visible()
        assert await page.locator("main img").count() == 0
        await look_at(page, "story")


async def test_records_are_exported_with_progress_and_the_bundle_is_verified(
    desk: Desk, weeks: Weeks, service: RunningService, tmp_path: Path
) -> None:
    async with desk.window("audrey", accept_downloads=True) as page:
        await page.goto(f"{desk.console}/export")
        async with page.expect_download() as begun:
            await page.get_by_role("button", name="Download").click()
        await expect(page.get_by_role("status")).to_contain_text("Done")
        file = tmp_path / "all.jsonl"
        await (await begun.value).save_as(file)
    key = read_key(service.state / DEVELOPMENT_KEY).verifier.vkey
    command = [sys.executable, "-m", "service.standalone.verify", "bundle", str(file), "--key", key]
    verdict = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "begins"), [("JSON Lines", b"{"), ("CSV", b"\xef\xbb\xbfposition,"), ("Parquet", b"PAR1"), ("OCSF", b"{")]
)
async def test_an_export_has_the_format_that_was_chosen(
    desk: Desk, weeks: Weeks, tmp_path: Path, name: str, begins: bytes
) -> None:
    async with desk.window("audrey", accept_downloads=True) as page:
        await page.goto(f"{desk.console}/export")
        await page.get_by_role("radio", name=name).check()
        async with page.expect_download() as begun:
            await page.get_by_role("button", name="Download").click()
        await expect(page.get_by_role("status")).to_contain_text("Done")
        file = tmp_path / "export"
        await (await begun.value).save_as(file)
    assert file.read_bytes().startswith(begins)


@pytest.mark.long
async def test_older_pages_of_a_search_stay_where_they_are_while_new_decisions_come_in(
    desk: Desk, weeks: Weeks, callers: Callers
) -> None:
    audrey, ana = await callers("audrey"), await callers("ana")
    person = await ana.me()
    for _ in range(60):
        await ana.api.me()
    before = [found.id async for found in audrey.api.decisions(person=person)]
    async with desk.window("audrey") as page:
        await page.goto(f"{desk.console}/decisions?person={person}")
        shown = page.locator("table.decisions tbody tr td:first-child a")
        first = await shown.evaluate_all(PATHS)
        for _ in range(3):
            await find_week(ana.api, weeks.draft)
        await page.get_by_role("link", name="Older").click()
        await expect(page.get_by_role("link", name="Newest")).to_be_visible()
        second = await shown.evaluate_all(PATHS)
    assert first + second == before[: len(first) + len(second)]


async def test_somebody_who_may_not_read_the_log_sees_no_audit_pages(desk: Desk, weeks: Weeks) -> None:
    async with desk.window("ana") as page:
        await page.goto(f"{desk.console}/week")
        assert await page.get_by_role("link", name="Decisions").count() == 0
        await page.goto(f"{desk.console}/decisions")
        await expect(page.get_by_role("heading", name="You may not do this")).to_be_visible()
