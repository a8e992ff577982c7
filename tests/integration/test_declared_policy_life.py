"""A policy with declared facts decides, lists, explains and is recorded, from the moment of its activation on."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from service.administration.replay.recorded_request import parse_request
from service.administration.replay.reevaluation import Undecidable, reevaluate
from service.authorization.enforcement.capabilities import Availability, list_capabilities
from service.errors import Forbidden, NotFound
from service.log.packing import unpack
from service.log.record import commitment, read_body
from service.policy.access_request import Verdict
from service.timesheets.entry import Hours
from service.timesheets.listing import Filters
from tests.integration.api import api
from tests.integration.house import MONDAY, PROJECTS, at
from tests.integration.test_policy_steps import administration, author
from tests.integration.test_simulation import author as policy_author
from tests.integration.test_simulation import simulate
from tests.policy_forge import read_shipped, with_more

if TYPE_CHECKING:
    from typing import Any

    import httpx2

    from service.administration.replay.recorded_request import RecordedRequest
    from service.policy.policy_file import PolicyText
    from service.timesheets.timesheet import Timesheet
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

WORDS = """
[directory.people]
country = "string"
level = { type = "int", personal = true }

[kinds.timesheet.facts.overtime]
is = "resource.minutes > 2400"
yes = "this week has {resource.minutes:hours}, and {resource.submitted_at:date} was too late for that"
no = "this week has only {resource.minutes:hours}"

[kinds.timesheet.facts.same_country]
is = "resource.owner.country == principal.country"
yes = "you work in {resource.owner.country}"
no = "{resource.owner.country} is not {principal.country}"
unknown = "your country or theirs is not known"

[kinds.timesheet.facts.senior]
is = "principal.level > resource.owner.level"
yes = "you are senior"
no = "you are not senior"

