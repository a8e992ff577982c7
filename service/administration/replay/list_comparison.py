"""Whether two versions show the same caller the same rows of a list. Pure: owns no state.

The record of a list holds the rows that it returned, but not the caller's relations to these and all other rows. So the
conditions of the two versions are compared for every possible row.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from itertools import chain
from typing import TYPE_CHECKING, Final

from service.authorization.engine.row_conditions import row_matches
from service.policy.access_request import NO_STATE, AccessRequest, Effect
from service.policy.matching import former_word
from service.policy.request_space import KNOWN_OR_NOT, Budget, RequestSpace

if TYPE_CHECKING:
    from service.authorization.engine.row_conditions import ListRules, RowCondition

MAX_RULES_NAMED: Final = 3


class ShownRows(Enum):
    """The rows that are shown now: the SAME as before, NONE, or OTHERS."""

    SAME = auto()
    NONE = auto()
    OTHERS = auto()


def compare_rows(before: ListRules, now: ListRules) -> ShownRows:
    """Compare the rows that the list shows under two versions."""
    had, has = _Conditions.of(before), _Conditions.of(now)
    if had == has:
        return ShownRows.SAME
    rows = _possible_rows(had, has)
    if not Budget().spend(rows.size * len(had.conditions | has.conditions)):
        return ShownRows.OTHERS
    shown = {(had.shows(row), has.shows(row)) for row in rows}
    if shown <= {(True, True), (False, False)}:
        return ShownRows.SAME
    return ShownRows.NONE if shown <= {(True, False), (False, False)} else ShownRows.OTHERS


def differing_rules(before: ListRules, now: ListRules) -> tuple[str, ...]:
    """The names of the first rules that only one of the two has, or has with other conditions."""
    rules_now, rules_before = (
        dict.fromkeys((rule.name, condition) for rule, condition in (*rules.shown, *rules.hidden))
        for rules in (now, before)
    )
    names = (rule[0] for rule in chain(rules_now, rules_before) if (rule in rules_now) != (rule in rules_before))
    return tuple(dict.fromkeys(names))[:MAX_RULES_NAMED]


@dataclass(frozen=True, slots=True)
class _Conditions:
    """The conditions of a version without rule names: several rules may have the same condition."""

    shown: frozenset[RowCondition]
    hidden: frozenset[RowCondition]
    states: frozenset[str]

    @classmethod
    def of(cls, left: ListRules) -> _Conditions:
        shown = frozenset(condition for _, condition in left.shown)
        return cls(shown, frozenset(condition for _, condition in left.hidden), left.states)

    @property
    def conditions(self) -> frozenset[RowCondition]:
        return self.shown | self.hidden

    def shows(self, row: AccessRequest) -> bool:
        """As in `visibility`: some condition shows the row, none hides it, and its state is known."""
        if self.states and row.state not in self.states:
            return False
        shown = any(row_matches(condition, Effect.ALLOW, row) for condition in self.shown)
        return shown and not any(row_matches(condition, Effect.DENY, row) for condition in self.hidden)


def _possible_rows(had: _Conditions, has: _Conditions) -> RequestSpace:
    """Every row that the rules can tell apart: a relation holds, held before an erasure, or does not hold; a fact is
    true, false or unknown."""
    left = had.conditions | has.conditions
    relations = sorted({condition.relation for condition in left if condition.relation is not None})
    facts = sorted({about.fact for condition in left for about in condition.facts})
    return RequestSpace(
        AccessRequest("", "", NO_STATE, frozenset(), frozenset(), frozenset()),
        tuple(sorted(had.states | has.states)),
        dict.fromkeys(facts, KNOWN_OR_NOT),
        [(name, former_word(name), None) for name in relations],
    )
