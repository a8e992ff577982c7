"""The terms of projects that a process remembers are those that it would read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.authorization.enforcement.changes import Target
from service.timesheets import known_projects, store
from service.timesheets.known_projects import KnownProjects
from service.timesheets.relations import KIND
from tests.integration.house import MONDAY

if TYPE_CHECKING:
    from service.timesheets.entry import ProjectTerms
    from service.timesheets.timesheet import Timesheet
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]


async def load(house: House, known: KnownProjects, sheet: Timesheet, *codes: str) -> dict[str, ProjectTerms]:
    target = Target(str(sheet.id), store.lock(sheet.id), row_id=sheet.id, must_exist=True)
    async with house.gate.change(house.caller("ana"), KIND, "edit", target) as change:
        return await known.load(change.permit, change.connection, codes)


@pytest.mark.parametrize(
    "change",
    [
        "active = false",
        "kind = 'absence'",
        "billable = true",
        "activities = '{design}'",
        "code = 'GEMINI2'",
    ],
)
async def test_every_change_of_a_project_by_sql_is_seen_at_once(house: House, change: str) -> None:
    sheet, known = (await house.timesheets.create(house.caller("ana"), MONDAY, "UTC")).value, KnownProjects()
    codes = ("ATLAS", "BOREALIS")
    assert await load(house, known, sheet, *codes) == await load(house, known, sheet, *codes)
    await house.owner.execute(f"UPDATE project SET {change} WHERE code = 'BOREALIS'")
    seen = await load(house, known, sheet, *codes)
    assert seen == await load(house, KnownProjects(), sheet, *codes)
    assert seen["BOREALIS"] != seen["ATLAS"]


async def test_terms_are_read_once_for_each_state_of_the_directory(house: House) -> None:
    sheet, known = (await house.timesheets.create(house.caller("ana"), MONDAY, "UTC")).value, KnownProjects()
    before = await load(house, known, sheet, "ATLAS")
    await house.owner.execute("ALTER TABLE project DISABLE TRIGGER counted")
    await house.owner.execute("UPDATE project SET active = false")
    await house.owner.execute("ALTER TABLE project ENABLE TRIGGER counted")
    assert await load(house, known, sheet, "ATLAS") == before
    assert (await load(house, known, sheet, "ATLAS", "SITE"))["ATLAS"] != before["ATLAS"]
    await house.owner.execute("UPDATE directory_revision SET revision = revision + 1")
    assert (await load(house, known, sheet, "ATLAS"))["ATLAS"].closed


async def test_a_code_without_a_project_is_looked_up_each_time(house: House) -> None:
    sheet, known = (await house.timesheets.create(house.caller("ana"), MONDAY, "UTC")).value, KnownProjects()
    assert (await load(house, known, sheet, "ATLAS", "NEW"))["NEW"].closed == "is not the code of a project"
    await house.owner.execute("ALTER TABLE project DISABLE TRIGGER counted")
    await house.owner.execute("INSERT INTO project (code, name) VALUES ('NEW', 'New')")
    await house.owner.execute("ALTER TABLE project ENABLE TRIGGER counted")
    assert (await load(house, known, sheet, "ATLAS", "NEW"))["NEW"].closed is None


async def test_few_projects_are_remembered(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_projects, "MAX_PROJECTS", 2)
    sheet, known = (await house.timesheets.create(house.caller("ana"), MONDAY, "UTC")).value, KnownProjects()
    for codes, kept in (("A", 1), ("S", 2), ("B", 1), ("ASB", 0), ("BS", 2)):
        wanted = [{"A": "ATLAS", "B": "BOREALIS", "S": "SITE"}[letter] for letter in codes]
        found = await load(house, known, sheet, *wanted)
        assert set(found) == set(wanted)
        assert all(terms.closed is None for terms in found.values())
        assert len(known) == kept
