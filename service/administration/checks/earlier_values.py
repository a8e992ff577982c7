"""Warns of rules for a change that read what the change itself sets: they are decided on the week before it. Pure.

A rule for `edit` that reads `resource.minutes` does not see the hours that the edit adds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.administration.checks.redundancy import MAX_FOUND, complain_of_row
from service.policy.paths import PROJECTS, TIMESHEET, edge_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.places import Complaint
    from service.policy.access_request import Rule, Vocabulary
    from service.policy.policy_file import Policy

CHANGES_OF_HOURS: Final = frozenset({"create", "edit", "upload"})
OF_PROJECTS: Final = "resource.projects"
OF_HOURS: Final = frozenset({"resource.minutes", "resource.entry_count", "resource.days", OF_PROJECTS})


def find_earlier_values(policy: Policy) -> list[Complaint]:
    """A warning for each row about a change of hours that reads the hours or projects of the week."""
    found: list[Complaint] = []
    for rule in policy.rules:
        if rule.kind != TIMESHEET or rule.action not in CHANGES_OF_HOURS or len(found) == MAX_FOUND:
            continue
        if read := sorted(_find_hours(rule, policy.vocabulary)):
            message = (
                f"This row reads {' and '.join(read)} as before the change, without the hours that the change sets"
            )
            found.append(complain_of_row(rule, message, "to restrict what a week may contain, restrict 'submit'"))
    return found


def _find_hours(rule: Rule, vocabulary: Vocabulary) -> Iterator[str]:
    """The attributes of hours that the facts and the relation of a rule read."""
    names = {
        name
        for condition in rule.when
        if (fact := vocabulary.definitions.get((TIMESHEET, condition.fact)))
        for name in fact.attributes
    }
    yield from (name for name in names if name in OF_HOURS or name.startswith(f"{OF_PROJECTS}."))
    path = vocabulary.paths.get((TIMESHEET, rule.who))
    if OF_PROJECTS not in names and path and f"{TIMESHEET}.{PROJECTS}" in edge_words(TIMESHEET, path):
        yield OF_PROJECTS
