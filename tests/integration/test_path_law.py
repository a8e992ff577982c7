"""Relations as paths, as a property over random organisations and paths: the SQL for one row, for everybody whom a path
leads to and for lists says what following the path edge by edge says; and lists are the sum of their reads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.authorization.enforcement import relationships
from service.authorization.enforcement.decision_point import Resource, decide, evaluate
from service.authorization.enforcement.declared_facts import facts_under
from service.authorization.enforcement.directory_memory import DirectoryMemory
from service.authorization.enforcement.fact_lookup import look_at_listed_row
from service.authorization.enforcement.fact_statements import bind_listed, fact_columns
from service.authorization.enforcement.path_sql import PathSql
from service.authorization.enforcement.relationships import Relationships
from service.authorization.enforcement.visibility import NAMED, visible
from service.authorization.engine.engine import Snapshot
from service.identity.principal import Principal, PrincipalKind
from service.policy import policy_file
from service.policy.path_parser import parse_paths
from service.policy.paths import EDGES, STARTS, Path
from service.timesheets import approvals_store, listing, reports_store
from service.timesheets.listing import Filters
from service.timesheets.relations import STARTS as TABLES
from service.timesheets.relations import TIMESHEET_FACTS
from service.timesheets.reports_store import Span
from service.timesheets.timesheet import State
from tests import policy_forge
from tests.example_count import example_count
from tests.integration.house import principal
from tests.integration.random_organisation import CLIENTS, Organisation, settle

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.fact_statements import KindFacts
    from service.policy.paths import Chain
    from tests.integration.house import House

    Node = UUID | str
    Edges = Mapping[str, set[tuple[Node, Node]]]

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

VALID = "valid_from <= now() AND now() < valid_to"
# The edges of the directory as pairs, read by plain statements.
PAIRS = {
    "people.teams": f"SELECT person_id, team_id FROM membership WHERE {VALID}",
    "people.groups": f"SELECT person_id, group_name FROM group_member WHERE {VALID}",
    "people.delegates": f"SELECT delegator_id, delegate_id FROM delegation WHERE {VALID}",
    "teams.above": "SELECT descendant_id, ancestor_id FROM team_path",
    "teams.leads": f"SELECT team_id, person_id FROM membership WHERE part = 'lead' AND {VALID}",
    "teams.members": f"SELECT team_id, person_id FROM membership WHERE part = 'member' AND {VALID}",
    "teams.grants": f"SELECT team_id, client_id FROM importer_grant WHERE {VALID}",
    "teams.granted": f"SELECT team_id, person_id FROM access_request WHERE relation = 'relation' AND {VALID}",
    "projects.granted": f"SELECT project, person_id FROM access_request WHERE relation = 'relation' AND {VALID}",
    "projects.leads": f"SELECT project, person_id FROM project_lead WHERE {VALID}",
    "groups.members": f"SELECT group_name, person_id FROM group_member WHERE {VALID}",
    "timesheet.owner": (
        "SELECT r.id, coalesce(m.into_id, r.owner_id) FROM timesheet AS r"
        " LEFT JOIN merged_person AS m ON m.person_id = r.owner_id"
    ),
    "timesheet.projects": "SELECT timesheet_id, project FROM entry",
}


class World:
    """An organisation, and its edges. Hypothesis would print the fields of a dataclass."""

    def __init__(
        self, organisation: Organisation, connection: asyncpg.Connection[asyncpg.Record], edges: Edges
    ) -> None:
        self.organisation, self.connection, self.edges = organisation, connection, edges

    def follow(self, chains: tuple[Chain, ...], sheet: UUID) -> set[Node]:
        """The ends of the chains from a sheet."""
        found: set[Node] = set()
        for chain in chains:
            at: str = "timesheet"
            here: set[Node] = {sheet}
            for step in chain:
                here = {target for source, target in self.edges[f"{at}.{step.edge}"] if source in here}
                here -= self.follow(step.without, sheet)
                at = step.to.value
            found |= here
        return found

    def find_delegators(self, chains: tuple[Chain, ...], sheet: UUID, caller: Node) -> set[Node]:
        """Everybody whose delegation to the caller is the last step of a chain."""
        found: set[Node] = set()
        for chain in chains:
            if chain[-1].edge == "delegates" and caller not in self.follow(chain[-1].without, sheet):
                delegators = self.follow((chain[:-1],), sheet)
                found |= {by for by, to in self.edges["people.delegates"] if to == caller and by in delegators}
        return found


@pytest.fixture(params=[1, 2, 3])
async def world(house: House, request: pytest.FixtureRequest) -> World:
    await house.owner.execute(
        "TRUNCATE timesheet, entry, membership, person_role, importer_grant, delegation, fallback_approver,"
        " project_lead, group_member, access_request CASCADE"
    )
    organisation = await settle(house.owner, request.param)
    edges = {name: {tuple(row) for row in await house.owner.fetch(sql)} for name, sql in PAIRS.items()}
    return World(organisation, house.owner, edges)


def test_every_edge_is_followed_by_a_plain_statement() -> None:
    known = {f"timesheet.{edge}" for edge in STARTS["timesheet"]}
    assert PAIRS.keys() == known | {f"{at}.{edge}" for at, edges in EDGES.items() for edge in edges}
    assert TABLES.keys() == STARTS["timesheet"].keys()


@st.composite
def texts(draw: st.DrawFn, depth: int = 2) -> str:
    """A path, perhaps refused: edges that fit one another, joined or taken away."""
    at = draw(st.sampled_from(sorted(STARTS["timesheet"])))
    found, here = f"resource.{at}", STARTS["timesheet"][at].to
    for _ in range(draw(st.integers(0, 5))):
        edges = EDGES.get(here, {})
        if not edges:
            break
        edge = draw(st.sampled_from(sorted(edges)))
        found, here = f"{found}.{edge}", edges[edge].to
        if depth and here == "people" and draw(st.booleans()):
            other = draw(st.one_of(st.just("resource.owner"), texts(depth=depth - 1)))
            found = f"({found} {draw(st.sampled_from('|-'))} ({other}))"
    return found


def parse(text: str) -> Path | None:
    found = parse_paths("timesheet", {"relation": text})["relation"]
    return found if isinstance(found, Path) else None


paths = texts().filter(lambda text: parse(text) is not None)


def parameters(caller: Node) -> tuple[UUID | None, str]:
    return (
        (None, f'{{"word": "client:{caller}"}}') if isinstance(caller, str) else (caller, '{"word": "via:hours-app"}')
    )


@settings(max_examples=example_count(15), suppress_health_check=list(HealthCheck))
@given(text=paths)
async def test_the_sql_of_a_path_leads_where_its_edges_lead(world: World, text: str) -> None:
    path = parse(text)
    assert path is not None
    expected = {sheet: world.follow(path.chains, sheet) for sheet in world.organisation.sheets}
    sql, merged = PathSql("timesheet", TABLES), world.organisation.merged
    found = await world.connection.fetch(f"SELECT r.id, ARRAY({sql.find_all(path)})::text[] AS ids FROM timesheet AS r")
    assert {row["id"]: set(row["ids"]) for row in found} == {
        sheet: set(map(str, nodes)) for sheet, nodes in expected.items()
    }
    holds = bind_listed(PathSql("timesheet", TABLES).holds(path))
    owners = bind_listed(PathSql("timesheet", TABLES).find_owners(path) or "SELECT NULL::uuid AS owner_id")
    points = bind_listed(PathSql("timesheet", TABLES).find_points(path) or "SELECT NULL::text AS point")
    delegator = bind_listed(PathSql("timesheet", TABLES).find_delegator(path))
    callers: list[Node] = [*world.organisation.people[:4], next(iter(merged)), CLIENTS[0]]
    for caller in callers:
        held = await world.connection.fetch(
            f"SELECT r.id FROM timesheet AS r WHERE ({holds}) AND {NAMED}", *parameters(caller)
        )
        canonical = caller if isinstance(caller, str) else merged.get(caller, caller)
        sheets = {sheet for sheet, nodes in expected.items() if canonical in nodes}
        assert {row["id"] for row in held} == sheets
        acted = await world.connection.fetch(
            f"SELECT r.id, ({delegator}) AS delegator FROM timesheet AS r WHERE {NAMED}", *parameters(caller)
        )
        for row in acted:
            possible = world.find_delegators(path.chains, row["id"], canonical)
            assert row["delegator"] in possible or (row["delegator"] is None and not possible)
        reached = await world.connection.fetch(
            f"""SELECT r.id FROM timesheet AS r WHERE {NAMED} AND (r.owner_id IN (SELECT owner_id FROM ({owners}) AS o)
                OR EXISTS (SELECT FROM entry AS e WHERE e.timesheet_id = r.id
                           AND e.project IN (SELECT point FROM ({points}) AS p)))""",
            *parameters(caller),
        )
        assert sheets <= {row["id"] for row in reached}


RELATIONS = ["owner", "manager", "delegate", "fallback", "importer", "declared", "lead"]
rules = st.lists(
    st.tuples(
        st.sampled_from(["allow", "allow", "allow", "deny"]),
        st.sampled_from([*RELATIONS, "lead", "declared", "declared"]),
        st.sampled_from(["any", "any", "submitted", "draft or rejected"]),
        st.sampled_from(["always", "always", "acted_for_owner", "not acted_for_owner"]),
    ),
    min_size=1,
    max_size=5,
)
bounds = st.sampled_from([(500, 4_000, 2_000, 2_000), (0, 3, 2_000, 2), (2, 8, 2_000, 1), (0, 3, 0, 3)])


def snapshot(text: str, drawn: list[tuple[str, str, str, str]]) -> Snapshot:
    lines = dict.fromkeys(
        f"p, {effect}, {who}, {action}, {states}, timesheet, any, {when}"
        for effect, who, states, when in drawn
        for action in ("read", "approve")
    )
    # As every version must.
    lines["p, deny, owner, approve, any, timesheet, any, always"] = None
    lines["p, deny, anyone, approve, any, timesheet, any, acted_for_owner"] = None
    shipped = policy_forge.rows(*(f"{line}, rule-{place}" for place, line in enumerate(lines)))
    declared = "".join(
        f'\n[kinds.timesheet.relations.{name}]\nis = "{path}"\nyes = "x"\nno = "y"\n'
        for name, path in (("declared", text), ("lead", "resource.projects.leads - resource.owner"))
    )
    return Snapshot.build(policy_file.parse(replace(shipped, vocabulary=shipped.vocabulary + declared)), 1)


async def pending_ids(
    world: World, looked: Relationships, rules: Snapshot, asker: Principal, facts: KindFacts
) -> list[tuple[datetime, UUID]]:
    """All pages of the inbox, four sheets a page."""
    ambient = await looked.ambient(world.connection, asker, facts)
    access_request = evaluate(rules, asker, "approve", Resource("timesheet"), ambient).access_request
    shown = visible(rules, access_request, asker, ambient, facts)
    found: list[tuple[datetime, UUID]] = []
    after = None
    while True:
        page = await approvals_store.list_pending(shown, world.connection, after=after, limit=4)
        found += [(row["submitted_at"], sheet.id) for sheet, row in page.items]
        after = page.after
        if after is None:
            return found


async def list_ids(
    world: World, looked: Relationships, rules: Snapshot, asker: Principal, facts: KindFacts, wanted: Filters
) -> list[tuple[date, UUID]]:
    """All pages of the list, four sheets a page."""
    ambient = await looked.ambient(world.connection, asker)
    access_request = evaluate(rules, asker, "read", Resource("timesheet"), ambient).access_request
    shown = visible(rules, access_request, asker, ambient, facts)
    await looked.find_owners(world.connection, shown)
    found: list[tuple[date, UUID]] = []
    after = None
    while True:
        page = await listing.page(shown, world.connection, wanted, after=after, limit=4)
        found += [(item.period_start, item.id) for item in page.items]
        after = page.after
        if after is None:
            break
    if wanted == Filters():
        span = Span(min(start for start, _ in found), max(start for start, _ in found)) if found else None
        reported = await reports_store.find_visible_sheets(shown, world.connection, span, 1_000) if span else []
        assert set(reported) == {sheet for _, sheet in found}
    return found


@settings(max_examples=example_count(12), suppress_health_check=list(HealthCheck))
@given(
    text=paths,
    drawn=rules,
    who=st.lists(st.integers(0, 15), min_size=3, max_size=3, unique=True),
    bound=bounds,
    state=st.sampled_from([None, None, "submitted"]),
)
async def test_a_list_with_declared_relations_is_the_sum_of_its_reads(
    world: World,
    text: str,
    drawn: list[tuple[str, str, str, str]],
    who: list[int],
    bound: tuple[int, int, int, int],
    state: str | None,
) -> None:
    rules = snapshot(text, drawn)
    facts = facts_under(TIMESHEET_FACTS, rules)
    whole, remembering = Relationships([facts]), Relationships([facts], DirectoryMemory())
    wanted = Filters(states=(State(state),)) if state else Filters()
    for number in who:
        people = world.organisation.people
        asker = (
            principal(PrincipalKind.USER, "hours-app", frozenset(), frozenset(), people[number])
            if number < len(people)
            else principal(PrincipalKind.CLIENT, CLIENTS[number - len(people)], frozenset(), frozenset(), None)
        )
        ambient = await whole.ambient(world.connection, asker)
        rows = await world.connection.fetch(
            f"SELECT r.id, {fact_columns(facts)} FROM timesheet AS r WHERE {NAMED} ORDER BY r.owner_id",
            *parameters(asker.person or asker.client),
        )
        lookups = {row["id"]: look_at_listed_row(ambient, row, facts) for row in rows}
        for sheet in list(lookups)[:6]:
            # From memory, from the second sheet of an owner on.
            again = await remembering.of_row(world.connection, asker, facts, sheet)
            assert again.relations == lookups[sheet].relations
            assert again.on_behalf_of == lookups[sheet].on_behalf_of
        allowed, approvable = (
            {
                sheet
                for sheet, (owner, of, _) in world.organisation.sheets.items()
                if state in {None, of}
                and decide(
                    rules, asker, action, Resource("timesheet", str(sheet), owner, of, 1), lookups[sheet]
                ).allowed
            }
            for action, state in (("read", state), ("approve", "submitted"))
        )
        with pytest.MonkeyPatch.context() as small:
            small.setattr(listing, "FEW", bound[0])
            small.setattr(listing, "WINDOW", bound[1])
            small.setattr(relationships, "MAX_OWNERS_PER_RELATION", bound[2])
            small.setattr(listing, "MANY_ENTRIES", bound[3])
            small.setattr(approvals_store, "FEW", bound[0])
            small.setattr(approvals_store, "WINDOW", bound[1])
            pending = await pending_ids(world, whole, rules, asker, facts)
            found = await list_ids(world, whole, rules, asker, facts, wanted)
        assert found == sorted(found, reverse=True)
        assert len(found) == len({sheet for _, sheet in found})
        assert {sheet for _, sheet in found} == allowed
        assert pending == sorted(pending)
        assert len(pending) == len(approvable)
        assert {sheet for _, sheet in pending} == approvable
    assert rules.errors == 0
