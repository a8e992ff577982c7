"""The plans of lists: the rows and blocks that a page reads, for any caller, stay the same when the table grows."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pytest

from service.authorization.enforcement.fact_statements import bind_parameters
from service.directory import grant_store
from service.directory.grant_store import MembershipFilter
from service.errors import InvalidField
from service.timesheets import listing
from service.timesheets.listing import MAX_SORTED_SHEETS, Filters
from service.timesheets.relations import TIMESHEET_FACTS
from service.timesheets.timesheet import State
from tests.benchmarks.crowd import AUDITOR, MANAGER, OWNER, Crowd, gather, sight

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.visibility import Visibility
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

PAGE = 50
# The newest week of the crowd.
MONDAY = date(2026, 11, 23)


class Explaining:
    """A connection that explains each statement after it ran, and adds up what it cost."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], table: str = "timesheet") -> None:
        self.connection, self.table = connection, table
        self.rows, self.blocks, self.scans = 0, 0, set[str]()

    async def fetch(self, statement: str, *parameters: object) -> list[asyncpg.Record]:
        explained = await self.connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *parameters)
        plan = json.loads(explained)[0]["Plan"]
        self.blocks += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        for node in _nodes(plan):
            # Where no sheet has hours, the table is empty.
            if node.get("Relation Name") == "entry" and node["Shared Hit Blocks"] + node["Shared Read Blocks"]:
                self.scans.add(node["Node Type"])
            if node.get("Relation Name") == self.table:
                looked_at = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
                self.rows += round(looked_at * node["Actual Loops"])
                self.scans.add(node["Node Type"])
        return await self.connection.fetch(statement, *parameters)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from _nodes(below)


async def cost(house: House, shown: Visibility, filters: Filters, after: listing.Place | None) -> Explaining:
    explaining = Explaining(house.owner)
    await listing.page(shown, explaining, filters, after=after, limit=PAGE)  # type: ignore[arg-type]  # it only fetches
    return explaining


async def measure(house: House, crowd: Crowd) -> dict[str, Explaining]:
    """The cost of first, deep and narrowed pages for every asker."""
    found = {}
    small = "SELECT team_id FROM membership WHERE part = 'member' GROUP BY 1 ORDER BY count(*), 1 LIMIT 1"
    team = await house.owner.fetchval(small)
    for who, asker in (await crowd.cast(house.owner)).items():
        shown = await sight(house.owner, asker, OWNER, MANAGER, AUDITOR)
        page = await listing.page(shown, house.owner, Filters(), after=None, limit=PAGE)
        for name, filters, after in (
            ("first", Filters(), None),
            ("second", Filters(), page.after),
            ("submitted", Filters(states=(State.SUBMITTED,)), None),
            ("oldest first", Filters(sort="period_start"), None),
            ("a week by minutes", Filters(since=MONDAY, until=MONDAY, sort="-minutes"), None),
            ("a week by submission", Filters(since=MONDAY, until=MONDAY, sort="-submitted_at"), None),
            ("a week by name", Filters(since=MONDAY, until=MONDAY, sort="owner_name"), None),
            ("two states of a team", Filters(states=(State.SUBMITTED, State.DRAFT), team=team), None),
        ):
            found[f"{who}, {name}"] = await cost(house, shown, filters, after)
    return found


async def test_a_page_touches_as_many_rows_in_a_table_of_a_hundred_thousand_as_in_one_of_ten(house: House) -> None:
    """Ten times the sheets, of the same people: nobody's page may touch many more rows or blocks for it."""
    small = await gather(house.owner, people=1_000, weeks=10)
    before = await measure(house, small)
    await house.owner.execute("TRUNCATE timesheet, entry, membership, team_path, team, importer_grant CASCADE")
    await house.owner.execute(
        "DELETE FROM person WHERE id IN (SELECT md5('person' || n)::uuid FROM generate_series(0, 1000) AS n)"
    )
    after = await measure(house, await gather(house.owner, people=1_000, weeks=100))
    assert before.keys() == after.keys()
    for name, now in after.items():
        assert "Seq Scan" not in now.scans, name
        # Ten owners with ten sheets have no page of fifty each, and with a hundred they have, looked at twice.
        assert now.rows <= before[name].rows * 1.5 + 20 * (PAGE + 1), (name, before[name].rows, now.rows)
        # Ten blocks or so to ask three indexes what the asker is to a row.
        assert now.blocks <= 15 * now.rows + 500, (name, now.rows, now.blocks)
        assert now.rows <= 6_000, (name, now.rows)


