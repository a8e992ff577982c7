"""The values that defined facts can have, and the facts that exclude each other, before any request. Pure."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Final

from service.policy.expressions.expression import can_hold_together
from service.policy.known_words import WITHOUT_A_ROW
from service.policy.matching import fact_word

if TYPE_CHECKING:
    from service.policy.access_request import Rule, Vocabulary
    from service.policy.expressions.expression import Expression


# Of a row; the pairs grow with the square.
MAX_FACTS_COMPARED: Final = 20


def find_definition(vocabulary: Vocabulary, kind: str, fact: str) -> Expression | None:
    """The expression of a fact about the kind or about the sign-in, or None for one that code supplies."""
    return vocabulary.definitions.get((kind, fact)) or vocabulary.definitions.get(("", fact))


def possible_values(vocabulary: Vocabulary, kind: str, action: str, fact: str) -> frozenset[bool]:
    """The values that a fact can have when the action is decided, apart from unknown."""
    expression = find_definition(vocabulary, kind, fact)
    if expression is None:
        return frozenset({True, False})
    return _possible_values(expression, has_row=(kind, action) not in WITHOUT_A_ROW)


@lru_cache(maxsize=1_024)
def _possible_values(expression: Expression, *, has_row: bool) -> frozenset[bool]:
    missing = () if has_row else (name for name in expression.attributes if name.startswith("resource."))
    return expression.bounds(dict.fromkeys(missing))


def explain_conflict(rule: Rule, vocabulary: Vocabulary) -> str | None:
    """Why an allow rule can never match because of its defined facts, or None."""
    for condition in rule.when:
        if (not condition.negated) not in possible_values(vocabulary, rule.kind, rule.action, condition.fact):
            value = "false" if condition.negated else "true"
            return f"This row can never match: the fact {condition.fact} is never {value} here"
    defined = [
        (condition, expression)
        for condition in rule.when
        if (expression := find_definition(vocabulary, rule.kind, condition.fact)) is not None
    ]
    for condition, expression in defined[:MAX_FACTS_COMPARED]:
        if not _can_be(expression, truth=not condition.negated):
            value = "false" if condition.negated else "true"
            return f"This row can never match: the fact {condition.fact} is never {value}, its parts exclude each other"
    for (first, first_fact), (second, second_fact) in combinations(defined[:MAX_FACTS_COMPARED], 2):
        if not _hold_together((first_fact, not first.negated), (second_fact, not second.negated)):
            return f"This row can never match: {fact_word(first)} and {fact_word(second)} exclude each other"
    return None


@lru_cache(maxsize=1_024)
def _can_be(expression: Expression, *, truth: bool) -> bool:
    return can_hold_together([(expression, truth)])


# The pairs of 50 facts about a kind and 50 about the sign-in are 20,000, for any number of rows.
@lru_cache(maxsize=2**15)
def _hold_together(first: tuple[Expression, bool], second: tuple[Expression, bool]) -> bool:
    return can_hold_together([first, second])
