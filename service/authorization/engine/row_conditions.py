"""Rules with the caller's part decided: what is left are conditions on rows. Pure: owns no state.

`visibility` writes them as SQL for a list. Policy cases check them against one row, so that `listed` is tested. A
replay compares what two versions leave of a list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.policy.access_request import ANY, Condition, Effect
from service.policy.matching import former_word, holds, words_for

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from service.authorization.engine.engine import Snapshot
    from service.policy.access_request import AccessRequest, Rule


@dataclass(frozen=True, slots=True)
class RowCondition:
    """The caller's `relation` to a row (None for any), and the row's `states` (empty for any) and `facts`."""

    relation: str | None
    states: frozenset[str]
    facts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class ListRules:
    """The rules of a version for one caller's list: `shown` allow rows, `hidden` deny rows, in the order of the file.

    `states`: those that the version knows; empty for a kind without states.
    """

    shown: tuple[tuple[Rule, RowCondition], ...]
    hidden: tuple[tuple[Rule, RowCondition], ...]
    states: frozenset[str]


def fold_rules(snapshot: Snapshot, request: AccessRequest) -> ListRules:
    """The rules for an access request that was made without a row, worked out once for each request.

    Only rules on a word of the caller, or on a relation to rows, are read.
    """

    def fold() -> ListRules:
        vocabulary = snapshot.vocabulary
        relations = vocabulary.relations.get(request.kind, frozenset())
        facts = vocabulary.facts.get(request.kind, frozenset())
        folded = [
            (rule, condition)
            for rule in snapshot.index_of(request.kind, request.action).near(request.who | relations)
            if (condition := fold_rule(rule, request, relations, facts)) is not None
        ]
        return ListRules(
            shown=tuple((rule, condition) for rule, condition in folded if rule.effect is Effect.ALLOW),
            hidden=tuple((rule, condition) for rule, condition in folded if rule.effect is Effect.DENY),
            states=vocabulary.states.get(request.kind, frozenset()),
        )

    return snapshot.memoize("list", request, fold)


def fold_rule(
    rule: Rule, request: AccessRequest, relations: Collection[str], facts: Collection[str]
) -> RowCondition | None:
    """The conditions that the rule puts on a row for this caller, or None when it can match no row.

    `relations` and `facts` are words about rows. Everything else is about the caller, and known: an unknown fact about
    the caller fails an allow and fulfils a deny.
    """
    if rule.scope != ANY and rule.scope not in request.scopes:
        return None
    is_about_row = rule.who in relations
    if not is_about_row and request.who.isdisjoint(words_for(rule)):
        return None
    left = []
    for condition in rule.when:
        if condition.fact in facts:
            left.append(condition)
        elif not holds(rule.effect, condition, request.fact(condition.fact)):
            return None
    return RowCondition(rule.who if is_about_row else None, rule.states, tuple(left))


def is_listed(rules: Iterable[Rule], row: AccessRequest, relations: Collection[str], facts: Collection[str]) -> bool:
    """Whether this caller's list shows the row that the request is about.

    As for a list, the caller's part is decided without the row; only then is the row looked at.
    """
    without_row = type(row)(
        row.kind,
        row.action,
        "",
        row.who.difference(relations),
        row.scopes,
        frozenset((name, value) for name, value in row.facts if name not in facts),
    )
    effects = {
        rule.effect
        for rule in rules
        if (left := fold_rule(rule, without_row, relations, facts)) is not None and row_matches(left, rule.effect, row)
    }
    return effects == {Effect.ALLOW}


def row_matches(condition: RowCondition, effect: Effect, row: AccessRequest) -> bool:
    """Whether the row that the request is about meets the condition of a rule with this effect."""
    relation = condition.relation
    if relation is not None and relation not in row.who:
        # As in a single decision: a relation from before an erasure still meets denies, and no allow.
        return (
            effect is Effect.DENY
            and former_word(relation) in row.who
            and _state_and_facts_match(condition, effect, row)
        )
    return _state_and_facts_match(condition, effect, row)


def _state_and_facts_match(condition: RowCondition, effect: Effect, row: AccessRequest) -> bool:
    if condition.states and row.state not in condition.states:
        return False
    return all(holds(effect, wanted, row.fact(wanted.fact)) for wanted in condition.facts)
