"""The plan of a list by a fact about owners: few owners are found first, however many sheets there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.authorization.enforcement.decision_point import Resource, evaluate
from service.authorization.enforcement.declared_facts import facts_under
from service.authorization.enforcement.relationships import Relationships
from service.authorization.enforcement.visibility import visible
from service.identity.principal import PrincipalKind
from service.timesheets import listing
from service.timesheets.listing import Filters
from service.timesheets.relations import TIMESHEET_FACTS
from tests.benchmarks.crowd import gather
from tests.integration.declared_world import declared_snapshot
from tests.integration.house import principal
from tests.integration.test_list_plans import cost

if TYPE_CHECKING:
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

RULES = declared_snapshot("p, allow, anyone, read, any, timesheet, any, same_country, read-country")
FACTS = facts_under(TIMESHEET_FACTS, RULES)


async def test_a_list_of_a_small_country_reads_the_sheets_of_its_people(house: House) -> None:
    await gather(house.owner, people=1_000, weeks=50)
    # Four people work in Iceland, among them the asker; the country of the others is not known.
    icelanders = await house.owner.fetchval(
        "SELECT array_agg(md5('person' || n)::uuid) FROM unnest(ARRAY[10, 20, 500, 900]) AS n"
    )
    await house.owner.execute(
        'UPDATE person SET attributes = \'{"country": "IS"}\' WHERE id = ANY ($1::uuid[])', icelanders
    )
    await house.owner.execute("VACUUM ANALYZE person")
    asker = principal(PrincipalKind.USER, "hours-app", frozenset(), frozenset(), icelanders[0])
    ambient = await Relationships([FACTS]).ambient(house.owner, asker, FACTS)
    request = evaluate(RULES, asker, "read", Resource("timesheet"), ambient).access_request
    shown = visible(RULES, request, asker, ambient, FACTS)
    page = await listing.page(shown, house.owner, Filters(), after=None, limit=50)
    newest = await house.owner.fetch(
        "SELECT id FROM timesheet WHERE owner_id = ANY ($1::uuid[]) ORDER BY period_start DESC, id DESC LIMIT 50",
        icelanders,
    )
    assert [row["id"] for row in page.rows] == [row["id"] for row in newest]
    found = await cost(house, shown, Filters(), None)
    # The newest 4,000 of 50,000 sheets are tested first.
    assert found.rows <= 4_500
    assert found.blocks <= 25_000
