"""Warns of rules with a fact that is unknown whatever the request, because an attribute is missing when they are
decided: an allow never matches, and a deny does as if the fact held. Pure.

A rule for `create` that reads `resource.submitted_at` is one. An expression that asks `has()` can tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.administration.checks.redundancy import MAX_FOUND, complain_of_row
from service.policy.access_request import Effect
from service.policy.known_words import STARTS
from service.policy.matching import fact_word
from service.policy.paths import TIMESHEET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.places import Complaint
    from service.policy.access_request import Condition, Rule
    from service.policy.expressions.expression import Expression
    from service.policy.policy_file import Policy

DRAFT: Final = "draft"
SUBMITTED_AT: Final = "resource.submitted_at"
# The attributes that are missing when an action is decided, and of which resource.
MISSING: Final[Mapping[tuple[str, str], tuple[str, frozenset[str]]]] = {
    (TIMESHEET, "create"): ("a new timesheet", frozenset({SUBMITTED_AT, "resource.state_since"})),
    ("access_request", "request"): (
        "an access request that names a refusal",
        frozenset({"resource.relation"}),
    ),
}
OF_DRAFTS: Final = ("a draft", frozenset({SUBMITTED_AT}))


def find_missing_values(policy: Policy) -> list[Complaint]:
    """A warning for each row whose verdict on some resources does not depend on a fact that it names."""
    found: list[Complaint] = []
    for rule in policy.rules:
        resource, missing = MISSING.get((rule.kind, rule.action)) or (OF_DRAFTS if _can_be_draft(rule) else ("", ()))
        for condition in rule.when:
            fact = policy.vocabulary.definitions.get((rule.kind, condition.fact))
            name = fact and next((name for name in sorted(missing) if _decides(name, fact, condition, rule)), None)
            if name and len(found) < MAX_FOUND:
                found.append(_warn(rule, condition, name, resource))
    return found


def _can_be_draft(rule: Rule) -> bool:
    """Whether the row is about drafts: a deny also about drafts, an allow about nothing else."""
    if rule.kind != TIMESHEET or DRAFT not in STARTS.get((rule.kind, rule.action), {DRAFT}):
        return False
    return rule.states == {DRAFT} or (rule.effect is Effect.DENY and (not rule.states or DRAFT in rule.states))


def _decides(name: str, fact: Expression, condition: Condition, rule: Rule) -> bool:
    """Whether the condition cannot hold without the attribute, for an allow, or cannot fail, for a deny."""
    if name not in fact.attributes or name in fact.asked_for_presence:
        return False
    wanted = condition.negated is (rule.effect is Effect.DENY)
    return wanted not in fact.bounds({name: None})


def _warn(rule: Rule, condition: Condition, name: str, resource: str) -> Complaint:
    allows = rule.effect is Effect.ALLOW
    then = "this row never allows it" if allows else f"this row denies it as if '{fact_word(condition)}' held"
    message = f"The attribute '{name}' is missing for {resource}, so {then}"
    return complain_of_row(rule, message, f"say has({name}) in the expression where you mean it")
