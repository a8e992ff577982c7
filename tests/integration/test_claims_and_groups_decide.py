"""What a token claims and what the directory says of groups decides reads, lists, records and replays alike."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from service.administration.replay.recorded_request import parse_request
from service.administration.replay.reevaluation import reevaluate
from service.authorization.enforcement.claimed_attributes import read_claim
from service.directory.entities import Validity
from service.directory.merging import Merging
from service.errors import NotFound
from service.log.packing import unpack
from service.log.record import read_body
from service.policy.access_request import Verdict
from service.policy.attributes import AttributeType
from service.timesheets.listing import Filters
from service.values import replace
from tests.integration.declared_directory import DECLARED, declare
from tests.integration.random_organisation import NOW
from tests.policy_forge import read_shipped, snapshot

if TYPE_CHECKING:
    from uuid import UUID

    from service.authorization.enforcement.changes import Caller
    from service.identity.principal import ClaimedValue
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

SAME_COUNTRY = (
    DECLARED
    + """
[kinds.timesheet.facts.same_country]
is = "resource.owner.country == principal.country"
yes = "you are of the country {principal.country}"
no = "you are of the country {principal.country}, and this person is of {resource.owner.country}"
unknown = "it is not known whether you are of this person's country"
"""
)
BY_COUNTRY = "p, allow, anyone, read, any, timesheet, read:timesheets, same_country, read-country\n"
BY_GROUP = (
    "p, allow, group:night-shift, read, any, timesheet, read:timesheets, always, read-night\n"
    "p, deny, group:leavers, read, any, timesheet, any, always, no-leavers\n"
)


async def set_country(house: House, name: str, country: str) -> None:
    await house.owner.execute(
        "UPDATE person SET attributes = $2 WHERE id = $1", house.people[name], json.dumps({"country": country})
    )


def claiming(caller: Caller, country: ClaimedValue) -> Caller:
    return replace(caller, principal=replace(caller.principal, attributes={"country": country}, issuer_name="acme"))


async def may_read(house: House, caller: Caller, sheet: UUID) -> bool:
    """Whether the caller may read it; a list agrees, the second time from memory."""
    found: set[bool] = set()
    for _ in range(2):
        listed = {item.id for item in (await house.timesheets.list(caller, Filters())).value.items}
        try:
            await house.timesheets.read(caller, sheet)
        except NotFound:
            found |= {False, sheet in listed}
        else:
            found |= {True, sheet in listed}
    (allowed,) = found
    return allowed


async def last_read(house: House) -> dict[str, Any]:
    newest = "SELECT body FROM audit_record WHERE action = 'read' ORDER BY id DESC LIMIT 1"
    body: dict[str, Any] = read_body(unpack(await house.owner.fetchval(newest)))
    return body


async def test_a_claim_takes_the_place_of_the_directory(house: House) -> None:
    await declare(house, SAME_COUNTRY, BY_COUNTRY)
    sheet = (await house.submit_week("ana")).id
    await set_country(house, "ana", "DE")
    carl = house.caller("carl")
    assert not await may_read(house, carl, sheet)
    await set_country(house, "carl", "DE")
    assert await may_read(house, carl, sheet)
    for country, allowed in (("FR", False), ("DE", True), (7, False), (("DE",), False), (None, False)):
        assert await may_read(house, claiming(carl, country), sheet) is allowed, country
    # Another attribute's claim changes nothing.
    other = replace(carl, principal=replace(carl.principal, attributes={"level": 3, "shoe_size": 43}))
    assert await may_read(house, other, sheet)
    await set_country(house, "carl", "FR")
    assert await may_read(house, claiming(carl, "DE"), sheet)
    assert (await last_read(house))["attributes"]["principal.country"] == "DE"
    # The owner's country is the directory's, whatever the caller claims.
    await set_country(house, "ana", "IT")
    assert not await may_read(house, claiming(carl, "DE"), sheet)


async def test_a_claim_of_another_type_is_told_once_and_without_its_value(house: House) -> None:
    await declare(house, SAME_COUNTRY, BY_COUNTRY)
    sheet = (await house.submit_week("ana")).id
    caller = claiming(house.caller("carl"), 49)
    with structlog.testing.capture_logs() as lines:
        assert not await may_read(house, caller, sheet)
    told = [line for line in lines if line["event"] == "claim_of_wrong_type"]
    assert told == [
        {
            "event": "claim_of_wrong_type",
            "log_level": "warning",
            "issuer": "acme",
            "attribute": "country",
            "declared": "string",
        }
    ]


@pytest.mark.parametrize(
    ("claimed", "wanted", "value"),
    [
        ("DE", AttributeType.STRING, "DE"),
        (("DE",), AttributeType.STRING, None),
        (3, AttributeType.INT, 3),
        (True, AttributeType.INT, None),
        ("3", AttributeType.INT, None),
        (False, AttributeType.BOOL, False),
        (0, AttributeType.BOOL, None),
        (("b", "a", "b"), AttributeType.STRINGS, ("a", "b")),
        ((), AttributeType.STRINGS, ()),
        ("a", AttributeType.STRINGS, None),
        (None, AttributeType.STRING, None),
        ("yesterday", AttributeType.TIMESTAMP, None),
        ("2026-03-01", AttributeType.TIMESTAMP, None),
        ("2026-03-01T09:00:00", AttributeType.TIMESTAMP, None),
        ("1899-03-01T09:00:00Z", AttributeType.TIMESTAMP, None),
        (1_772_352_000, AttributeType.TIMESTAMP, None),
    ],
)
def test_a_claim_has_a_value_only_of_its_declared_type(
    claimed: ClaimedValue, wanted: AttributeType, value: object
) -> None:
    assert read_claim(claimed, wanted) == value


def test_a_claimed_time_may_have_any_offset() -> None:
    texts = ("2026-03-01T09:00:00+02:00", "2026-03-01T07:00:00Z")
    first, second = (read_claim(text, AttributeType.TIMESTAMP) for text in texts)
    assert first == second is not None


async def test_a_rule_on_a_group_holds_while_its_members_are_in_it(house: House) -> None:
    await declare(house, "", BY_GROUP)
    admin, carl = house.administrator(), house.people["carl"]
    sheet = (await house.submit_week("ana")).id
    for group in ("night-shift", "leavers"):
        await house.groups.add(admin, group)
    assert not await may_read(house, house.caller("carl"), sheet)
    await house.members.add(admin, "night-shift", carl, Validity(NOW + timedelta(days=1), None))
    assert not await may_read(house, house.caller("carl"), sheet)
    joined = (await house.members.add(admin, "night-shift", carl, Validity(None, NOW + timedelta(hours=1)))).value
    assert await may_read(house, house.caller("carl"), sheet)
    assert (await last_read(house))["attributes"]["principal.groups"] == ["night-shift"]
    # The record is enough to decide again, under this version and under another.
    newest = "SELECT body FROM audit_record WHERE action = 'read' ORDER BY id DESC LIMIT 1"
    recorded = parse_request(unpack(await house.owner.fetchval(newest)))
    for rules, verdict in (
        (BY_GROUP, (True, ("read-night",))),
        (BY_GROUP.replace("night-shift", "day-shift"), (False, ())),
    ):
        again = reevaluate(snapshot(*(read_shipped().rules + rules).splitlines()), recorded)
        assert isinstance(again, Verdict)
        assert (again.allowed, again.rules) == verdict
    left = await house.members.add(admin, "leavers", carl)
    assert not await may_read(house, house.caller("carl"), sheet)
    await house.members.end(admin, "leavers", left.value.id)
    assert await may_read(house, house.caller("carl"), sheet)
    await house.members.end(admin, "night-shift", joined.id)
    assert not await may_read(house, house.caller("carl"), sheet)
    # A group is of people: a client that acts for itself is in none.
    assert not await may_read(house, house.machine(scopes=frozenset({"read:timesheets"})), sheet)


BY_PROJECT = """
[kinds.timesheet.relations.project_lead]
is = "resource.projects.leads"
yes = "you lead a project of this week"
no = "you lead no project of this week"
"""


async def test_a_lead_of_a_project_reads_weeks_with_hours_on_it_while_they_lead_it(house: House) -> None:
    await declare(
        house, BY_PROJECT, "p, allow, project_lead, read, any, timesheet, read:timesheets, always, read-project\n"
    )
    admin, carl = house.administrator(), house.people["carl"]
    sheet = (await house.submit_week("ana")).id
    await house.project_leads.add(admin, "gemini", carl)
    assert not await may_read(house, house.caller("carl"), sheet)
    named = (await house.project_leads.add(admin, "apollo", carl)).value
    assert await may_read(house, house.caller("carl"), sheet)
    # Somebody who turns out to be the same human leads it from then on.
    await Merging(house.gate).merge(admin, carl, house.people["ben"])
    assert await may_read(house, house.caller("ben"), sheet)
    held = await house.owner.fetchval("SELECT id FROM project_lead WHERE valid_to = 'infinity' AND project = 'apollo'")
    assert held != named.id
    await house.project_leads.end(admin, "apollo", held)
    assert not await may_read(house, house.caller("ben"), sheet)
