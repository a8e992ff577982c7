"""The law of lists where many rules share facts that are computed once a row: such a list holds what single reads
allow, with values missing."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from service.authorization.enforcement.decision_point import Resource, evaluate
from service.authorization.enforcement.declared_facts import facts_under
from service.authorization.enforcement.visibility import GIVEN_FACTS, visible
from service.timesheets.listing import Filters
from service.timesheets.relations import TIMESHEET_FACTS
from tests.integration.declared_world import FACTS, declare, give_values
from tests.integration.random_organisation import settle
from tests.integration.test_list_law import SCOPES, World, expect_ids, expect_lists, policy

if TYPE_CHECKING:
    from tests.integration.house import House
    from tests.integration.test_list_law import Asker, Row

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

# Facts about owners alone: lists by them start from owners.
ABOUT_OWNERS = ["remote_owner", "same_country", "shares_tag", "senior", "in_region", "has_level", "upstairs"]
ASKERS: list[Asker] = [
    (0, frozenset(SCOPES), frozenset({"role:auditor"}), frozenset({"mfa"}), 10, ()),
    (3, frozenset(SCOPES), frozenset[str](), None, None, ("tool",)),
    (15, frozenset(SCOPES), frozenset[str](), frozenset[str](), 100_000, ()),
]
# See test_list_law: every way to look for the rows is taken.
BOUNDS = [(500, 4_000, 2_000), (0, 3, 2_000), (0, 3, 0)]


@pytest.fixture
async def world(house: House) -> World:
    organisation = await settle(house.owner, 4)
    await give_values(house.owner, organisation, 4)
    return World(organisation, house.owner, {})


def draw_rows(draw: random.Random, effect: str, who: list[str], facts: list[str], conditions: int) -> list[Row]:
    """100 rules with this number of conditions each, some of them on a state."""
    return [
        (
            effect,
            draw.choice(who),
            draw.choice(["any", "any", "draft", "submitted or approved"]),
            "any",
            sorted(draw.choice(["", "not "]) + fact for fact in draw.sample(facts, conditions)),
        )
        for _ in range(100)
    ]


@pytest.mark.parametrize(
    ("who", "facts"),
    [
        (["owner", "manager", "delegate", "fallback", "importer"], [*FACTS, "acted_for_owner"]),
        (["anyone", "manager"], [*FACTS, "acted_for_owner"]),
        (["anyone", "manager"], ABOUT_OWNERS),
    ],
    ids=["by relations", "anybody's", "by facts about owners"],
)
async def test_a_list_under_many_rules_holds_what_single_reads_allow(
    world: World, who: list[str], facts: list[str]
) -> None:
    draw = random.Random(7)  # noqa: S311 — no secret comes of it
    drawn = [
        *draw_rows(draw, "allow", who, facts, 3),
        *draw_rows(draw, "deny", ["anyone", "owner", "manager"], [*FACTS, "acted_for_owner"], 9),
    ]
    rules = policy(world, drawn, declare())
    world = World(world.organisation, world.connection, {}, facts_under(TIMESHEET_FACTS, rules))
    shown = 0
    for asker in map(world.asker, ASKERS):
        ambient, one_by_one = await world.look(asker)
        request = evaluate(rules, asker, "read", Resource("timesheet"), ambient).access_request
        assert visible(rules, request, asker, ambient, world.facts).condition.count(f"AS {GIVEN_FACTS}") == 2
        shown += len(expect_ids(world, rules, asker, one_by_one, Filters()))
    assert 0 < shown < len(world.organisation.sheets) * len(ASKERS)
    for bound in BOUNDS:
        await expect_lists(world, rules, ASKERS, Filters(), bound, 1_001)
