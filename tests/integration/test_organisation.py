"""The tree of teams and its memberships as they change: no cycles, no doubles, history kept, and decisions at once."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from service.directory.entities import Part, Validity
from service.directory.grant_store import MembershipFilter
from service.errors import Conflict, Denied, InvalidField, NotFound
from service.timesheets.timesheet import State
from tests.integration.house import at

if TYPE_CHECKING:
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

DAY = timedelta(days=1)
# The right closure, computed from the parents alone.
CLOSURE = """
    WITH RECURSIVE path AS (
        SELECT id AS ancestor_id, id AS descendant_id, 0 AS depth FROM team
        UNION ALL SELECT path.ancestor_id, team.id, depth + 1 FROM path JOIN team ON team.parent_id = path.descendant_id
        WHERE depth < 50)
    SELECT * FROM path
"""


async def is_closure_right(house: House) -> bool:
    """Whether the stored closure is the one that follows from the parents, without a cycle."""
    stored = {tuple(row) for row in await house.owner.fetch("SELECT ancestor_id, descendant_id, depth FROM team_path")}
    computed = {tuple(row) for row in await house.owner.fetch(CLOSURE)}
    return stored == computed and max(row[2] for row in computed) < 50


async def membership(house: House, name: str) -> UUID:
    found: UUID = await house.owner.fetchval(
        "SELECT id FROM membership WHERE person_id = $1 AND valid_to = 'infinity'", house.people[name]
    )
    return found


async def changes(house: House) -> list[dict[str, Any]]:
    """The records of changes of the directory, oldest first."""
    rows = await house.owner.fetch(
        "SELECT convert_from(body, 'UTF8') AS body FROM audit_record WHERE kind = 'directory' ORDER BY id"
    )
    return [json.loads(row["body"])["change"] for row in rows if "change" in json.loads(row["body"])]


async def test_a_team_is_renamed_and_moved_with_all_below_it(house: House) -> None:
    admin, teams = house.administrator(), house.teams
    below = (await house.directory.add_team(admin, "below east", teams["east"])).value
    await house.directory.replace_team(admin, teams["east"], "orient", teams["west"])
    assert await is_closure_right(house)
    above = await house.owner.fetch("SELECT ancestor_id FROM team_path WHERE descendant_id = $1", below.id)
    assert {row["ancestor_id"] for row in above} == {below.id, teams["east"], teams["west"], teams["division"]}
    change = (await changes(house))[-1]
    assert change["from"] == {"parent": str(teams["division"])}
    assert change["to"] == {"what": "team.changed", "parent": str(teams["west"])}
    await house.directory.replace_team(admin, teams["east"], "orient", None)
    assert await is_closure_right(house)


async def test_a_team_is_not_moved_below_itself(house: House) -> None:
    admin, teams = house.administrator(), house.teams
    for team, parent in (("division", "east"), ("east", "east")):
        with pytest.raises(InvalidField) as refused:
            await house.directory.replace_team(admin, teams[team], team, teams[parent])
        assert [field.field for field in refused.value.fields] == ["parent"]
    with pytest.raises(InvalidField):
        await house.directory.replace_team(admin, teams["east"], "east", uuid4())
    with pytest.raises(NotFound):
        await house.directory.replace_team(admin, uuid4(), "nowhere", None)
    with pytest.raises(Conflict):
        await house.directory.replace_team(admin, teams["east"], "west", teams["division"])
    assert await is_closure_right(house)


async def test_two_moves_at_once_cannot_make_a_cycle(house: House) -> None:
    admin, teams = house.administrator(), house.teams
    for _ in range(5):
        moves = (
            house.directory.replace_team(admin, teams["east"], "east", teams["west"]),
            house.directory.replace_team(admin, teams["west"], "west", teams["east"]),
        )
        outcomes = await asyncio.gather(*moves, return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Answer", "InvalidField"]
        assert await is_closure_right(house)
        for name in ("east", "west"):
            await house.directory.replace_team(admin, teams[name], name, teams["division"])


async def test_the_closure_is_right_after_any_moves(house: House) -> None:
    admin, draw = house.administrator(), random.Random(6)  # noqa: S311 — no secret comes of it
    teams = list(house.teams.values())
    for place in range(6):
        teams.append((await house.directory.add_team(admin, f"team {place}", draw.choice(teams))).value.id)
    refused = 0
    for step in range(30):
        team, parent = draw.choice(teams), draw.choice([None, *teams])
        try:
            await house.directory.replace_team(admin, team, f"moved {step}", parent)
        except InvalidField:
            refused += 1
        assert await is_closure_right(house)
    assert 0 < refused < 30


async def test_a_move_counts_for_decisions_at_once(house: House) -> None:
    sheet = await house.submit_week("ana")
    with pytest.raises(Denied):
        await house.timesheets.approve(house.caller("max"), sheet.id, at(sheet.version))
    moved = await house.directory.move_membership(
        house.administrator(), await membership(house, "ana"), house.teams["west"]
    )
    with pytest.raises(Denied):
        await house.timesheets.approve(house.caller("mia"), sheet.id, at(sheet.version))
    approved = await house.timesheets.approve(house.caller("max"), sheet.id, at(sheet.version))
    assert approved.value.state is State.APPROVED
    assert moved.value.validity.valid_to is None


async def test_moving_a_team_counts_for_decisions_at_once(house: House) -> None:
    sheet = await house.submit_week("ana")
    await house.directory.replace_team(house.administrator(), house.teams["east"], "east", house.teams["west"])
    assert (
        await house.timesheets.approve(house.caller("max"), sheet.id, at(sheet.version))
    ).value.state is State.APPROVED


async def test_a_move_ends_and_begins_at_one_moment_and_both_are_told_with_what_was_before(house: House) -> None:
    old = await membership(house, "ana")
    made = (await house.directory.move_membership(house.administrator(), old, house.teams["west"], Part.LEAD)).value
    ended = await house.owner.fetchval("SELECT valid_to FROM membership WHERE id = $1", old)
    assert (made.validity.valid_from, made.part) == (ended, Part.LEAD)
    told = (await changes(house))[-2:]
    assert [change["to"]["what"] for change in told] == ["membership.ended", "membership.created"]
    assert told[0]["from"]["valid_to"] is None
    assert told[0]["to"]["valid_to"] == told[1]["to"]["valid_from"]


async def test_a_move_that_cannot_begin_does_not_end(house: House) -> None:
    old = await membership(house, "ana")
    for team, error in ((uuid4(), InvalidField), (house.teams["west"], Conflict)):
        if error is Conflict:
            await house.directory.add_membership(
                house.administrator(), house.people["ana"], house.teams["west"], Part.MEMBER
            )
        with pytest.raises(error):
            await house.directory.move_membership(house.administrator(), old, team)
        assert await house.count(f"membership WHERE id = '{old}' AND valid_to = 'infinity'") == 1


async def test_the_history_says_who_was_where(house: House) -> None:
    admin, before = house.administrator(), datetime.now(UTC)
    await house.directory.move_membership(admin, await membership(house, "ana"), house.teams["west"])
    planned = datetime.now(UTC) + DAY
    await house.directory.move_membership(admin, await membership(house, "ana"), house.teams["east"], at=planned)
    ana = house.people["ana"]

    async def where(moment: datetime) -> list[UUID]:
        found = await house.directory.memberships(admin, MembershipFilter(person=ana, as_of=moment))
        return [item.team for item in found.value.items]

    assert await where(before) == [house.teams["east"]]
    assert await where(datetime.now(UTC)) == [house.teams["west"]]
    assert await where(planned) == [house.teams["east"]]
    assert len((await house.directory.memberships(admin, MembershipFilter(person=ana))).value.items) == 3
    assert len((await house.directory.memberships(admin, MembershipFilter(team=house.teams["west"]))).value.items) == 3


async def test_the_memberships_of_several_people_are_one_list(house: House) -> None:
    admin, asked = house.administrator(), (house.people["ana"], house.people["mia"])
    found = (await house.directory.memberships(admin, MembershipFilter(people=asked))).value.items
    everyone = (await house.directory.memberships(admin, limit=200)).value.items
    assert {item.person for item in found} == set(asked)
    assert [item.id for item in found] == [item.id for item in everyone if item.person in asked]
    assert (await house.directory.memberships(admin, MembershipFilter(people=()))).value.items == []


async def test_one_that_has_not_begun_can_be_called_off(house: House) -> None:
    admin, later = house.administrator(), datetime.now(UTC) + DAY
    planned = await house.directory.add_membership(
        admin, house.people["ana"], house.teams["west"], Part.LEAD, Validity(later, None)
    )
    ended = (await house.directory.end_membership(admin, planned.value.id)).value
    assert ended.validity == Validity(later, later)


async def test_two_who_are_given_one_part_at_once_get_it_once(house: House) -> None:
    admin = house.administrator()
    attempts = [
        house.directory.add_membership(admin, house.people["ben"], house.teams["west"], Part.LEAD) for _ in range(4)
    ]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Answer", "Conflict", "Conflict", "Conflict"]


async def test_an_importers_grant_is_given_once_listed_and_ended_later(house: House) -> None:
    admin = house.administrator()
    (grant,) = (await house.directory.importer_grants(admin)).value.items
    with pytest.raises(Conflict):
        await house.directory.grant_importer(admin, grant.client, grant.team)
    soon = datetime.now(UTC) + DAY
    assert (await house.directory.end_importer_grant(admin, grant.id, soon)).value.validity.valid_to == soon
    change = (await changes(house))[-1]
    assert change["from"]["valid_to"] is None
    with pytest.raises(Conflict):
        await house.directory.end_importer_grant(admin, grant.id, soon + DAY)
