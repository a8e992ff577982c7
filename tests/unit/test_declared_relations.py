"""Relations with a path before any request: rows that can never match, and the words that replicas must know."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from service.authorization.active import replicas
from service.authorization.enforcement.declared_relations import paths_under, with_paths
from service.policy import policy_file
from service.policy.unsatisfiable import why_unsatisfiable
from service.timesheets.relations import TIMESHEET_FACTS
from tests import policy_forge

if TYPE_CHECKING:
    from service.policy.access_request import Vocabulary

DECLARED = """
[kinds.timesheet.relations.project_lead]
is = "resource.projects.leads - resource.owner"
yes = "x"
no = "y"

[kinds.timesheet.relations.loader]
is = "resource.owner.teams.grants"
yes = "x"
no = "y"
"""


def vocabulary(declared: str = DECLARED) -> Vocabulary:
    text = policy_forge.read_shipped()
    return policy_file.parse(replace(text, vocabulary=text.vocabulary + declared, cases={})).vocabulary


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("project_lead, create, any, timesheet, any", "before the timesheet has hours on any project"),
        ("project_lead, upload, any, timesheet, any", "only clients acting for themselves may upload"),
        ("loader, upload, any, timesheet, any", None),
        ("project_lead, read, any, timesheet, any", None),
    ],
)
def test_a_row_on_a_declared_relation_is_refused_if_it_can_never_match(row: str, reason: str | None) -> None:
    text = policy_forge.rows(f"p, allow, {row}, always, rule")
    policy = policy_file.parse(replace(text, vocabulary=text.vocabulary + DECLARED))
    found = why_unsatisfiable(policy.rules[0], policy.vocabulary)
    assert (found is None) is (reason is None)
    assert found is None or reason is None or reason in found[0]


def test_replicas_must_know_the_edges_of_declared_paths_and_not_their_names() -> None:
    words = replicas.words_of(vocabulary())
    assert {"edge timesheet.projects", "edge projects.leads", "edge teams.grants"} <= words
    assert not any("project_lead" in word for word in words)
    assert words <= replicas.words_of_code()


def test_a_version_of_a_release_without_paths_asks_no_replica_for_edges() -> None:
    _, older = policy_forge.vocabulary_without_paths()
    policy = policy_file.parse(
        replace(policy_forge.rows("p, allow, manager, read, any, timesheet, any, always, read"), vocabulary=older)
    )
    words = replicas.words_of(policy.vocabulary)
    assert not any(word.startswith("edge ") for word in words)
    assert "relation timesheet.manager" in words


def test_the_shipped_paths_are_those_of_the_code() -> None:
    """So all versions that change none share prepared statements and remembered relations."""
    shipped, declared = paths_under("timesheet", vocabulary("")), paths_under("timesheet", vocabulary())
    assert with_paths(TIMESHEET_FACTS, shipped) is TIMESHEET_FACTS
    assert with_paths(TIMESHEET_FACTS, declared) is not TIMESHEET_FACTS
