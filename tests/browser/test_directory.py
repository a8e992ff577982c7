"""An administrator's directory in a browser: teams, people, roles, projects, groups, and an import with a dry run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from playwright.async_api import expect

if TYPE_CHECKING:
    from tests.acceptance.caller import Callers
    from tests.browser.conftest import Desk

NAME = "<b>Zoë</b> \u202eevil " + "x" * 100
ROWS = """record,email,name,team,parent
team,,,Night shift,Atlas
person,nina@example.com,Nina Berg,,
member,nina@example.com,,Night shift,
"""


async def test_an_administrator_adds_a_team_and_a_person_and_ends_what_they_began(desk: Desk, callers: Callers) -> None:
    async with desk.window("adam") as page:
        await page.goto(desk.console)
        await expect(page).to_have_url(f"{desk.console}/directory/people")
        await expect(page.get_by_role("row", name="Ana Lima")).to_contain_text("Atlas")
        await page.get_by_role("link", name="Teams").click()
        await page.get_by_label("Name").fill("Atlas abroad")
        await page.get_by_label("Below").select_option("Atlas")
        await page.get_by_role("button", name="Add").click()
        await expect(page.get_by_role("status")).to_have_text("It is added.")
        await expect(page.get_by_role("heading", name="Atlas abroad")).to_be_visible()
        team = page.url
        await page.get_by_role("link", name="People").click()
        await page.get_by_label("Name", exact=True).fill(NAME)
        await page.get_by_role("button", name="Add").click()
        # As text, whatever it looks like.
        await expect(page.get_by_role("heading", level=1)).to_have_text(NAME)
        person = page.url
        await page.get_by_label("Role", exact=True).fill("payroll")
        await page.get_by_role("button", name="Give").click()
        await expect(page.get_by_role("button", name="Take the role payroll")).to_be_visible()
        await page.get_by_label("Team", exact=True).select_option("Atlas abroad")
        await page.get_by_label("Part").select_option("Lead")
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.get_by_role("link", name="Atlas abroad")).to_be_visible()
        await page.goto(team)
        await page.get_by_label("Person").press_sequentially("car")
        await expect(page.locator("#person-names option")).to_have_attribute("value", "Carl Dupont")
        await page.get_by_label("Person").fill("carl dupont")
        await page.get_by_role("button", name="Put into the team").click()
        await expect(page.locator("main .plain li")).to_contain_text([f"{NAME} Lead", "Carl Dupont"])
        for _ in range(2):
            await page.get_by_role("button", name="End the membership").first.click()
            await expect(page.get_by_role("status")).to_have_text("It has ended.")
        await expect(page.get_by_text("Nobody is in this team.")).to_be_visible()
        await page.goto(person)
        await page.get_by_role("button", name="Take the role payroll").click()
        await expect(page.get_by_text("None. Roles in their tokens")).to_be_visible()
    adam = (await callers("adam")).api
    roles = await adam.roles(person.rpartition("/")[2].partition("?")[0])
    assert [role.role for role in roles if role.valid_to is None] == []


async def test_after_a_change_the_focus_is_in_the_page_and_not_before_its_navigation(desk: Desk) -> None:
    async with desk.window("adam") as page:
        await page.goto(f"{desk.console}/directory/groups")
        await page.get_by_label("Name", exact=True).fill("night-shift")
        await page.get_by_role("button", name="Add", exact=True).press("Enter")
        await expect(page.get_by_role("status")).to_have_text("It is changed.")
        await expect(page.locator("#content")).to_be_focused()


async def test_a_team_and_delegations_of_more_than_two_hundred_are_shown_whole(desk: Desk, callers: Callers) -> None:
    adam, first = await callers("adam"), datetime(2051, 1, 1, tzinfo=UTC)
    people = [f"crowd{number}@example.com" for number in range(201)]
    rows = ["record,email,name,team,parent", "team,,,Crowd,"]
    rows += [f"person,{email},Zoe {email[5:8]},," for email in people] + [f"member,{email},,Crowd," for email in people]
    imported = await adam.send(
        "POST", "/v1/directory/import", content="\n".join(rows).encode(), headers={"Content-Type": "text/csv"}
    )
    assert imported.status_code == 200, imported.text
    dora, max_ = [await (await callers(login)).me() for login in ("dora", "max")]
    for number in range(201):
        start = first + timedelta(days=2 * number)
        await adam.api.grant_delegation(max_, delegator=dora, valid_from=start, valid_to=start + timedelta(days=1))
    async with desk.window("adam") as page:
        await page.goto(f"{desk.console}/directory/teams")
        await page.get_by_role("link", name="Crowd").click()
        await expect(page.get_by_role("button", name="End the membership of Zoe")).to_have_count(201)
        await page.goto(f"{desk.console}/delegations")
        await expect(page.get_by_role("button", name="End the delegation to Max Weber")).to_have_count(201)


async def test_a_refusal_is_shown_beside_the_form_and_nothing_that_was_typed_is_lost(desk: Desk) -> None:
    async with desk.window("adam") as page:
        await page.goto(f"{desk.console}/directory/projects")
        await page.get_by_label("Code").fill("ATLAS")
        await page.get_by_label("Name", exact=True).fill("Another Atlas")
        await page.get_by_role("button", name="Add").click()
        await expect(page.get_by_role("alert")).to_contain_text("That is not possible now")
        await expect(page.get_by_label("Name", exact=True)).to_have_value("Another Atlas")
        assert page.url == f"{desk.console}/directory/projects"


async def test_a_person_who_is_named_ambiguously_or_not_at_all_is_not_guessed(desk: Desk) -> None:
    async with desk.window("adam") as page:
        await page.goto(f"{desk.console}/directory/groups")
        await page.get_by_label("Name").fill("works-council")
        await page.get_by_role("button", name="Add").click()
        await expect(page.get_by_text("Nobody is in this group.")).to_be_visible()
        for name, reason in (("M", "Several people have this name"), ("Nobody At All", "Nobody has this name")):
            await page.get_by_label("Person").fill(name)
            await page.get_by_role("button", name="Put into the group").click()
            await expect(page.get_by_role("alert")).to_contain_text(reason)
        await page.get_by_label("Person").fill("Max Weber")
        await page.get_by_role("button", name="Put into the group").click()
        await expect(page.get_by_role("button", name="Take Max Weber out")).to_be_visible()


async def test_an_import_shows_what_it_would_do_before_it_does_it(desk: Desk, callers: Callers) -> None:
    async with desk.window("adam") as page:
        await page.goto(f"{desk.console}/directory/import")
        await page.get_by_label("or its rows").fill(ROWS)
        await page.get_by_role("button", name="Show what would happen").click()
        await expect(page.get_by_role("status")).to_contain_text("3 created, 0 updated, 0 unchanged.")
        adam = (await callers("adam")).api
        assert "Night shift" not in {team.name async for team in adam.teams()}
        await page.get_by_role("button", name="Import", exact=True).click()
        await expect(page.get_by_role("heading", name="Imported")).to_be_visible()
        assert "Night shift" in {team.name async for team in adam.teams()}
        await page.get_by_label("or its rows").fill("record,email\nperson,not an address\n")
        await page.get_by_role("button", name="Import", exact=True).click()
        await expect(page.get_by_text("Something is not right yet")).to_be_visible()


async def test_a_file_that_is_not_utf_8_is_refused_with_its_line_and_changes_nobody(
    desk: Desk, callers: Callers
) -> None:
    rows = "record,email,name\nperson,jurgen@example.com,Jürgen Krüger\n".encode("latin-1")
    async with desk.window("adam") as page:
        await page.goto(f"{desk.console}/directory/import")
        await page.get_by_label("CSV file").set_input_files(
            {"name": "people.csv", "mimeType": "text/csv", "buffer": rows}
        )
        await page.get_by_role("button", name="Import", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("is not UTF-8 in line 2: save the file as UTF-8")
        # A text that the form showed instead would be imported by the next click.
        await expect(page.get_by_label("or its rows")).to_have_value("")
    adam = (await callers("adam")).api
    assert [person async for person in adam.people(email="jurgen@example.com")] == []


async def test_rows_of_which_one_is_refused_stay_in_the_form_beside_the_reason(desk: Desk) -> None:
    rows = ROWS.replace("Atlas", "No such team")
    async with desk.window("adam") as page:
        await page.goto(f"{desk.console}/directory/import")
        await page.get_by_label("or its rows").fill(rows)
        await page.get_by_role("button", name="Show what would happen").click()
        await expect(page.get_by_role("alert")).to_contain_text("line 2")
        await expect(page.get_by_label("or its rows")).to_have_value(rows)


async def test_an_employee_has_no_directory(desk: Desk) -> None:
    async with desk.window("ana") as page:
        answer = await page.goto(f"{desk.console}/directory/teams")
        assert answer is not None
        assert answer.status == 403
        await expect(page.get_by_role("heading", name="You may not do this")).to_be_visible()
        assert await page.get_by_role("link", name="Teams").count() == 0
