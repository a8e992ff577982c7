"""A policy author in a browser: edits with findings while typing, reads what changes, replays history, activates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tests.browser.conftest import look_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Page

    from tests.acceptance.caller import Caller, Callers
    from tests.browser.conftest import Desk
    from tests.browser.story_of_weeks import Weeks

ROW = "p, allow, role:payroll, reopen, approved, timesheet, approve:timesheets, always, payroll-reopens\n"
WRONG = ROW.replace("approve:timesheets", "approve:timesheet")
FROZEN = "p, deny, anyone, lock, any, timesheet, any, always, frozen\n"
TYPE = """(area, text) => {
  area.value += text;
  area.dispatchEvent(new Event("input", { bubbles: true }));
}"""


@pytest.fixture
async def paula(callers: Callers) -> AsyncIterator[Caller]:
    """The policy author; the version that was active before is active again afterwards."""
    paula = await callers("paula")
    before = (await paula.api.policy_version()).number
    yield paula
    after = (await paula.api.policy_version()).number
    if after != before:
        await paula.api.activate_policy(before, instead_of=after)


async def test_a_policy_author_edits_replays_and_activates_a_version(desk: Desk, weeks: Weeks, paula: Caller) -> None:
    async with desk.window("paula") as page:
        await page.goto(f"{desk.console}/draft")
        rules = page.get_by_role("textbox", name="policy.csv")
        original = await rules.input_value()
        await rules.evaluate(TYPE, WRONG)
        await expect(page.get_by_text("What would refuse it")).to_be_visible()
        await expect(page.locator(".findings")).to_contain_text("approve:timesheet")
        await expect(page.locator(".numbers .found.wrong")).to_have_text(str(original.count("\n") + 1))
        await page.locator(".complaints a").first.click()
        await expect(rules).to_be_focused()
        await rules.evaluate("(area, text) => { area.value = text; }", original)
        await rules.evaluate(TYPE, ROW)
        await expect(page.get_by_text("The policy is valid")).to_be_visible()
        await expect(page.locator(".findings")).to_contain_text("may now reopen an approved timesheet")
        await look_at(page, "editor")
        await page.get_by_label("Why").fill("Payroll may reopen")
        await page.get_by_role("button", name="Propose").click()
        await expect(page.get_by_role("status")).to_contain_text("The version is proposed")
        await expect(page.get_by_text("may now reopen an approved timesheet")).to_be_visible()
        await expect(page.locator("header.page")).to_contain_text("by you through timewarden-console")
        await look_at(page, "version")
        version = page.url.partition("?")[0]
        await page.get_by_role("button", name="Replay").click()
        await expect(page.get_by_role("heading", name="Done")).to_be_visible()
        await page.goto(version)
        await page.get_by_role("button", name="Activate instead of").click()
        await expect(page.get_by_role("status")).to_contain_text("The version is active")
        number = version.rpartition("/")[2]
        assert str((await paula.api.policy_version()).number) == number
        await page.goto(f"{desk.console}/policies")
        await expect(page.get_by_role("row", name="Payroll may reopen").locator("small")).to_have_text(["by you"] * 2)
        # A replica says by which version it decides at its heartbeat.
        await expect(page.locator("main li").first).to_contain_text("decides by version")


async def test_a_refused_proposal_keeps_the_draft_and_names_the_line(desk: Desk, paula: Caller) -> None:
    async with desk.window("paula") as page:
        await page.goto(f"{desk.console}/draft")
        rules = page.get_by_role("textbox", name="policy.csv")
        await rules.evaluate(TYPE, WRONG)
        await page.get_by_label("Why").fill("A wrong word")
        await page.get_by_role("button", name="Propose").click()
        await expect(page.get_by_role("alert")).to_be_visible()
        await expect(page.locator(".complaints a").first).to_contain_text("policy.csv:")
        assert (await rules.input_value()).endswith(WRONG)


async def test_a_proposal_with_failing_cases_shows_its_warnings_too(desk: Desk, paula: Caller) -> None:
    async with desk.window("paula") as page:
        await page.goto(f"{desk.console}/draft")
        rules = page.get_by_role("textbox", name="policy.csv")
        await rules.evaluate(TYPE, FROZEN)
        await expect(page.get_by_role("heading", name="Warnings")).to_be_visible()
        await page.get_by_label("Why").fill("Freeze")
        await page.get_by_role("button", name="Propose").click()
        await expect(page.get_by_role("alert")).to_be_visible()
        await expect(page.locator("ul.complaints.wrong a").first).to_contain_text("cases/")
        await expect(page.locator("ul.complaints.warn")).to_contain_text("This row allows nothing at present")


async def test_the_editor_promises_no_findings_without_javascript(desk: Desk) -> None:
    async with desk.window("paula", java_script_enabled=False) as page:
        await page.goto(f"{desk.console}/draft")
        await expect(page.get_by_role("button", name="Propose")).to_be_visible()
        await expect(page.get_by_text("Findings stand here")).to_be_hidden()
        await expect(page.get_by_role("button", name="Check")).to_be_hidden()


async def test_a_version_that_was_overtaken_is_not_activated(desk: Desk, paula: Caller) -> None:
    texts = await paula.api.policy_version()
    others = [
        await paula.api.propose_policy(
            f"overtaking {number}",
            model=texts.model,
            rules=f"{texts.rules}# overtaking {number}\n",
            vocabulary=texts.vocabulary,
            cases=texts.cases,
        )
        for number in range(2)
    ]
    async with desk.window("paula") as page:
        await page.goto(f"{desk.console}/policies/{others[0].number}")
        await paula.api.activate_policy(others[1].number, instead_of=texts.number)
        await page.get_by_role("button", name="Activate instead of").click()
        await expect(page.get_by_role("alert")).to_contain_text(f"Version {others[1].number} is active")


async def imagine_approval(desk: Desk, page: Page) -> None:
    """Fill in the form of a manager who approves a submitted timesheet, without the relation to it."""
    await page.goto(f"{desk.console}/try")
    await page.get_by_label("Roles").fill("manager")
    await page.get_by_label("Scopes").fill("approve:timesheets")
    await page.get_by_label("Action").fill("approve")
    await page.get_by_label("State, if imagined").fill("submitted")


async def test_a_request_is_tried_without_effect_and_the_answer_says_why(desk: Desk) -> None:
    async with desk.window("paula") as page:
        await imagine_approval(desk, page)
        await page.get_by_role("button", name="Try").click()
        await expect(page.get_by_role("heading", name="It would be denied")).to_be_visible()
        await expect(page.get_by_text("the caller was not manager of the timesheet").first).to_be_visible()
        await page.get_by_label("Relations to it, if imagined").fill("manager")
        await page.get_by_label("Facts, if imagined").fill("not acted_for_owner, not locked_by_asker")
        await page.get_by_role("button", name="Try").click()
        await expect(page.get_by_role("heading", name="It would be allowed")).to_be_visible()
        await look_at(page, "try")
        await page.get_by_label("Action").fill("aprove")
        await page.get_by_role("button", name="Try").click()
        await expect(page.get_by_role("alert")).to_contain_text("approve")
        await page.get_by_label("Action").fill("approve")
        await page.get_by_label("Policy version").fill("9" * 400)
        await page.get_by_role("button", name="Try").click()
        await expect(page.get_by_role("alert")).to_contain_text("version")


async def test_a_denial_for_an_unknown_fact_says_that_the_fact_is_unknown(desk: Desk) -> None:
    async with desk.window("paula") as page:
        await imagine_approval(desk, page)
        await page.get_by_label("Relations to it, if imagined").fill("manager")
        await page.get_by_role("button", name="Try").click()
        denied = page.locator(".rules li", has_text="never-for-owner")
        await expect(denied).to_contain_text("the fact acted_for_owner, which is unknown", timeout=20_000)


async def test_a_replay_shows_what_flips_by_rule_action_and_person_and_leads_to_the_rule(
    desk: Desk, weeks: Weeks, paula: Caller
) -> None:
    texts = await paula.api.policy_version()
    rules = "".join(line for line in texts.rules.splitlines(keepends=True) if not line.endswith(" approve-team\n"))
    cases = {name: text for name, text in texts.cases.items() if "approv" not in text}
    without = await paula.api.propose_policy(
        "nobody approves", model=texts.model, rules=rules, vocabulary=texts.vocabulary, cases=cases
    )
    async with desk.window("paula") as page:
        await page.goto(f"{desk.console}/policies/{without.number}")
        await page.get_by_role("button", name="Replay").click()
        await expect(page.get_by_role("heading", name="Done")).to_be_visible()
        await expect(page.locator("header.page")).to_contain_text("by you, over all decisions")
        await expect(page.get_by_role("region", name="By person")).to_contain_text("Mia Novak")
        await expect(page.get_by_role("region", name="By action")).to_contain_text("approve timesheet")
        await expect(page.get_by_role("region", name="Examples")).to_contain_text("allowed by approve-team")
        # She may not read the log, so the examples are named and not linked.
        await expect(page.get_by_role("region", name="Examples").get_by_role("link")).to_have_count(0)
        await look_at(page, "replay")
        await page.goto(f"{desk.console}/policies/{texts.number}#rule-approve-team")
        await expect(page.locator("#rule-approve-team")).to_contain_text("manager,")


async def test_who_may_only_read_versions_is_offered_no_replay(desk: Desk, paula: Caller) -> None:
    for login, offered in (("audrey", 0), ("paula", 1)):
        async with desk.window(login) as page:
            await page.goto(f"{desk.console}/policies/1")
            await expect(page.get_by_role("heading", name="Version 1")).to_be_visible()
            await expect(page.get_by_role("button", name="Replay")).to_have_count(offered)


async def test_a_replay_over_days_that_cannot_be_is_not_started(desk: Desk, paula: Caller) -> None:
    async with desk.window("paula") as page:
        await page.goto(f"{desk.console}/policies/1")
        await page.locator("[name=since]").evaluate("(field) => { field.type = 'text'; field.value = '3/2/2026'; }")
        await page.get_by_role("button", name="Replay").click()
        await expect(page.get_by_role("alert")).to_contain_text("Nothing was started")
        await page.get_by_label("From", exact=True).fill("2026-03-02")
        await page.get_by_label("Before", exact=True).fill("2026-03-01")
        await page.get_by_role("button", name="Replay").click()
        await expect(page.get_by_role("alert")).to_contain_text("Something is not right yet")
        await expect(page.get_by_label("From", exact=True)).to_have_value("2026-03-02")


async def test_a_version_that_cannot_be_is_not_found_and_not_replaced_by_another(desk: Desk) -> None:
    async with desk.window("paula") as page:
        for number in ("9" * 5000, "0", "abc"):
            answer = await page.goto(f"{desk.console}/draft?from={number}")
            assert answer is not None
            assert answer.status == 404


# Four eyes, and administrators as the second pair: in the demo only Paula is a policy author.
SECOND_PAIR = """
p, allow, role:administrator, read, any, policy, manage:directory, always, policy-read-administrator
p, allow, role:administrator, activate, any, policy, manage:directory, always, policy-activate-administrator
"""
FOUR_EYES = f"{SECOND_PAIR}p, deny, proposer, activate, any, policy, any, always, four-eyes\n"


async def test_under_four_eyes_another_person_activates_what_an_author_proposed_and_goes_back(
    desk: Desk, callers: Callers, paula: Caller
) -> None:
    shipped, adam = await paula.api.policy_version(), await callers("adam")
    cases = {name: text for name, text in shipped.cases.items() if "administration" not in name}

    async def propose(message: str, more: str) -> int:
        rules, vocabulary = shipped.rules + more, shipped.vocabulary
        proposed = await paula.api.propose_policy(
            message, model=shipped.model, rules=rules, vocabulary=vocabulary, cases=cases
        )
        return proposed.number

    first = await propose("four eyes", FOUR_EYES)
    await paula.api.activate_policy(first, instead_of=shipped.number)
    second = await propose("a second look", f"{FOUR_EYES}# and a remark\n")
    async with desk.window("paula") as page:
        await page.goto(f"{desk.console}/policies/{second}")
        await page.get_by_role("button", name=f"Activate instead of {first}").click()
        refused = page.get_by_role("alert")
        await expect(refused).to_contain_text("you proposed this version")
        await refused.get_by_role("link").or_(refused.locator("code")).first.wait_for()
        await look_at(page, "version-four-eyes")
    assert (await paula.api.policy_version()).number == first
    # A new session: what a person may do is remembered for half a minute.
    async with desk.window() as page:
        await desk.sign_in(page, "adam")
        for number, instead_of in ((second, first), (first, second)):
            await page.goto(f"{desk.console}/policies/{number}")
            await page.get_by_role("button", name=f"Activate instead of {instead_of}").click()
            await expect(page.get_by_role("status")).to_contain_text("The version is active")
            assert (await paula.api.policy_version()).number == number
    # Going back does not lift four eyes; a version that another person activates does.
    third = await propose("without four eyes", SECOND_PAIR)
    await adam.api.activate_policy(third, instead_of=first)
