"""An installation whose active version is older than locking for payroll goes on as before; what is new, nobody may."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from service.administration.versions import version_store
from service.errors import NotFound
from service.policy import policy_file
from service.timesheets.listing import Filters
from tests.integration.house import House, activate_unread, at
from tests.policy_forge import read_shipped

if TYPE_CHECKING:
    from service.policy.policy_file import PolicyText

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

PAYROLL = frozenset({"role:payroll"})


def older() -> PolicyText:
    """The shipped texts, without a word of locking."""
    text = read_shipped()
    vocabulary = re.sub(r"(?m)^(un)?lock(ed)? = .*\n", "", text.vocabulary)
    vocabulary = re.sub(r"(?s)\[kinds\.timesheet\.facts\.locked_by_asker\].*?\n\n", "", vocabulary)
    rules = "".join(line for line in text.rules.splitlines(keepends=True) if "lock" not in line)
    return replace(text, vocabulary=vocabulary, rules=rules, cases={})


async def step_back(house: House) -> House:
    """The older version decides from now on."""
    await activate_unread(house, older())
    return house


@pytest.fixture
async def behind(house: House) -> House:
    return await step_back(house)


def test_the_older_version_lacks_the_words_and_reads_well() -> None:
    vocabulary = policy_file.parse(older()).vocabulary
    assert not {"lock", "unlock"} & vocabulary.actions["timesheet"]
    assert "locked" not in vocabulary.states["timesheet"]
    assert vocabulary.facts["timesheet"] == {"acted_for_owner"}


async def test_a_week_is_handed_in_approved_and_taken_back_as_before(behind: House) -> None:
    sheet = await behind.submit_week("ana")
    mia = behind.caller("mia")
    assert (await behind.timesheets.approve(mia, sheet.id, at(3))).value.state == "approved"
    assert (await behind.timesheets.reopen(mia, sheet.id, at(4), "again")).value.state == "draft"


@pytest.mark.parametrize("name", ["ana", "mia", "dora"])
async def test_nobody_locks(behind: House, name: str) -> None:
    sheet = await behind.submit_week("ana")
    await behind.timesheets.approve(behind.caller("mia"), sheet.id, at(3))
    for person in (name, "carl"):
        with pytest.raises(NotFound):
            await behind.timesheets.lock(behind.caller(person, roles=PAYROLL), sheet.id, at(4), "paid")
    assert (await behind.timesheets.read(behind.caller(name), sheet.id)).value.state == "approved"


async def test_what_was_locked_before_a_step_back_is_hidden_alone_as_in_lists_until_its_word_is_known_again(
    house: House,
) -> None:
    sheet = await house.submit_week("ana")
    ana, mia = house.caller("ana"), house.caller("mia")
    await house.timesheets.approve(mia, sheet.id, at(3))
    await house.timesheets.lock(house.caller("ben", roles=PAYROLL), sheet.id, at(4), "paid")
    await step_back(house)
    for caller in (ana, mia):
        with pytest.raises(NotFound):
            await house.timesheets.read(caller, sheet.id)
        assert (await house.timesheets.list(caller, Filters())).value.items == ()
    for attempt in (
        house.timesheets.reopen(mia, sheet.id, at(5), "again"),
        house.timesheets.submit(ana, sheet.id, at(5)),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await version_store.move_head(house.owner, 1, expected=2)
    assert (await house.timesheets.list(mia, Filters())).value.items[0].state == "locked"
    assert (await house.timesheets.read(ana, sheet.id)).value.version == 5
