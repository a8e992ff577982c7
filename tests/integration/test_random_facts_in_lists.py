"""The law of lists under random expressions: every fact of every sheet is what CEL finds on the values of the lookup,
and a list holds what single reads allow, with values missing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.authorization.enforcement.decision_point import evaluation_request, resource_of, values_of
from service.authorization.enforcement.declared_facts import facts_under
from service.policy.expressions.expression import Expression, compile_expression
from service.timesheets.listing import Filters
from service.timesheets.relations import TIMESHEET_FACTS
from tests.example_count import example_count
from tests.integration.declared_world import declare, declared_snapshot, give_values
from tests.integration.random_organisation import settle
from tests.integration.test_list_law import WHO, Row, World, askers, bounds, expect_lists, lines, policy
from tests.random_expressions import expressions

if TYPE_CHECKING:
    from tests.integration.house import House
    from tests.integration.random_organisation import Organisation
    from tests.integration.test_list_law import Asker

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

KNOWN = declared_snapshot("p, allow, anyone, read, any, timesheet, any, always, read").vocabulary
# The names and constants of random expressions, and those of this organisation.
HERE = {
    "resource.owner.teams.level": "resource.owner.teams.floor",
    "resource.owner.teams.remote": "resource.projects.secret",
    '"a"': '"DE"',
    '"A"': '"AC"',
    '"ab"': '"apollo"',
    '"b"': '"night"',
    '"a\'b"': '"it\'s :person, $1 \\\\ {}"',
}
FACTS = ("first", "second")
SHEETS = 24
WHEN = st.lists(
    st.sampled_from([*FACTS, *(f"not {fact}" for fact in FACTS)]),
    min_size=1,
    max_size=2,
    unique_by=lambda word: word.removeprefix("not "),
).map(sorted)


def here(text: str) -> str:
    for name, own in HERE.items():
        text = text.replace(name, own)
    return text


@pytest.fixture
async def organisation(house: House) -> Organisation:
    await house.owner.execute(
        "TRUNCATE timesheet, entry, membership, person_role, importer_grant, delegation, fallback_approver,"
        " group_member, project_lead CASCADE"
    )
    made = await settle(house.owner, 4)
    await give_values(house.owner, made, 4)
    # Statements are planned anew for each example, so a few sheets must do.
    kept = dict(sorted(made.sheets.items(), key=lambda item: item[0].int % 1_009)[:SHEETS])
    await house.owner.execute("DELETE FROM entry WHERE timesheet_id <> ALL ($1::uuid[])", list(kept))
    await house.owner.execute("DELETE FROM timesheet WHERE id <> ALL ($1::uuid[])", list(kept))
    return replace(made, sheets=kept)


@settings(max_examples=example_count(8), suppress_health_check=list(HealthCheck))
@given(
    texts=st.tuples(expressions().map(here), expressions().map(here)),
    drawn=lines([*WHO, "anyone", "anyone"], 4, WHEN),
    who=st.lists(askers, min_size=2, max_size=2, unique_by=lambda who: who[0]),
    bound=bounds,
)
async def test_a_list_under_random_facts_holds_what_single_reads_allow(
    house: House,
    organisation: Organisation,
    texts: tuple[str, str],
    drawn: list[Row],
    who: list[Asker],
    bound: tuple[int, int, int],
) -> None:
    found = {
        fact: text
        for fact, text in zip(FACTS, texts, strict=True)
        if isinstance(compile_expression(text, KNOWN.known_attributes("timesheet")), Expression)
    }
    facts = dict.fromkeys(FACTS, "resource.owner.remote") | found
    world = World(organisation, house.owner, {})
    rules = policy(world, drawn, declare(facts, {}))
    world = World(organisation, house.owner, {}, facts_under(TIMESHEET_FACTS, rules))
    for asker in map(world.asker, who):
        _, one_by_one = await world.look(asker)
        for lookup in one_by_one.values():
            resource = resource_of("timesheet", lookup, None)
            values = values_of(evaluation_request(rules, asker, "read", resource, lookup))
            for fact in FACTS:
                evaluated = rules.vocabulary.definitions["timesheet", fact].evaluate(values)
                assert (facts[fact], values, lookup.facts[fact]) == (facts[fact], values, evaluated)
    await expect_lists(world, rules, who, Filters(), bound, 1_000)
