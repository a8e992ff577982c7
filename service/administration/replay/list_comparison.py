"""Would two versions show one asker the same rows of a list? Pure: owns no state.

A record of a list holds which rows it returned, and not what the asker was to them or to all the others. So what two
versions leave of their rules is compared for every row that there could be.
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

MAX_TOLD: Final = 3


class ShownRows(Enum):
    """The rows that are shown now: the SAME as before, NONE any more, or OTHERS."""

    SAME = auto()
    NONE = auto()
    OTHERS = auto()


def compared(before: ListRules, now: ListRules) -> ShownRows:
    """How the rows differ that a list could show."""
    had, has = _Left.of(before), _Left.of(now)
    if had == has:
        return ShownRows.SAME
    rows = _possible_rows(had, has)
    if not Budget().spend(rows.size * len(had.conditions | has.conditions)):
        return ShownRows.OTHERS
    shown = {(had.shows(row), has.shows(row)) for row in rows}
    if shown <= {(True, True), (False, False)}:
        return ShownRows.SAME
    return ShownRows.NONE if shown <= {(True, False), (False, False)} else ShownRows.OTHERS


def differing(before: ListRules, now: ListRules) -> tuple[str, ...]:
    """The names of the first rules that only one of the two has, or has with other conditions."""
    one, other = (dict.fromkeys((rule.name, left) for rule, left in (*had.shown, *had.hidden)) for had in (now, before))
    names = (name for name, left in chain(one, other) if ((name, left) in one) != ((name, left) in other))
    return tuple(dict.fromkeys(names))[:MAX_TOLD]


@dataclass(frozen=True, slots=True)
class _Left:
    """The conditions of a version without the names of its rules: several rules may ask for the same."""

    shown: frozenset[RowCondition]
    hidden: frozenset[RowCondition]
    states: frozenset[str]

    @classmethod
    def of(cls, left: ListRules) -> _Left:
        return cls(frozenset(one for _, one in left.shown), frozenset(one for _, one in left.hidden), left.states)

    @property
    def conditions(self) -> frozenset[RowCondition]:
        return self.shown | self.hidden

    def shows(self, row: AccessRequest) -> bool:
        """As `visibility` writes it: one condition shows the row, none hides it, and its state is known."""
        if self.states and row.state not in self.states:
            return False
        shown = any(row_matches(one, Effect.ALLOW, row) for one in self.shown)
        return shown and not any(row_matches(one, Effect.DENY, row) for one in self.hidden)


def _possible_rows(had: _Left, has: _Left) -> RequestSpace:
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
