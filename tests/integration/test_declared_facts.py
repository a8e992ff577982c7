"""Facts that a vocabulary defines: one SQL expression in single decisions, from memory or not, and in lists; and the
evaluator of CEL finds the same on the recorded values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.authorization.enforcement.decision_point import evaluation_request, resource_of, values_of
from service.authorization.enforcement.declared_facts import facts_under
from service.authorization.enforcement.directory_memory import DirectoryMemory
from service.authorization.enforcement.relationships import Relationships
from service.identity.principal import Principal, PrincipalKind
from service.timesheets.relations import TIMESHEET_FACTS
from service.values import replace
from tests.example_count import example_count
from tests.integration.declared_world import FACTS, REQUEST_FACTS, declare, declared_snapshot, give_values
from tests.integration.house import principal
from tests.integration.random_organisation import CLIENTS, settle
from tests.integration.test_list_law import WHO, Row, World, askers, bounds, expect_lists, filters, lines, policy

if TYPE_CHECKING:
    from service.authorization.enforcement.fact_lookup import FactLookup
    from service.timesheets.listing import Filters
    from tests.integration.house import House
    from tests.integration.test_list_law import Asker

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

RULES = declared_snapshot("p, allow, anyone, read, any, timesheet, any, always, read")
DECLARED = facts_under(TIMESHEET_FACTS, RULES)


@pytest.fixture(params=[1, 2])
async def world(house: House, request: pytest.FixtureRequest) -> World:
    await house.owner.execute(
        "TRUNCATE timesheet, entry, membership, person_role, importer_grant, delegation, fallback_approver,"
        " group_member, project_lead CASCADE"
    )
    organisation = await settle(house.owner, request.param)
    await give_values(house.owner, organisation, request.param)
    return World(organisation, house.owner, {}, DECLARED)


def evaluate_facts(lookup: FactLookup, asker: Principal) -> dict[str, bool | None]:
    """The facts as CEL evaluates them on the values of a lookup."""
    values = values_of(evaluation_request(RULES, asker, "read", resource_of("timesheet", lookup, None), lookup))
    return {fact: RULES.vocabulary.definitions["timesheet", fact].evaluate(values) for fact in FACTS}


async def test_postgres_and_cel_agree_on_every_fact_of_every_sheet(world: World) -> None:
    memory = DirectoryMemory()
    remembering = Relationships([TIMESHEET_FACTS], memory)
    seen: set[tuple[str, bool | None]] = set()
    people = world.organisation.people
    callers = [principal(PrincipalKind.USER, "hours-app", frozenset(), frozenset(), person) for person in people[:8]]
    merged = next(iter(world.organisation.merged))
    callers.append(principal(PrincipalKind.USER, "hours-app", frozenset(), frozenset(), merged))
    callers.append(principal(PrincipalKind.CLIENT, CLIENTS[0], frozenset(), frozenset({"role:auditor"}), None))
    for number, caller in enumerate(callers):
        asker = replace(caller, methods=frozenset({"mfa"}) if number % 2 else None, acr="gold")
        ambient, one_by_one = await world.look(asker)
        asker = replace(asker, authenticated_at=int(ambient.at.timestamp()) - 60 * number if number % 3 else None)
        for sheet, anew in list(one_by_one.items())[number % 3 :: 3]:
            # The first lookup remembers; all that follow rest on what is remembered.
            await remembering.of_row(world.connection, asker, DECLARED, sheet)
            lookup = await remembering.of_row(world.connection, asker, DECLARED, sheet)
            declared = {fact: lookup.facts[fact] for fact in FACTS}
            assert declared == evaluate_facts(lookup, asker)
            assert lookup.attributes == anew.attributes
            assert lookup.caller == anew.caller
            seen |= set(declared.items())
    # Each value of nearly every fact was seen.
    assert len({fact for fact, value in seen if value}) >= len(FACTS) - 3
    assert len({fact for fact, value in seen if value is False}) >= len(FACTS) - 3


CONDITIONS = [*FACTS, *(f"not {fact}" for fact in FACTS), *REQUEST_FACTS, *(f"not {fact}" for fact in REQUEST_FACTS)]
WHEN = st.lists(
    st.sampled_from([*CONDITIONS, "acted_for_owner"]), max_size=3, unique_by=lambda word: word.removeprefix("not ")
).map(sorted)


@settings(max_examples=example_count(35), suppress_health_check=list(HealthCheck), deadline=None)
@given(
    drawn=lines([*WHO, "group:night", "anyone", "anyone"], 6, WHEN),
    who=st.lists(askers, min_size=3, max_size=3, unique_by=lambda who: who[0]),
    wanted=filters,
    bound=bounds,
    owner=st.integers(0, 60),
)
async def test_a_list_with_declared_facts_holds_what_single_reads_allow(
    world: World, drawn: list[Row], who: list[Asker], wanted: Filters, bound: tuple[int, int, int], owner: int
) -> None:
    await expect_lists(world, policy(world, drawn, declare()), who, wanted, bound, owner)
