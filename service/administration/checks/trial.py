"""Tests a policy without a service: complaints, the cases of each rule, and what no case exercises. Pure.

`timewarden policy test` shows the result. A policy whose trial is `good` may be proposed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.administration.checks import case_results, examination
from service.places import limit_complaints

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.administration.checks.case_results import CaseResult
    from service.places import Complaint
    from service.policy.policy_file import PolicyText

NO_RULE = "(no rule)"


@dataclass(frozen=True, slots=True)
class RuleTally:
    """How many cases of a rule passed and failed. `line` is the rule's, or 0 for cases that no rule decides."""

    rule: str
    line: int
    passed: int
    failed: int


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of testing a policy. Only `complaints` refuse it; failed cases are among them.

    `untried`: rules that decide no case, and words without an allowed or a denied case.
    """

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
    """Test a policy. Never raises for a wrong policy. One that cannot be read has only complaints."""
    found = examination.examine(text, examination.PROPOSAL)
    complaints = limit_complaints(found.complaints)
    if found.snapshot is None:
        return Trial(complaints)
    policy = found.snapshot.policy
    failed = sum(bool(result.problems) for result in found.tried)
    lines = {rule.name: rule.line for rule in policy.rules}
    return Trial(
        complaints=complaints,
        tallies=_count_by_rule(found.tried, lines),
        passed=len(found.tried) - failed,
        failed=failed,
        warnings=found.warnings,
        untried=tuple(case_results.find_untried(policy, found.snapshot, found.tried)),
    )


def _count_by_rule(tried: Sequence[CaseResult], lines: dict[str, int]) -> tuple[RuleTally, ...]:
    """The tally of every rule in the order of the file, then of rules that only cases name, then of no rule.

    A case counts for the rules that it names, or else for those that decided it.
    """
    good, bad = Counter[str](), Counter[str]()
    for result in tried:
        (bad if result.problems else good).update(result.case.rules or result.rules or (NO_RULE,))
    expected = sorted({*good, *bad} - {*lines, NO_RULE})
    return tuple(RuleTally(name, lines.get(name, 0), good[name], bad[name]) for name in (*lines, *expected, NO_RULE))