[request.facts.german]
is = "principal.country == 'DE'"
yes = "you work in Germany"
no = "you work in {principal.country}"
"""


def declare(*rows: str) -> PolicyText:
    """The shipped policy with the words above and with further rows, without cases."""
    text = read_shipped()
    rules = "\n".join([text.rules.rstrip(), *rows, ""])
    return replace(text, rules=rules, vocabulary=f"{text.vocabulary}\n{WORDS}", cases={})


async def activate(house: House, text: PolicyText) -> None:
    steps, number = administration(house), house.versions.current().number
    proposed = (await steps.propose(author(house), text, "Declared words")).value.version
    await steps.activate(author(house), proposed.number, expected=number)


async def give(house: House, name: str, **values: object) -> None:
    await house.owner.execute("UPDATE person SET attributes = $2 WHERE id = $1", house.people[name], json.dumps(values))


async def submit_hours(house: House, name: str, minutes: int) -> Timesheet:
    caller, sheets = house.caller(name), house.timesheets
    sheet = (await sheets.create(caller, MONDAY, "UTC")).value
    day = 0
    while minutes:
        hours = Hours(MONDAY + timedelta(days=day), PROJECTS[0], min(minutes, 600))
        sheet = (await sheets.add_entry(caller, sheet.id, at(sheet.version), hours)).value.sheet
        minutes, day = minutes - hours.minutes, day + 1
    return (await sheets.submit(caller, sheet.id, at(sheet.version))).value


async def last_record(house: House) -> dict[str, Any]:
    return read_body(await house.owner.fetchval("SELECT body FROM audit_record ORDER BY id DESC LIMIT 1"))


async def last_decision(house: House) -> dict[str, Any]:
    query = "SELECT body FROM audit_record WHERE kind = 'decision' ORDER BY id DESC LIMIT 1"
    return read_body(unpack(await house.owner.fetchval(query)))


async def listed(house: House, name: str, roles: frozenset[str] = frozenset()) -> set[UUID]:
    found = await house.timesheets.list(house.caller(name, roles=roles), Filters(), after=None, limit=50)
    return {sheet.id for sheet in found.value.items}


async def test_a_refusal_says_which_value_was_in_the_way(house: House) -> None:
    sheet = await submit_hours(house, "ana", 43 * 60)
    await activate(house, declare("p, deny, manager, approve, submitted, timesheet, any, overtime, too-long"))
    for _ in range(2):
        with pytest.raises(Forbidden) as refused:
            await house.timesheets.approve(house.caller("mia"), sheet.id, at(sheet.version))
        why = f"this week has 43 hours, and {sheet.submitted_at:%Y-%m-%d} was too late for that"
        assert refused.value.reasons == (f"you lead this person's team; the timesheet is submitted; {why}",)
        record = await last_record(house)
        assert record["facts"]["overtime"] is True
        assert record["attributes"]["resource.minutes"] == 43 * 60
    shorter = await submit_hours(house, "ben", 40 * 60)
    await house.timesheets.approve(house.caller("mia"), shorter.id, at(shorter.version))


async def test_auditors_see_their_country_and_nothing_else(house: House) -> None:
    row = "p, allow, role:auditor, read, any, timesheet, read:timesheets, same_country, audit-country"
    sheets = {name: await submit_hours(house, name, 60) for name in ("ana", "ben", "carl")}
    await give(house, "ana", country="DE")
    await give(house, "ben", country="FR")
    await give(house, "dora", country="DE")
    await activate(house, declare(row))
    auditor = house.caller("dora", roles=frozenset({"role:auditor"}), scopes=frozenset({"read:timesheets"}))
    # Dora leads everybody, so another person audits.
    await house.owner.execute("UPDATE membership SET valid_to = now() WHERE person_id = $1", house.people["dora"])
    for _ in range(3):
        # The third time all comes from memory; many at once share statements.
        reads = await asyncio.gather(
            *(house.timesheets.read(auditor, sheet.id) for sheet in sheets.values()), return_exceptions=True
        )
        assert [type(read) for read in reads[1:]] == [NotFound, NotFound]
        assert await listed(house, "dora", frozenset({"role:auditor"})) == {sheets["ana"].id}
    await give(house, "carl", country="DE")
    assert await listed(house, "dora", frozenset({"role:auditor"})) == {sheets["ana"].id, sheets["carl"].id}
    await give(house, "dora")
    assert await listed(house, "dora", frozenset({"role:auditor"})) == set()


async def test_personal_values_stand_beside_the_record(house: House) -> None:
    sheet = await submit_hours(house, "ana", 60)
    await give(house, "ana", level=2)
    await give(house, "mia", level=3, country="DE")
    await activate(house, declare())
    await house.timesheets.read(house.caller("mia"), sheet.id)
    record = await last_record(house)
    assert record["facts"]["senior"] is True
    assert record["attributes"]["principal.country"] == "DE"
    assert not {"principal.level", "resource.owner.level"} & record["attributes"].keys()
    texts = await house.owner.fetch(
        "SELECT field, salt, value FROM audit_text WHERE record_uid = $1::text::uuid ORDER BY field", record["uid"]
    )
    assert [(row["field"], row["value"]) for row in texts] == [
        ("attributes.principal.level", "3"),
        ("attributes.resource.owner.level", "2"),
    ]
    assert record["commitments"] == {row["field"]: commitment(row["salt"], row["value"]).hex() for row in texts}


async def test_facts_about_the_caller_are_known_without_a_resource(house: House) -> None:
    await give(house, "ana", country="DE")
    await give(house, "ben", country="FR")
    row = "p, allow, anyone, read, any, directory, any, german, read-as-german"
    await activate(house, declare(row))
    for name, availability in (("ana", Availability.ALWAYS), ("ben", Availability.NEVER)):
        caller = house.caller(name)
        async with house.gate.read(caller, "me", "read") as reading:
            lookup, snapshot = reading.lookup, reading.permit.snapshot
        found = list_capabilities(snapshot, caller.principal, lookup)
        [capability] = [known for known in found if (known.kind, known.action) == ("directory", "read")]
        assert capability.availability is availability, name
    assert (await last_record(house))["facts"]["german"] is False
    with pytest.raises(Forbidden) as refused:
        async with house.gate.read(house.caller("ben"), "directory", "read"):
            pass
    assert "you work in FR" in " ".join(refused.value.reasons)


async def test_members_of_a_group_answer_to_its_word(house: House) -> None:
    sheet = await submit_hours(house, "ana", 60)
    await house.owner.execute("INSERT INTO person_group (name) VALUES ('night')")
    await activate(
        house, declare("p, allow, group:night, read, any, timesheet, read:timesheets, always, read-at-night")
    )
    with pytest.raises(NotFound):
        await house.timesheets.read(house.caller("carl"), sheet.id)
    await house.owner.execute(
        "INSERT INTO group_member (id, group_name, person_id, valid_from)"
        " VALUES (gen_random_uuid(), 'night', $1, now())",
        house.people["carl"],
    )
    await house.timesheets.read(house.caller("carl"), sheet.id)
    assert (await last_record(house))["attributes"]["principal.groups"] == ["night"]
    assert sheet.id in await listed(house, "carl")


async def test_values_that_a_record_cannot_hold_are_named_and_stop_nothing(house: House) -> None:
    sheet = await submit_hours(house, "ana", 60)
    text = declare()
    tags = '[directory.people]\ntags = "list<string>"'
    fact = '[kinds.timesheet.facts.tagged]\nis = "size(resource.owner.tags) > 1"\nyes = "tagged"\nno = "untagged"\n'
    vocabulary = text.vocabulary.replace("[directory.people]", tags, 1) + fact
    await activate(house, replace(text, vocabulary=vocabulary))
    await give(house, "ana", tags=[f"{place} {'é' * 190}" for place in range(50)])
    await house.timesheets.read(house.caller("mia"), sheet.id)
    record = await last_record(house)
    assert record["facts"]["tagged"] is True
    assert record["attributes_left_out"] == ["resource.owner.tags"]
    assert record["attributes"]["resource.minutes"] == 60


async def test_versions_that_declare_the_same_share_a_reader_and_few_readers_are_kept(house: House) -> None:
    sheet = await submit_hours(house, "ana", 60)
    readers = house.relationships._readers
    for number in range(4):
        await activate(house, declare(f"p, allow, role:r{number}, read, any, timesheet, any, overtime, by-r{number}"))
        for _ in range(2):
            await house.timesheets.read(house.caller("mia"), sheet.id)
        # That of the shipped policy, and one for all versions with the same words.
        assert len(readers) <= 2
    shared = list(readers)[-1]
    for number in range(3):
        text = declare()
        await activate(house, replace(text, vocabulary=text.vocabulary.replace("> 2400", f"> {number}")))
        for _ in range(2):
            await house.timesheets.read(house.caller("mia"), sheet.id)
        assert len(readers) <= 2
    assert shared not in readers


FROZEN = """
[kinds.timesheet.facts.frozen]
is = 'resource.period_start < timestamp("2023-01-02T00:00:00Z")'
yes = "the week of {resource.period_start:date} is closed"
no = "the week is open"
"""
NO_OLD_WEEKS = "p, deny, anyone, create, any, timesheet, any, frozen, no-old-weeks\n"
OLD_WEEK = date(2022, 12, 26)


async def recorded_request(house: House, answer: httpx2.Response) -> RecordedRequest:
    uid = UUID(answer.headers["Decision-Id"])
    body = unpack(await house.owner.fetchval("SELECT body FROM audit_record WHERE uid = $1", uid))
    recorded = parse_request(body)
    assert recorded.attributes["resource.period_start"] in {f"{OLD_WEEK}T00:00:00Z", f"{MONDAY}T00:00:00Z"}
    return recorded


async def test_a_rule_over_the_week_decides_on_the_week_of_a_new_sheet_and_so_does_its_replay(
    house: House, issuer: str
) -> None:
    await house.link_people(issuer)
    async with api(house, issuer) as running:

        async def create(who: str, week: date) -> httpx2.Response:
            return await running.send(
                "POST", "/v1/timesheets", running.token(sub=who), body={"period_start": f"{week}", "time_zone": "UTC"}
            )

        earlier = [await create("ana", week) for week in (OLD_WEEK, MONDAY)]
        assert [answer.status_code for answer in earlier] == [201, 201]
        before = house.versions.current()
        await activate(house, with_more(NO_OLD_WEEKS, FROZEN))
        later = [await create("ben", week) for week in (OLD_WEEK, MONDAY)]
        assert [answer.status_code for answer in later] == [403, 201], later[0].text
        assert later[0].json()["reasons"] == [f"the week of {OLD_WEEK} is closed"]
        for week, verdict in ((OLD_WEEK, "deny"), (MONDAY, "allow")):
            attributes = {"period_start": f"{week}T00:00:00Z"}
            given = {"kind": "timesheet", "state": "draft", "relations": ["owner"], "attributes": attributes}
            subject = {"client": "hours-app", "scopes": ["create:timesheets"]}
            simulated = await simulate(
                running, policy_author(running), subject=subject, action="create", resource=given
            )
            assert simulated.json()["verdict"] == verdict, simulated.text
    under = house.versions.current()
    assert under.number != before.number
    for refused, created in (earlier, later):
        found = [
            reevaluate(under, await recorded_request(house, answer), before if answer in earlier else None)
            for answer in (refused, created)
        ]
        verdicts = [verdict for verdict in found if isinstance(verdict, Verdict)]
        assert [(verdict.allowed, verdict.rules) for verdict in verdicts] == [
            (False, ("no-old-weeks",)),
            (True, ("create-own",)),
        ]


async def test_a_replay_does_not_guess_the_week_of_a_new_sheet_that_an_earlier_release_did_not_record(
    house: House,
) -> None:
    await house.timesheets.create(house.caller("ana"), MONDAY, "UTC")
    record = await last_decision(house)
    before = house.versions.current()
    await activate(house, with_more(NO_OLD_WEEKS, FROZEN))
    assert record["attributes"].pop("resource.period_start") == f"{MONDAY}T00:00:00Z"
    found = reevaluate(house.versions.current(), parse_request(json.dumps(record).encode()), before)
    assert found == Undecidable("attribute resource.period_start was not recorded")
