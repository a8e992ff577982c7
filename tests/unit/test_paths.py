"""Relations as paths: what is accepted, what it means, and what the author of a flawed path reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.policy.expressions.flaw import Flaw
from service.policy.path_parser import MAX_CHAINS, MAX_STEPS, default_paths, parse_paths
from service.policy.paths import DEFAULT_PATHS, NodeType, Path, all_edge_words, edge_words, meeting_place


def parse(text: str, **others: str) -> Path:
    found = parse_paths("timesheet", {"relation": text, **others})["relation"]
    assert isinstance(found, Path), found
    return found


def refuse(text: str, **others: str) -> Flaw:
    found = parse_paths("timesheet", {"relation": text, **others})["relation"]
    assert isinstance(found, Flaw), found
    return found


def edges(path: Path) -> list[list[str]]:
    return [[step.edge for step in chain] for chain in path.chains]


def test_the_relations_that_older_versions_do_not_declare_have_paths() -> None:
    assert default_paths("timesheet").keys() == DEFAULT_PATHS["timesheet"].keys()


def test_a_path_is_the_edges_that_it_follows() -> None:
    path = parse("resource.owner.teams.above.leads")
    assert edges(path) == [["owner", "teams", "above", "leads"]]
    assert path.to is NodeType.PEOPLE
    assert edge_words("timesheet", path) == {"timesheet.owner", "people.teams", "teams.above", "teams.leads"}


def test_every_edge_of_a_path_is_known_to_the_code() -> None:
    for path in default_paths("timesheet").values():
        assert edge_words("timesheet", path) <= all_edge_words()


def test_a_path_from_projects_does_not_follow_from_the_owner_alone() -> None:
    assert parse("resource.owner.teams.leads - resource.owner").by_owner
    assert not parse("resource.projects.leads").by_owner
    assert not parse("resource.owner.teams.leads - resource.projects.leads").by_owner


def test_spaces_change_nothing() -> None:
    assert parse(" resource . owner.teams.leads-resource.owner ") == parse(
        "resource.owner.teams.leads - resource.owner"
    )


def test_what_is_taken_away_stands_with_the_step_that_it_is_taken_from() -> None:
    path = parse("(resource.owner.teams.leads - resource.owner).delegates")
    [chain] = path.chains
    assert [len(step.without) for step in chain] == [0, 0, 1, 0]


def test_operators_have_one_rank_from_left_to_right() -> None:
    first = "resource.owner.teams.leads"
    together = parse(f"{first} | resource.projects.leads - resource.owner")
    assert together == parse(f"({first} | resource.projects.leads) - resource.owner")
    assert together != parse(f"{first} | (resource.projects.leads - resource.owner)")


def test_brackets_before_an_edge_follow_it_from_each_branch() -> None:
    path = parse("(resource.owner.teams.leads | resource.projects.leads).delegates")
    assert edges(path) == [["owner", "teams", "leads", "delegates"], ["projects", "leads", "delegates"]]


def test_the_same_branch_twice_is_one() -> None:
    assert parse("resource.owner | resource.owner") == parse("resource.owner")


def test_a_relation_of_the_kind_stands_for_its_path() -> None:
    lead = "resource.projects.leads - resource.owner"
    assert parse("resource.lead.delegates", lead=lead) == parse(f"({lead}).delegates")


def test_a_path_may_lead_through_many_people_where_the_caller_leads_back_to_few() -> None:
    [chain] = parse("resource.owner.groups.members.delegates").chains
    assert chain[meeting_place("timesheet", chain) or 0].edge == "members"


@pytest.mark.parametrize(
    ("text", "message", "suggestion", "column"),
    [
        ("resource.owner.teams", "ends in teams", "above, granted, grants, leads, members", 21),
        ("resource", "stays at the resource", "owner, projects", 9),
        ("", "starts with resource", "resource.owner", 1),
        ("owner.teams.leads", "starts at the resource, not at 'owner'", "resource.owner", 1),
        ("resource.owner.", "name of an edge must follow", "teams", 16),
        ("resource.owner.teams.leads resource", "'resource' is not expected", "join", 28),
        ("resource.owner.teams.leads + x", "'+' has no meaning", "names", 28),
        ("(resource.owner", "not closed", "column 16", 1),
        ("resource.owner | resource.owner.teams.grants", "people joined with clients", None, 16),
        ("resource.owner - resource.owner.teams", "people without teams", None, 16),
        ("resource.owner | resource", "not a path yet", "owner", 18),
        ("resource.owner - resource.owner", "nobody is left", None, 18),
        ("resource.fallback.delegates", "'fallback' is computed in code", "owner, projects", 10),
        ("resource.owner.teams.members.teams.leads", "too many rows", "'members'", 41),
        ("resource.owner.delegates.delegates.delegates.delegates.delegates.delegates", "at most 6 steps", None, 66),
        ("((((((((resource.owner))))))))", "nested at most 6", None, 7),
        ("resource.owner" + " | resource.owner.teams.leads" * 11, "at most 300 characters", None, 1),
    ],
)
def test_a_flaw_is_told_with_its_column_and_a_remedy(
    text: str, message: str, suggestion: str | None, column: int
) -> None:
    flaw = refuse(text)
    assert message in flaw.message
    assert suggestion is None or suggestion in (flaw.suggestion or "")
    assert flaw.column == column


def test_an_unknown_edge_is_told_with_the_nearest_that_is_known() -> None:
    flaw = refuse("resource.owner.teems.leads")
    assert (flaw.suggestion, flaw.column) == ("did you mean 'teams'?", 16)
    assert refuse("resource.leed", lead="resource.projects.leads").suggestion == "did you mean 'lead'?"
    assert refuse("resource.owner.bosses").suggestion == "known: delegates, groups, teams"


def test_relations_that_define_one_another_are_refused_with_the_cycle() -> None:
    found = parse_paths("timesheet", {"a": "resource.b.delegates", "b": "resource.c", "c": "resource.a"})
    flaws = [flaw for flaw in found.values() if isinstance(flaw, Flaw)]
    assert len(flaws) == 3
    assert any("a -> b -> c -> a" in flaw.message for flaw in flaws)
    assert "relation -> relation" in refuse("resource.relation").message


def test_relations_that_name_one_another_do_not_grow_without_bound() -> None:
    doubled = {f"r{n}": f"resource.r{n + 1} | resource.r{n + 1}.delegates" for n in range(5)}
    last = "resource.projects.leads | (resource.projects.leads - resource.owner) | resource.owner.groups.members"
    flaw = parse_paths("timesheet", {**doubled, "r5": last})["r0"]
    assert isinstance(flaw, Flaw)
    long = {f"r{n}": f"resource.r{n + 1}" for n in range(3_000)}
    flaw = parse_paths("timesheet", {**long, "r3000": "resource.owner"})["r0"]
    assert isinstance(flaw, Flaw)


EDGE_NAMES = ["owner", "projects", "teams", "above", "leads", "members", "groups", "grants", "delegates", "lead"]
WORDS = st.sampled_from(["resource", "|", "-", "(", ")", ".", "é", *(f".{name}" for name in EDGE_NAMES)])


@given(st.lists(WORDS, max_size=14).map("".join))
def test_any_text_is_a_path_within_the_bounds_or_a_flaw_within_the_text(text: str) -> None:
    found = parse_paths("timesheet", {"relation": text, "lead": "resource.projects.leads"})["relation"]
    if isinstance(found, Flaw):
        assert 1 <= found.column <= len(text) + 1
        assert found.message
        return
    assert found.to in {NodeType.PEOPLE, NodeType.CLIENTS}
    assert 1 <= len(found.chains) <= MAX_CHAINS
    assert all(len(chain) <= MAX_STEPS and meeting_place("timesheet", chain) is not None for chain in found.chains)
