"""Replays over a real log for the three examples of the author's page: each flips what it should, and nothing else."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from service.administration.replay.replays import Replays
from service.administration.replay.tally import ReplayOutcome
from service.administration.versions import version_store
from service.directory.entities import Validity
from service.errors import Denied, NotFound
from service.log.recorded_decisions import DecisionSelection
from service.timesheets.entry import Hours
from tests.integration.house import EIGHT_HOURS, MONDAY, activate_unread, at
from tests.integration.log_traffic import author
from tests.integration.test_replays import run_job
from tests.policy_forge import read_shipped, with_more

if TYPE_CHECKING:
    from service.administration.replay.jobs import Job
    from service.policy.policy_file import PolicyText
    from service.timesheets.timesheet import Timesheet
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

WORDS = """
[directory.people]
country = "string"
[kinds.timesheet.relations.project_lead]
is = "resource.projects.leads"
yes = "you lead a project of this week"
no = "you lead no project of this week"
[kinds.timesheet.facts.same_country]
is = "resource.owner.country == principal.country"
yes = "you are in the same country"
no = "you are in another country"
"""
TWO = """
[kinds.timesheet.approval]
complete = "size(resource.approvals) >= (resource.minutes > 2400 ? 2 : 1)"
"""
ROWS = """
p, allow, project_lead, read, any, timesheet, read:timesheets, always, read-project
p, allow, project_lead, approve, submitted, timesheet, approve:timesheets, always, approve-project
p, deny, manager, read, any, timesheet, any, not same_country, managers-own-country
"""


async def insert(house: House, text: PolicyText) -> int:
    made = await version_store.insert(house.owner, text, message="a test", author_person=None, author_client="test")
    return made.number


async def activate(house: House, declared: str) -> None:
    """A version with these words, which no row asks for yet."""
    await activate_unread(house, with_more(words=declared))


async def set_attributes(house: House, name: str, values: str) -> None:
    await house.owner.execute("UPDATE person SET attributes = $2 WHERE id = $1", house.people[name], values)


async def submit_long_week(house: House) -> Timesheet:
    """A week of Ana with 48 hours."""
    caller = house.caller("ana")
    sheet = (await house.timesheets.create(caller, MONDAY, "UTC")).value
    for day in range(2):
        hours = Hours(MONDAY + timedelta(days=day), EIGHT_HOURS.project, 1440)
        sheet = (await house.timesheets.add_entry(caller, sheet.id, at(sheet.version), hours)).value.sheet
    return (await house.timesheets.submit(caller, sheet.id, at(sheet.version))).value


async def replay(house: House, text: PolicyText, action: str | None = None) -> Job:
    number = await insert(house, text)
    replays = Replays(house.gate, house.requests)
    return await run_job(house, (await replays.start(author(house), DecisionSelection(action=action), number)).value)


async def test_the_three_examples_flip_what_they_should(house: House) -> None:
    await activate(house, WORDS)
    for name, country in (("ana", "DE"), ("mia", "DE"), ("dora", "PT")):
        await set_attributes(house, name, f'{{"country": "{country}"}}')
    await house.project_leads.add(house.administrator(), EIGHT_HOURS.project, house.people["carl"], Validity())
    sheet = await submit_long_week(house)
    for name in ("ana", "mia", "dora"):
        await house.timesheets.read(house.caller(name), sheet.id)
    for name in ("carl", "max"):
        with suppress(Denied, NotFound):
            await house.timesheets.read(house.caller(name), sheet.id)
        with suppress(Denied, NotFound):
            await house.timesheets.approve(house.caller(name), sheet.id, at(sheet.version))
    await house.timesheets.approve(house.caller("mia"), sheet.id, at(sheet.version))

    text = with_more(ROWS, WORDS + TWO)
    job = await replay(house, text)

    flips = {
        outcome: {(example.action, example.subject): example.now for example in job.totals.examples.get(outcome, [])}
        for outcome in ReplayOutcome
    }
    people = {name: str(person) for name, person in house.people.items()}
    assert flips[ReplayOutcome.DENY_TO_ALLOW] == {
        ("read", people["carl"]): "allowed by read-project",
        ("approve", people["carl"]): "allowed by approve-project",
    }
    assert flips[ReplayOutcome.ALLOW_TO_DENY] == {("read", people["dora"]): "deny-rule managers-own-country"}
    assert flips[ReplayOutcome.OTHER_APPROVALS] == {
        ("approve", people["mia"]): "allowed by approve-team, 1 approval of 2"
    }
    assert flips[ReplayOutcome.UNDECIDABLE] == {}
    assert flips[ReplayOutcome.OTHER_REASON] == {}


async def test_a_personal_value_counts_in_a_replay_until_the_person_is_erased(house: House) -> None:
    declared = """
[directory.people]
level = { type = "int", personal = true }
[kinds.timesheet.facts.senior]
is = "resource.owner.level >= %d"
yes = "the owner is senior"
no = "the owner is not senior"
"""
    await activate(house, declared % 3)
    await set_attributes(house, "ana", '{"level": 4}')
    sheet = await house.submit_week("ana")
    await house.timesheets.read(house.caller("mia"), sheet.id)
    row = "p, deny, manager, read, any, timesheet, any, not senior, seniors-only\n"
    shipped = read_shipped()

    def draft(level: int) -> PolicyText:
        return replace(shipped, rules=shipped.rules + row, vocabulary=shipped.vocabulary + declared % level, cases={})

    before = await replay(house, draft(5), "read")
    assert before.totals.counts == {ReplayOutcome.ALLOW_TO_DENY: 1}
    # As an erasure does.
    await house.owner.execute("DELETE FROM audit_text WHERE starts_with(field, 'attributes.')")
    after = await replay(house, draft(6), "read")
    assert after.totals.counts == {ReplayOutcome.UNDECIDABLE: 1}
    assert after.totals.groups[ReplayOutcome.UNDECIDABLE]["cause"] == {"attribute resource.owner.level was erased": 1}
    same = await replay(house, draft(3), "read")
    assert same.totals.counts == {ReplayOutcome.SAME: 1}
