"""The law of lists (promise 4), as a property: over random organisations and random policies, and by every way that a
list can look for its rows, the pages of a list together hold exactly the sheets that single reads allow.

Nothing is recorded here, so that hundreds of pairs of a policy and an asker take seconds;
test_lists_are_the_sum_of_reads asks the same of the use cases.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, cast, get_args
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.authorization.enforcement import relationships
from service.authorization.enforcement.decision_point import Resource, evaluate
from service.authorization.enforcement.relationships import Relationships
from service.authorization.enforcement.visibility import visible
from service.authorization.engine.engine import Snapshot
from service.identity.principal import UNLISTED, Principal, PrincipalKind
from service.policy import policy_file
from service.timesheets import listing
from service.timesheets.listing import Filters, Sort, SortKey
from service.timesheets.relations import TIMESHEET_FACTS
from service.timesheets.timesheet import State
from service.values import replace
from tests.example_count import example_count
from tests.integration.house import principal
from tests.integration.random_organisation import CLIENTS, PROJECTS, Organisation, settle
from tests.policy_forge import rows

if TYPE_CHECKING:
    import asyncpg

    from service.authorization.enforcement.fact_lookup import FactLookup
    from service.authorization.enforcement.fact_statements import KindFacts
    from service.database import Connection
    from service.timesheets.timesheet import Timesheet
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

RELATIONSHIPS = Relationships([TIMESHEET_FACTS])
SCOPES = ["read:timesheets", "approve:timesheets", "read:audit"]
CONDITIONS = [
    word
    for fact in ("acted_for_owner", "locked_by_asker", "mfa", "recent_sign_in", "agent")
    for word in (fact, f"not {fact}")
]
# The first two people of every organisation are named in rules.
WHO = [
    "owner",
    "manager",
    "importer",
    "delegate",
    "fallback",
    "owner",
    "manager",
    "anyone",
    "role:auditor",
    "role:nobody",
    "person:0",
]
WHO += ["person:1", "client:payroll-import", "client:hours-app", "via:hours-app", "temporary_approver"]
WHO += ["group:finance", "actor:assistant", "actor:tool", "client:assistant"]
STATES = ["any", "any", "draft", "submitted", "draft or rejected", "approved or submitted", "locked"]
SCOPE = st.sampled_from(["any", "any", *SCOPES])
# In order, since two rows that differ by the order of their conditions are a repetition, which is refused.
WHEN = st.lists(st.sampled_from(CONDITIONS), max_size=2, unique_by=lambda word: word.removeprefix("not ")).map(sorted)
Row = tuple[str, str, str, str, list[str]]


def lines(who: list[str], most: int, when: st.SearchStrategy[list[str]] = WHEN) -> st.SearchStrategy[list[Row]]:
    effect = st.sampled_from(["allow", "allow", "deny"])
    return st.lists(
        st.tuples(effect, st.sampled_from(who), st.sampled_from(STATES), SCOPE, when), min_size=1, max_size=most
    )


RELATIONS = ["owner", "manager", "delegate", "fallback", "importer", "temporary_approver"]
related: st.SearchStrategy[Row] = st.tuples(
    st.just("allow"), st.sampled_from(RELATIONS), st.just("any"), st.just("any"), st.just([])
)
# Rules on relations alone, of which one speaks of any sheet: these lists start from owners. And any rules at all.
policies = st.one_of(
    st.tuples(related, lines(RELATIONS, 3)).map(lambda both: [both[0], *both[1]]),
    lines(WHO, 6),
)
# Whether an agent acts, by the actors: the assistant is one, and of an actor that is not listed it is not known.
ACTORS: dict[tuple[str, ...], bool | None] = {
    (): False,
    ("assistant",): True,
    ("tool", "assistant"): True,
    ("tool",): False,
    (UNLISTED,): None,
}
Asker = tuple[int, frozenset[str], frozenset[str], frozenset[str] | None, int | None, tuple[str, ...]]
askers = st.tuples(
    st.integers(0, 15),
    st.one_of(st.just(frozenset(SCOPES)), st.frozensets(st.sampled_from(SCOPES))),
    st.sampled_from([frozenset(), frozenset({"role:auditor"})]),
    st.sampled_from([None, frozenset[str](), frozenset({"mfa"})]),
    st.sampled_from([None, 10, 100_000]),
    st.sampled_from(sorted(ACTORS)),
)
filters = st.builds(
    Filters,
    states=st.lists(st.sampled_from(State), max_size=3, unique=True).map(tuple),
    projects=st.lists(st.sampled_from(PROJECTS), max_size=2, unique=True).map(tuple),
    sort=st.sampled_from(get_args(Sort)),
    since=st.none() | st.just(date(2026, 4, 1)),
    until=st.none() | st.just(date(2026, 4, 22)),
)
# How many owners are few, and how many sheets are looked at first where owners are many: so small, every way is taken.
# How many owners a list starts from, how many sheets it tests first, and for how many owners a relation is looked up.
bounds = st.sampled_from([(500, 4_000, 2_000), (0, 3, 2_000), (2, 8, 2_000), (0, 3, 0), (0, 4_000, 0), (500, 4_000, 4)])


@dataclass(slots=True, repr=False)
class RowsTogether:
    """Stands for the connection of single lookups that ask the same of many rows, and reads all by one
    statement: to start its plan takes ten times as long as to read a row."""

    connection: asyncpg.Connection[asyncpg.Record]
    ids: list[UUID]
    rows: dict[UUID, asyncpg.Record] = field(default_factory=dict)

    async def fetchrow(self, statement: str, *parameters: object) -> asyncpg.Record:
        if not self.rows:
            single = re.sub(r"\$3\b", "wanted.row_id", statement)
            together = (
                "SELECT wanted.row_id AS wanted_id, found.* FROM unnest($3::uuid[]) AS wanted (row_id)"
                f" CROSS JOIN LATERAL ({single}) AS found"
            )
            rows = await self.connection.fetch(together, *parameters[:2], self.ids, *parameters[3:])
            self.rows = {row["wanted_id"]: row for row in rows}
        return self.rows[cast("UUID", parameters[2])]


@dataclass(slots=True, repr=False)
class World:
    """An organisation, and what each asker is to each of its sheets, read once as single reads read it. `facts`: those
    of the version."""

    organisation: Organisation
    connection: asyncpg.Connection[asyncpg.Record]
    lookup: dict[tuple[object, ...], tuple[FactLookup, dict[UUID, FactLookup]]]
    facts: KindFacts = TIMESHEET_FACTS

    def __repr__(self) -> str:
        # Hypothesis shows the arguments of a failure, and here that would be all lookups.
        return f"World of {len(self.organisation.sheets)} sheets"

    async def look(self, asker: Principal) -> tuple[FactLookup, dict[UUID, FactLookup]]:
        # Facts that a version declares may ask for anything that a token says.
        token = (
            () if self.facts is TIMESHEET_FACTS else (asker.roles, asker.methods, asker.authenticated_at, asker.actors)
        )
        key = (asker.person, asker.client, *(() if self.facts is TIMESHEET_FACTS else token))
        if key not in self.lookup:
            ambient = await RELATIONSHIPS.ambient(self.connection, asker, self.facts)
            together = cast("Connection", RowsTogether(self.connection, list(self.organisation.sheets)))
            one_by_one = {
                sheet: await RELATIONSHIPS.of_row(together, asker, self.facts, sheet)
                for sheet in self.organisation.sheets
            }
            self.lookup[key] = (ambient, one_by_one)
        return self.lookup[key]

    async def match(self, wanted: Filters) -> set[UUID]:
        """The sheets that match the projects and the team of the filters, found one by one."""
        if not wanted.projects and wanted.team is None:
            return set(self.organisation.sheets)
        hours = await self.connection.fetch("SELECT timesheet_id, project FROM entry")
        on_project = {hour["timesheet_id"] for hour in hours if hour["project"] in wanted.projects}
        parents = dict(map(tuple, await self.connection.fetch("SELECT id, parent_id FROM team")))
        belongs = await self.connection.fetch(
            "SELECT person_id, team_id FROM membership"
            " WHERE part = 'member' AND valid_from <= now() AND now() < valid_to"
        )

        def is_below(team: UUID | None) -> bool:
            return team is not None and (team == wanted.team or is_below(parents[team]))

        members = [person for person, team in belongs if is_below(team)]
        return {
            sheet
            for sheet, (owner, _, _) in self.organisation.sheets.items()
            if (not wanted.projects or sheet in on_project)
            and (wanted.team is None or any(self.organisation.same(person, owner) for person in members))
        }

    async def minutes_of(self, sheets: set[UUID]) -> int:
        found = await self.connection.fetchval(
            "SELECT coalesce(sum(minutes), 0) FROM entry WHERE timesheet_id = ANY($1)", list(sheets)
        )
        return int(found)

    def asker(self, drawn: Asker) -> Principal:
        number, scopes, roles, methods, age, actors = drawn
        people = self.organisation.people
        if number < len(people):
            made = principal(PrincipalKind.USER, "hours-app", scopes, roles, people[number])
        else:
            made = principal(PrincipalKind.CLIENT, CLIENTS[number - len(people)], scopes, roles, None)
        since = (
            None
            if age is None
            else int(next(iter(self.lookup.values()))[0].at.timestamp()) - age
            if self.lookup
            else None
        )
        return replace(made, methods=methods, authenticated_at=since, actors=actors, agent=ACTORS[actors])


@pytest.fixture(params=[1, 2, 3])
async def world(house: House, request: pytest.FixtureRequest) -> World:
    await house.owner.execute(
        "TRUNCATE timesheet, entry, membership, person_role, importer_grant, delegation, fallback_approver CASCADE"
    )
    world = World(await settle(house.owner, request.param), house.owner, {})
    await world.look(principal(PrincipalKind.USER, "hours-app", frozenset(), frozenset(), world.organisation.people[0]))
    return world


def policy(world: World, drawn: list[Row], vocabulary: str | None = None) -> Snapshot:
    people = world.organisation.people
    lines = dict.fromkeys(
        f"p, {effect}, {who}, read, {states}, timesheet, {scope}, {' and '.join(when) or 'always'}"
        for effect, who, states, scope, when in drawn
    )
    named = [
        line.replace("person:0", f"person:{people[0]}").replace("person:1", f"person:{people[1]}") for line in lines
    ]
    text = rows(*(f"{line}, rule-{place}" for place, line in enumerate(named)))
    return Snapshot.build(policy_file.parse(replace(text, vocabulary=vocabulary or text.vocabulary)), 1)


def expect_ids(
    world: World, rules: Snapshot, asker: Principal, lookup: dict[UUID, FactLookup], wanted: Filters
) -> set[UUID]:
    """The ids of the filtered sheets that single reads allow."""
    found = set()
    for sheet, (owner, state, start) in world.organisation.sheets.items():
        resource = Resource("timesheet", str(sheet), owner, state, 1)
        fits = not wanted.states or state in wanted.states
        fits &= not isinstance(wanted.owner, UUID) or world.organisation.same(wanted.owner, owner)
        fits &= wanted.since is None or start + timedelta(days=6) >= wanted.since
        if (
            fits
            and (wanted.until is None or start <= wanted.until)
            and evaluate(rules, asker, "read", resource, lookup[sheet]).allowed
        ):
            found.add(sheet)
    return found


def sort_key_of(sheet: Timesheet, key: str) -> SortKey:
    """The sort key of a sheet, for a caller who may see no names."""
    if key == "owner_name":
        return ""
    found: SortKey | None = getattr(sheet, key)
    return datetime.fromtimestamp(0, UTC) if found is None else found


async def list_ids(
    world: World, rules: Snapshot, asker: Principal, ambient: FactLookup, wanted: Filters
) -> list[tuple[SortKey, UUID]]:
    """All pages of the list, four sheets a page: sort keys and ids. No rule lets anybody see names."""
    access_request = evaluate(rules, asker, "read", Resource("timesheet"), ambient).access_request
    shown = visible(rules, access_request, asker, ambient, world.facts)
    await RELATIONSHIPS.find_owners(world.connection, shown)
    found: list[tuple[SortKey, UUID]] = []
    after = None
    while True:
        page = await listing.page(shown, world.connection, wanted, after=after, limit=4)
        found += [(sort_key_of(item, wanted.sort_key), item.id) for item in page.items]
        after = page.after
        if after is None:
            return found


async def total_list(
    world: World, rules: Snapshot, asker: Principal, ambient: FactLookup, wanted: Filters
) -> tuple[set[UUID], int]:
    """The totals of the list."""
    access_request = evaluate(rules, asker, "read", Resource("timesheet"), ambient).access_request
    shown = visible(rules, access_request, asker, ambient, world.facts)
    await RELATIONSHIPS.find_owners(world.connection, shown)
    found = await listing.total(shown, world.connection, wanted, 10_000)
    assert len(found.ids) == len(set(found.ids))
    return set(found.ids), found.minutes


@settings(max_examples=example_count(35, uncut=50), suppress_health_check=list(HealthCheck))
@given(
    drawn=policies,
    who=st.lists(askers, min_size=4, max_size=4, unique_by=lambda who: who[0]),
    wanted=st.one_of(st.just(Filters()), filters),
    bound=bounds,
    owner=st.integers(0, 60),
)
async def test_the_pages_of_a_list_hold_what_single_reads_allow(
    world: World,
    drawn: list[Row],
    who: list[Asker],
    wanted: Filters,
    bound: tuple[int, int, int],
    owner: int,
) -> None:
    rules = policy(world, drawn)
    await expect_lists(world, rules, who, wanted, bound, owner)


async def expect_lists(
    world: World,
    rules: Snapshot,
    who: list[Asker],
    wanted: Filters,
    bound: tuple[int, int, int],
    owner: int,
) -> None:
    """The pages of each asker's list hold the sheets that single reads allow. `owner`: whose sheets, if it is a
    number of theirs."""
    known = [*world.organisation.people, *world.organisation.merged]
    if owner < len(known):
        wanted = replace(wanted, owner=known[owner])
    if owner % 5 == 0:
        wanted = replace(wanted, team=world.organisation.teams[owner % len(world.organisation.teams)])
    matching = await world.match(wanted)
    for place, asker in enumerate(map(world.asker, who)):
        ambient, one_by_one = await world.look(asker)
        with pytest.MonkeyPatch.context() as small:
            small.setattr(listing, "FEW", bound[0])
            small.setattr(listing, "WINDOW", bound[1])
            small.setattr(relationships, "MAX_OWNERS_PER_RELATION", bound[2])
            found = await list_ids(world, rules, asker, ambient, wanted)
        assert found == sorted(found, reverse=not wanted.ascending)
        assert len(found) == len({sheet for _, sheet in found})
        expected = expect_ids(world, rules, asker, one_by_one, wanted) & matching
        assert {sheet for _, sheet in found} == expected
        if place == 0:
            totals = await total_list(world, rules, asker, ambient, wanted)
            assert totals == (expected, await world.minutes_of(expected))
    assert rules.errors == 0
