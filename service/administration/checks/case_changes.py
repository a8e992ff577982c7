"""What changed in the cases from one policy to another: that a case is gone is as much a change as that a row is. Pure.

Cases are known by their names, wherever they stand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from service.administration.checks import case_results
from service.places import Complaint
from service.policy import case_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from service.administration.checks.case_results import Tried
    from service.policy.case_files import Case
    from service.policy.policy_file import Policy

# So many rules are warned of one by one.
MAX_NAMED = 10


@dataclass(frozen=True, slots=True)
class CaseChange:
    """A case that was `added`, `removed` or `changed`, and where it stands: in the later policy, or, if it was removed,
    in the earlier."""

    change: str
    name: str
    file: str
    line: int


def case_changes(before: Policy, after: Policy) -> Iterator[CaseChange]:
    """Every case that differs, of the files that differ. Cases that cannot be read are no cases."""
    old, new = before.text.cases, after.text.cases
    files = {name for name in {*old, *new} if old.get(name) != new.get(name)}
    was, now = (
        {case.name: case for case in case_files.read(texts, policy.vocabulary).cases}
        for texts, policy in (
            ({name: old[name] for name in files if name in old}, before),
            ({name: new[name] for name in files if name in new}, after),
        )
    )
    for name, case in now.items():
        earlier = was.get(name)
        if earlier is None or _said(earlier) != _said(case):
            yield CaseChange("changed" if earlier else "added", name, case.file, case.line)
    for name, case in was.items():
        if name not in now:
            yield CaseChange("removed", name, case.file, case.line)


def lost(was: Sequence[Tried], after: Policy, now: Sequence[Tried]) -> list[Complaint]:
    """Warnings: cases of the policy before are gone, by their names, or a rule of both decides none any more."""
    found = []
    kept = {one.case.name for one in now}
    if gone := [one.case.name for one in was if one.case.name not in kept]:
        one_of = f"{len(gone)} of the {len(was)} cases of the version that decides"
        said = f"{one_of} are gone, such as '{gone[0]}'" if len(gone) > 1 else f"{one_of} is gone: '{gone[0]}'"
        found.append(Complaint("cases", 0, 0, said))
    idle = case_results.undecided(after, now) & {name for one in was for name in one.rules}
    rules = [rule for rule in after.rules if rule.name in idle]
    if len(rules) > MAX_NAMED:
        said = f"{len(rules)} rules lost their last case, such as '{rules[0].name}'"
        return [*found, Complaint("policy.csv", rules[0].line, 1, said)]
    return [
        *found,
        *(Complaint("policy.csv", rule.line, 1, f"The rule '{rule.name}' lost its last case") for rule in rules),
    ]


def _said(case: Case) -> Case:
    """The case wherever it stands."""
    return replace(case, file="", line=0)
