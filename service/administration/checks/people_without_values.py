"""Warns of denies that people without a value of an attribute meet, because their facts are unknown then. Pure.

`principal.cost_center != "X"` is unknown for a person whom the directory gives no cost center, and an unknown fact
meets every deny. A fact that says `has()`, or has a sentence for `unknown`, shows that its author knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.administration.checks.redundancy import MAX_FOUND, complain_of_row
from service.policy.access_request import Effect
from service.policy.defined_facts import find_definition
from service.policy.matching import holds

if TYPE_CHECKING:
    from service.places import Complaint
    from service.policy.access_request import Condition, Rule, Vocabulary
    from service.policy.policy_file import Policy


def find_people_without_values(policy: Policy) -> list[Complaint]:
    """A warning for each fact of a deny that is unknown for people without a value, at the first row that has it."""
    vocabulary = policy.vocabulary
    names = [f"{root}.{name}" for root in ("principal", "resource.owner") for name in sorted(vocabulary.people)]
    rows: dict[tuple[str, Condition, tuple[str, ...]], list[Rule]] = {}
    for rule in policy.rules if names else ():
        for condition, missing in _find_unknown_conditions(rule, names, vocabulary).items():
            rows.setdefault((rule.kind, condition, tuple(missing)), []).append(rule)
    return [_warn(condition, missing, found) for (_, condition, missing), found in rows.items()][:MAX_FOUND]


def _find_unknown_conditions(rule: Rule, names: list[str], vocabulary: Vocabulary) -> dict[Condition, list[str]]:
    """The conditions of a deny that a missing value makes unknown while the others can hold, with these attributes."""
    if rule.effect is not Effect.DENY:
        return {}
    facts = {condition: find_definition(vocabulary, rule.kind, condition.fact) for condition in rule.when}
    found: dict[Condition, list[str]] = {}
    for name in names:
        answers = {
            condition: fact.answers_without(name)
            for condition, fact in facts.items()
            if fact is not None and name in fact.attributes
        }
        if all(any(holds(rule.effect, condition, answer) for answer in known) for condition, known in answers.items()):
            for condition, known in answers.items():
                if None in known and not _says_unknown(rule.kind, condition.fact, vocabulary):
                    found.setdefault(condition, []).append(name)
    return found


def _says_unknown(kind: str, fact: str, vocabulary: Vocabulary) -> bool:
    """Whether callers are told in a sentence of its own that the fact is unknown."""
    return not vocabulary.descriptions.keys().isdisjoint({f"fact.{kind}.{fact}.unknown", f"fact.{fact}.unknown"})


def _warn(condition: Condition, missing: tuple[str, ...], rules: list[Rule]) -> Complaint:
    present = " && ".join(f"has({name})" for name in missing)
    subject = f"This row and {len(rules) - 1} more also deny" if len(rules) > 1 else "This row also denies"
    message = f"{subject} where {' or '.join(missing)} has no value, because '{condition.fact}' is unknown then"
    spare = f"add a fact with {present} to 'when'" if condition.negated else f"write {present} && (...) in the fact"
    remedy = f"to spare people without a value, {spare}; to deny them, give the fact a sentence 'unknown'"
    return complain_of_row(rules[0], message, remedy)
