"""What is left of a rule once the asker is known: conditions on rows, the one reading that lists and cases share. Pure.

`visibility` writes them as SQL for a list; the cases of a policy ask them of one row, so that `listed` is really tried;
a replay compares what two versions leave of a list.
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
    """What a row must be: the asker's `relation` to it (None for any), its `states` (empty for any), its `facts`."""

    relation: str | None
    states: frozenset[str]
    facts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Folded:
    """What a version leaves of a list: `shown` by rules that allow, `hidden` by rules that deny, in the order of the
    file. `states`: those that it knows; empty for a kind without states."""

    shown: tuple[tuple[Rule, RowCondition], ...]
    hidden: tuple[tuple[Rule, RowCondition], ...]
    states: frozenset[str]


def folded(snapshot: Snapshot, request: AccessRequest) -> Folded:
    """The rules for a question that was asked without a row. Only those near the asker, or on what somebody can be to a
    row, are looked at; and a question's rules are folded once."""

    def work() -> Folded:
        words = snapshot.vocabulary
        relations = words.relations.get(request.kind, frozenset())
        facts = words.facts.get(request.kind, frozenset())
        left = [
            (rule, condition)
            for rule in snapshot.index_of(request.kind, request.action).near(request.who | relations)
            if (condition := left_of(rule, request, relations, facts)) is not None
        ]
        return Folded(
            shown=tuple(one for one in left if one[0].effect is Effect.ALLOW),
            hidden=tuple(one for one in left if one[0].effect is Effect.DENY),
            states=words.states.get(request.kind, frozenset()),
        )

    return snapshot.remembered("list", request, work)


def left_of(
    rule: Rule, request: AccessRequest, relations: Collection[str], facts: Collection[str]
) -> RowCondition | None:
    """The rule for this asker, or None when it can hold for no row. `relations` and `facts` are words about rows;
    everything else is the asker's, and known: an unknown fact of theirs fails an allow and fulfils a deny."""
    if rule.scope != ANY and rule.scope not in request.scopes:
        return None
    about_row = rule.who in relations
    if not about_row and request.who.isdisjoint(words_for(rule)):
        return None
    left = []
    for condition in rule.when:
        if condition.fact in facts:
            left.append(condition)
        elif not holds(rule.effect, condition, request.fact(condition.fact)):
            return None
    return RowCondition(rule.who if about_row else None, rule.states, tuple(left))


def listed(rules: Iterable[Rule], request: AccessRequest, relations: Collection[str], facts: Collection[str]) -> bool:
    """Whether a list for this asker shows the row that the question speaks of. The asker's part folds without the row,
    as it does for a list, and then the row is asked."""
    asker = request.who.difference(relations)
    without_row = type(request)(request.kind, request.action, "", asker, request.scopes, _without(request.facts, facts))
    effects = {
        rule.effect
        for rule in rules
        if (left := left_of(rule, without_row, relations, facts)) is not None and row_is(left, rule.effect, request)
    }
    return effects == {Effect.ALLOW}


def row_is(left: RowCondition, effect: Effect, row: AccessRequest) -> bool:
    """Whether the row that the question speaks of is what the rule asks of one."""
    if left.relation is not None and left.relation not in row.who:
        # As for a single decision: whoever was that before an erasure meets the denies, and no allow.
        return effect is Effect.DENY and former_word(left.relation) in row.who and _else_is(left, effect, row)
    return _else_is(left, effect, row)


def _else_is(left: RowCondition, effect: Effect, row: AccessRequest) -> bool:
    """Whether the row's state and facts are what the rule asks for."""
    if left.states and row.state not in left.states:
        return False
    return all(holds(effect, fact, row.fact(fact.fact)) for fact in left.facts)


def _without(facts: frozenset[tuple[str, bool]], about_rows: Collection[str]) -> frozenset[tuple[str, bool]]:
    return frozenset(fact for fact in facts if fact[0] not in about_rows)