async def test_a_list_that_is_too_long_to_sort_is_refused_after_as_many_rows_as_it_may_have(house: House) -> None:
    crowd = await gather(house.owner, people=1_000, weeks=25)
    await crowd.lead_projects(house.owner)
    cast = await crowd.cast(house.owner)
    for who in ("the lead of all", "an auditor who sees all"):
        shown = await sight(house.owner, cast[who], OWNER, MANAGER, AUDITOR)
        for sort in ("-updated_at", "submitted_at", "minutes", "owner_name"):
            explaining = Explaining(house.owner)
            with pytest.raises(InvalidField, match=r"query\.sort"):
                await listing.page(shown, explaining, Filters(sort=sort), after=None, limit=PAGE)  # type: ignore[arg-type]  # as above
            assert "Seq Scan" not in explaining.scans, (who, sort)
            assert explaining.rows <= MAX_SORTED_SHEETS + 1_000, (who, sort, explaining.rows)


async def test_whoever_sees_nothing_looks_at_no_sheet(house: House) -> None:
    crowd = await gather(house.owner, people=1_000, weeks=50)
    nobody = (await crowd.cast(house.owner))["somebody who sees nothing"]
    shown = await sight(house.owner, nobody, OWNER, MANAGER)
    found = await cost(house, shown, Filters(), None)
    assert found.rows == 0
    assert found.blocks < 50


async def test_a_single_read_asks_a_relation_from_the_owner_and_not_of_everybody_who_is_led(house: House) -> None:
    crowd = await gather(house.owner, people=2_000, weeks=1)
    cast = await crowd.cast(house.owner)
    lead, delegate = cast["the lead of all"].person, cast["somebody who sees nothing"].person
    # The lead of all has one delegate.
    await house.owner.execute(
        "INSERT INTO delegation (id, delegator_id, delegate_id, valid_from) VALUES (gen_random_uuid(), $1, $2, now())",
        lead,
        delegate,
    )
    await house.owner.execute("VACUUM ANALYZE delegation")
    await few_rows(house, {"manager": lead, "delegate": delegate, "on_behalf_of": delegate})
    # The delegate has many delegators, and is a fallback approver everywhere and for every team.
    await house.owner.execute(
        "INSERT INTO delegation (id, delegator_id, delegate_id, valid_from)"
        " SELECT gen_random_uuid(), id, $1::uuid, now() FROM person WHERE id <> $1"
        " UNION ALL SELECT gen_random_uuid(), $2::uuid, id, now() FROM person"
        " WHERE id NOT IN ($1, $2)",
        delegate,
        lead,
    )
    await house.owner.execute(
        "INSERT INTO fallback_approver (id, person_id, team_id, valid_from)"
        " SELECT gen_random_uuid(), $1::uuid, id, now() FROM team UNION ALL"
        " SELECT gen_random_uuid(), $1::uuid, NULL, now()",
        delegate,
    )
    await house.owner.execute("VACUUM ANALYZE delegation, fallback_approver")
    await few_rows(house, {"manager": lead, "delegate": delegate, "on_behalf_of": delegate, "fallback": delegate})


async def test_the_teams_of_a_page_of_people_are_read_by_the_index_on_people(house: House) -> None:
    """A hundred people of two thousand, each with twenty former memberships."""
    await gather(house.owner, people=2_000, weeks=1)
    await house.owner.execute(
        "INSERT INTO membership (id, person_id, team_id, part, valid_from, valid_to)"
        " SELECT gen_random_uuid(), person_id, team_id, part, at, at + interval '1 day'"
        " FROM membership, generate_series(now() - interval '40 days', now() - interval '2 days', interval '2 days') at"
    )
    await house.owner.execute("VACUUM ANALYZE membership")
    people = [row["person_id"] for row in await house.owner.fetch("SELECT person_id FROM membership LIMIT 100")]
    of = MembershipFilter(people=tuple(people), as_of=datetime.now(UTC))
    async with house.gate.list(house.administrator(), "directory", "read") as listing_of:
        explaining = Explaining(house.owner, "membership")
        await grant_store.list_memberships(listing_of.visibility, explaining, of, None, 200)  # type: ignore[arg-type]  # as above
    assert "Seq Scan" not in explaining.scans
    assert explaining.rows <= 100 * 30


async def few_rows(house: House, askers: dict[str, UUID | None]) -> None:
    """The relations of a caller to one sheet are read from a handful of rows."""
    words = {**TIMESHEET_FACTS.relations, "on_behalf_of": TIMESHEET_FACTS.on_behalf_of}
    for word, asker in askers.items():
        expression = bind_parameters(
            words[word], person=f"'{asker}'::uuid", word="'via:hours-app'", former="'{}'::uuid[]"
        )
        explained = await house.owner.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT {expression} FROM timesheet AS r"
            " WHERE r.owner_id = md5('person1999')::uuid"
        )
        plan = json.loads(explained)[0]["Plan"]
        assert sum(node["Actual Rows"] * node["Actual Loops"] for node in _nodes(plan)) < 60, word
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 80, word
