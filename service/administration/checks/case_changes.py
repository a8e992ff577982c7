"""Compares the cases of two policies: a lost case is as much a change as a lost row. Pure: owns no state.

Cases are identified by their names, in any file. Defaults that changed for many cases are one change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from service.administration.checks import case_results
from service.places import Complaint
from service.policy import case_files
from service.policy.defined_facts import find_definition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from service.administration.checks.case_results import CaseResult
    from service.policy.access_request import Vocabulary
    from service.policy.case_files import Case
    from service.policy.policy_file import Policy

# More rules get a single warning.
MAX_NAMED = 10


@dataclass(frozen=True, slots=True)
class CaseChange:
    """A case that was `added`, `removed` or `changed`. Its place is in the later policy; if removed, in the earlier.

    An empty `name`: the defaults of the file changed, and cases with them that did not change otherwise.
    """

    change: str
    name: str
    file: str
    line: int


def compare_cases(before: Policy, after: Policy) -> Iterator[CaseChange]:
    """Every case that differs. Only files that differ are read; cases that cannot be read are skipped."""
    old, new = before.text.cases, after.text.cases
    files = {name for name in {*old, *new} if old.get(name) != new.get(name)}
    was, now = (
        {case.name: case for case in case_files.read(texts, policy.vocabulary).cases}
        for texts, policy in (
            ({name: old[name] for name in files if name in old}, before),
            ({name: new[name] for name in files if name in new}, after),
        )
    )
    by_defaults: dict[str, int] = {}
    for name, case in now.items():
        earlier = was.get(name)
        if earlier is not None and _without_place(earlier) == _without_place(case):
            continue
        if earlier and _without_defaults(earlier, before.vocabulary) == _without_defaults(case, after.vocabulary):
            by_defaults[case.file] = min(case.defaults.values(), default=1)
        else:
            yield CaseChange("changed" if earlier else "added", name, case.file, case.line)
    yield from (CaseChange("changed", "", file, line) for file, line in sorted(by_defaults.items()))
    for name, case in was.items():
        if name not in now:
            yield CaseChange("removed", name, case.file, case.line)


def warn_of_lost_cases(was: Sequence[CaseResult], after: Policy, now: Sequence[CaseResult]) -> list[Complaint]:
    """Warnings about cases that are missing, by name, and about rules of both policies that no longer decide a case."""
    found = []
    kept = {result.case.name for result in now}
    if missing := [result.case.name for result in was if result.case.name not in kept]:
        count = f"{len(missing)} of the {len(was)} cases of the active version"
        verb = "are missing, such as" if len(missing) > 1 else "is missing:"
        found.append(Complaint("cases", 0, 0, f"{count} {verb} '{missing[0]}'"))
    without_case = case_results.rules_without_a_case(after, now) & {name for result in was for name in result.rules}
    rules = [rule for rule in after.rules if rule.name in without_case]
    if len(rules) > MAX_NAMED:
        message = f"{len(rules)} rules have no case any more, such as '{rules[0].name}'"
        return [*found, Complaint("policy.csv", rules[0].line, 1, message)]
    return [
        *found,
        *(Complaint("policy.csv", rule.line, 1, f"The rule '{rule.name}' has no case any more") for rule in rules),
    ]


def _without_place(case: Case) -> Case:
    """The case without its place. A value is the same whether the case or the defaults of its file give it."""
    return replace(case, file="", line=0, defaults={})


def _without_defaults(case: Case, vocabulary: Vocabulary) -> Case:
    """The case as its own text says it: without the defaults of its file, and without facts that follow from them."""
    values = {name: value for name, value in case.values.items() if name not in case.defaults}
    facts = {
        name: value
        for name, value in case.facts.items()
        if name not in case.defaults and not _follows_from_defaults(name, case, vocabulary)
    }
    return replace(_without_place(case), values=values, facts=facts)


def _follows_from_defaults(name: str, case: Case, vocabulary: Vocabulary) -> bool:
    fact = find_definition(vocabulary, case.kind, name)
    if fact is None or fact.attributes.isdisjoint(case.defaults):
        return False
    return fact.evaluate(case.values) is case.facts[name]
