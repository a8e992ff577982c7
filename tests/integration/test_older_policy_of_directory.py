"""An active policy version without delegations, fallback approvers and projects: nobody may use what it
lacks, and the rest works as before."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from service.directory.entities import Project
from service.errors import Denied, Forbidden
from service.policy import policy_file
from tests.integration.house import House, activate_unread, at
from tests.policy_forge import read_shipped

if TYPE_CHECKING:
    from service.policy.policy_file import PolicyText

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]


def older() -> PolicyText:
    """The shipped texts without the words for delegations, fallback approvers, projects and access requests."""
    text = read_shipped()
    tables = r"(?m)^\[kinds\.timesheet\.relations\.(delegate|fallback|temporary_approver)\]\n(?:\w.*\n)+"
    vocabulary = re.sub(tables, "", text.vocabulary)
    vocabulary = re.sub(r"(?s)\[kinds\.(delegation|project)\].*?(?=\[kinds\.token\])", "", vocabulary)
    new = re.compile(r"delegat|fallback|project|access|temporary")
    rules = "".join(line for line in text.rules.splitlines(keepends=True) if not new.search(line))
    return replace(text, vocabulary=vocabulary, rules=rules, cases={})


@pytest.fixture
async def behind(house: House) -> House:
    await activate_unread(house, older())
    return house


def test_the_older_version_lacks_the_words_and_reads_well() -> None:
    vocabulary = policy_file.parse(older()).vocabulary
    assert vocabulary.relations["timesheet"] == {"owner", "manager", "importer"}
    assert not {"delegation", "project"} & vocabulary.actions.keys()


async def test_of_what_is_new_nobody_may_do_anything(behind: House) -> None:
    people = behind.people
    for caller in (behind.caller("mia"), behind.administrator()):
        with pytest.raises(Forbidden):
            await behind.delegations.grant(caller, people["mia"], people["carl"])
        with pytest.raises(Forbidden):
            await behind.delegations.list(caller)
        with pytest.raises(Forbidden):
            await behind.projects.list(caller)
        with pytest.raises(Forbidden):
            await behind.access_requests.list(caller)


async def test_the_directory_is_kept_as_before_and_what_it_says_gives_no_delegate_anything(behind: House) -> None:
    admin, people = behind.administrator(), behind.people
    await behind.projects.add(admin, Project("NEW", "New"))
    await behind.fallbacks.name(admin, people["max"])
    await behind.owner.execute(
        "INSERT INTO delegation (id, delegator_id, delegate_id, valid_from) VALUES (gen_random_uuid(), $1, $2, now())",
        people["mia"],
        people["carl"],
    )
    sheet = await behind.submit_week("ana")
    with pytest.raises(Denied):
        await behind.timesheets.approve(behind.caller("carl"), sheet.id, at(sheet.version))
    await behind.timesheets.approve(behind.caller("mia"), sheet.id, at(sheet.version))
    # Nobody leads dora; where no rule lets a fallback approve, she hands in as before.
    assert (await behind.submit_week("dora")).state == "submitted"
