"""A policy tried without a service: its complaints, its cases rule by rule, and what no case exercises. Pure.

It is what `timewarden policy test` shows. A policy whose trial is `good` may be proposed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.administration.checks import case_results, examination
from service.places import bounded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.administration.checks.case_results import Tried
    from service.places import Complaint
    from service.policy.policy_file import PolicyText

NO_RULE = "(no rule)"


@dataclass(frozen=True, slots=True)
class RuleTally:
    """How many cases about a rule passed and failed; `line` is the rule's, 0 for the cases that no rule decides."""

    rule: str
    line: int
    passed: int
    failed: int


@dataclass(frozen=True, slots=True)
class Trial:
    """`complaints` refuse the policy, failed cases among them; `warnings` and `untried` refuse nothing. `untried`:
    rules that decide no case, and words that stand in no allowed or no denied case."""

    complaints: tuple[Complaint, ...]
    tallies: tuple[RuleTally, ...] = ()
    passed: int = 0
    failed: int = 0
    warnings: tuple[Complaint, ...] = ()
    untried: tuple[Complaint, ...] = ()

    @property
    def good(self) -> bool:
        return not self.complaints


def trial(text: PolicyText) -> Trial:
    """Try a policy; never raises for what is wrong with it. What cannot be read has complaints alone."""
    found = examination.examine(text, examination.PROPOSAL)
    complaints = bounded(found.complaints)
    if found.snapshot is None:
        return Trial(complaints)
    policy = found.snapshot.policy
    failed = sum(bool(one.problems) for one in found.tried)
    lines = {rule.name: rule.line for rule in policy.rules}
    return Trial(
        complaints=complaints,
        tallies=_tallies(found.tried, lines),
        passed=len(found.tried) - failed,
        failed=failed,
        warnings=found.warnings,
        untried=tuple(case_results.untried(policy, found.snapshot, found.tried)),
    )


def _tallies(tried: Sequence[Tried], lines: dict[str, int]) -> tuple[RuleTally, ...]:
    """Every rule in the order of the file, then rules that are only wished for, then none. A case counts for the rules
    that it names, else for those that decided it."""
    good, bad = Counter[str](), Counter[str]()
    for one in tried:
        (bad if one.problems else good).update(one.case.rules or one.rules or (NO_RULE,))
    wished = sorted({*good, *bad} - {*lines, NO_RULE})
    return tuple(RuleTally(name, lines.get(name, 0), good[name], bad[name]) for name in (*lines, *wished, NO_RULE))
