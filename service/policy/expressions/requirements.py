"""The requirements of an expression on single attributes, to find conditions that exclude each other.

`resource.minutes > 2400 && principal.country == "DE"` requires minutes from 2401 on and one country. A condition that
compares attributes with each other requires nothing here, so an empty result proves a conflict and nothing else does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from service.policy.expressions.bounds import as_number
from service.policy.expressions.term import Literal, Operation, Operator, Presence, Reference, TermType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from service.policy.expressions.term import Term

# The values that are possible: an interval of numbers, either end open if None, or a set.
Allowed: TypeAlias = "tuple[int | None, int | None] | frozenset[object]"
_OPPOSITES: Final = {
    Operator.EQUAL: Operator.UNEQUAL,
    Operator.UNEQUAL: Operator.EQUAL,
    Operator.LESS: Operator.AT_LEAST,
    Operator.AT_LEAST: Operator.LESS,
    Operator.GREATER: Operator.AT_MOST,
    Operator.AT_MOST: Operator.GREATER,
}
_MIRRORED: Final = {
    Operator.EQUAL: Operator.EQUAL,
    Operator.UNEQUAL: Operator.UNEQUAL,
    Operator.LESS: Operator.GREATER,
    Operator.GREATER: Operator.LESS,
    Operator.AT_MOST: Operator.AT_LEAST,
    Operator.AT_LEAST: Operator.AT_MOST,
}
_COUNTED: Final = frozenset({TermType.INT, TermType.TIMESTAMP})


def exclude_each_other(wanted: Iterable[tuple[Term, bool]]) -> bool:
    """Whether these terms provably cannot all have these truth values at once."""
    together: dict[str, Allowed] = {}
    return any(not _merge(together, requirements_of(term, truth=truth)) for term, truth in wanted)


def requirements_of(term: Term, *, truth: bool) -> list[tuple[str, Allowed]]:
    """The requirements for the term to have this truth value, by attribute."""
    match term:
        case Reference():
            return [(term.name, frozenset({truth}))]
        case Presence():
            return [(f"has({term.name})", frozenset({truth}))]
        case Operation(operator=Operator.NOT):
            return requirements_of(term.operands[0], truth=not truth)
        case Operation(operator=Operator.AND | Operator.OR) if truth is (term.operator is Operator.AND):
            return [found for part in term.operands for found in requirements_of(part, truth=truth)]
        case Operation(operands=(left, right)):
            return _requirements_of_test(left, term.operator, right, truth=truth)
        case _:
            return []


def _requirements_of_test(left: Term, operator: Operator, right: Term, *, truth: bool) -> list[tuple[str, Allowed]]:
    if operator is Operator.IN and truth and isinstance(left, Reference) and isinstance(right, Literal):
        return [(left.name, frozenset(right.value))] if isinstance(right.value, tuple) else []
    if operator not in _OPPOSITES:
        return []
    operator = operator if truth else _OPPOSITES[operator]
    if isinstance(left, Literal):
        left, operator, right = right, _MIRRORED[operator], left
    return _requirements_of_comparison(left, operator, right) if isinstance(right, Literal) else []


def _requirements_of_comparison(term: Term, operator: Operator, constant: Literal) -> list[tuple[str, Allowed]]:
    """The requirements of `term operator constant`, if the term is an attribute or its size."""
    name = _name(term)
    if name is None or operator is Operator.UNEQUAL:
        return []
    if term.type not in _COUNTED:
        return [(name, frozenset({constant.value}))] if operator is Operator.EQUAL else []
    number = as_number(constant.value)
    intervals: Mapping[Operator, Allowed] = {
        Operator.EQUAL: (number, number),
        Operator.LESS: (None, number - 1),
        Operator.AT_MOST: (None, number),
        Operator.GREATER: (number + 1, None),
        Operator.AT_LEAST: (number, None),
    }
    return [(name, intervals[operator])]


def _name(term: Term) -> str | None:
    if isinstance(term, Reference):
        return term.name
    if isinstance(term, Operation) and term.operator is Operator.SIZE and isinstance(term.operands[0], Reference):
        return f"size({term.operands[0].name})"
    return None


def _merge(together: dict[str, Allowed], found: Iterable[tuple[str, Allowed]]) -> bool:
    """Add requirements. False if an attribute has no possible value left."""
    for name, allowed in found:
        merged = _intersect(together[name], allowed) if name in together else allowed
        if merged is None:
            return False
        together[name] = merged
    return True


def _intersect(first: Allowed, second: Allowed) -> Allowed | None:
    if isinstance(first, frozenset) and isinstance(second, frozenset):
        return (first & second) or None
    if isinstance(first, frozenset):
        return _within(first, second)
    if isinstance(second, frozenset):
        return _within(second, first)
    lows = [low for low in (first[0], second[0]) if low is not None]
    highs = [high for high in (first[1], second[1]) if high is not None]
    if lows and highs and max(lows) > min(highs):
        return None
    return (max(lows, default=None), min(highs, default=None))


def _within(values: frozenset[object], interval: Allowed) -> Allowed | None:
    """The numbers of a set that are in an interval."""
    if isinstance(interval, frozenset):
        return values & interval
    low, high = interval
    numbers = [value for value in values if isinstance(value, int)]
    found = [number for number in numbers if (low is None or number >= low) and (high is None or number <= high)]
    return frozenset(found) or None
