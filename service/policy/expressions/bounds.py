"""The bounds of an expression: intervals of its numbers and times, and the truth values that follow.

A sum that could overflow is refused, because CEL and Postgres would differ there. And an author learns that a condition
can never hold, or holds too early.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, Final, TypeAlias

from service.policy.attributes import EARLIEST, LATEST, MAX_INT
from service.policy.expressions.flaw import FlawFoundError
from service.policy.expressions.term import (
    ELEMENTS,
    Element,
    Literal,
    Operation,
    Operator,
    Presence,
    Quantifier,
    Reference,
    TermType,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.policy.expressions.term import Term

# The least and the greatest value; times and durations in microseconds, times since 1970.
Interval: TypeAlias = "tuple[int, int]"
Truth: TypeAlias = "frozenset[bool]"

EITHER: Final[Truth] = frozenset({True, False})
_YES: Final[Truth] = frozenset({True})
_NO: Final[Truth] = frozenset({False})
_MICROSECOND: Final = 1_000_000
_LARGEST_SIZE: Final = 2**31
_ANY_TIME: Final = (int(EARLIEST.timestamp()) * _MICROSECOND, int(LATEST.timestamp()) * _MICROSECOND)
_YEAR: Final = 365 * 24 * 3600 * _MICROSECOND
# The numbers that both CEL and Postgres can hold.
_LIMITS: Final = {
    TermType.INT: (1 - 2**63, 2**63 - 1),
    TermType.DURATION: (-291 * _YEAR, 291 * _YEAR),
    TermType.TIMESTAMP: (_ANY_TIME[0] - 1_000 * _YEAR, _ANY_TIME[1] + 1_000 * _YEAR),
}
_DEFAULTS: Final = {
    TermType.INT: (-MAX_INT, MAX_INT),
    TermType.TIMESTAMP: _ANY_TIME,
}
_SIZED: Final = frozenset({TermType.STRING, *ELEMENTS})


def check_overflow(term: Term) -> None:
    """Raise FlawFoundError if a sum or product in it could become too large."""
    _Bounds().visit(term)


def possible_truths(term: Term, known: Mapping[str, Interval | None]) -> Truth:
    """The truth values that a bool term can have, and perhaps more, but for unknown. `known`: intervals of int
    attributes, and of the sizes of lists and strings; None for an attribute that is always missing."""
    return _Bounds(known).truth(term)


@dataclass(frozen=True, slots=True)
class _Bounds:
    """An empty set of truth values, and None for an interval, stand for a term that is always unknown."""

    known: Mapping[str, Interval | None] = field(default_factory=dict)

    def visit(self, term: Term) -> bool:
        """Compute what the type of the term has: truth values, an interval or a size. False if it is always unknown."""
        if term.type is TermType.BOOL:
            return bool(self.truth(term))
        return (self.size(term) if term.type in _SIZED else self.interval(term)) is not None

    def is_missing(self, name: str) -> bool:
        return self.known.get(name, _ANY_TIME) is None

    def truth(self, term: Term) -> Truth:
        match term:
            case Literal():
                return frozenset({bool(term.value)})
            case Presence():
                return _NO if self.is_missing(term.name) else EITHER
            case Reference() | Element():
                return frozenset() if self.is_missing(term.name) else EITHER
            case Quantifier():
                return self._truth_of_quantifier(term)
            case Operation():
                return self._truth_of_operation(term)

    def _truth_of_operation(self, term: Operation) -> Truth:
        match term.operator:
            case Operator.NOT:
                return _negate(self.truth(term.operands[0]))
            case Operator.AND | Operator.OR:
                left, right = map(self.truth, term.operands)
                # The value that decides alone, and the value that both sides must have.
                deciding = frozenset({term.operator is Operator.OR})
                return ((left | right) & deciding) | (left & right)
            case Operator.IF:
                chosen, yes, no = map(self.truth, term.operands)
                return (yes if True in chosen else frozenset()) | (no if False in chosen else frozenset())
            case _:
                return self._truth_of_test(term)

    def interval(self, term: Term) -> Interval | None:
        match term:
            case Literal():
                number = as_number(term.value)
                return (number, number)
            case Reference():
                return self.known.get(term.name, _DEFAULTS[term.type])
            case Operation():
                return self._interval_of_operation(term)
            case _:
                return _DEFAULTS[term.type]

    def size(self, term: Term) -> Interval | None:
        """The interval of the size of a string or list."""
        match term:
            case Literal(value=str() | tuple() as value):
                return (len(value), len(value))
            case Reference():
                return self.known.get(term.name, (0, _LARGEST_SIZE))
            case Operation(operator=Operator.ADD):
                return _calculate(term.operator, [self.size(operand) for operand in term.operands])
            case Operation(operator=Operator.IF):
                return _choose(self.truth(term.operands[0]), *map(self.size, term.operands[1:]))
            case _:
                return (0, _LARGEST_SIZE)

    def _truth_of_quantifier(self, term: Quantifier) -> Truth:
        condition, size = self.truth(term.condition), self.size(term.items)
        if size is None:
            return frozenset()
        empty = frozenset({term.every})
        return (empty if size[0] == 0 else frozenset()) | (condition if size[1] > 0 else frozenset())

    def _truth_of_test(self, term: Operation) -> Truth:
        first, second = term.operands
        if not all([self.visit(first), self.visit(second)]):
            return frozenset()
        if term.operator is Operator.IN:
            size = self.size(second)
            return _NO if size is not None and size[1] == 0 else EITHER
        left, right = (self.interval(first), self.interval(second)) if first.type in _LIMITS else (None, None)
        if left is None or right is None:
            return EITHER
        return _COMPARE[term.operator](left, right)

    def _interval_of_operation(self, term: Operation) -> Interval | None:
        if term.operator is Operator.SIZE:
            return self.size(term.operands[0])
        if term.operator is Operator.IF:
            return _choose(self.truth(term.operands[0]), *map(self.interval, term.operands[1:]))
        found = _calculate(term.operator, [self.interval(operand) for operand in term.operands])
        low, high = _LIMITS[term.type]
        if found is not None and (found[0] < low or found[1] > high):
            raise FlawFoundError(
                f"The result of this {term.operator} could become too large",
                term.place,
                "use smaller constants, or compare the parts apart",
            )
        return found


def _calculate(operator: Operator, parts: list[Interval | None]) -> Interval | None:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    if operator is Operator.NEGATE:
        ((low, high),) = known
        return (-high, -low)
    (low, high), (other_low, other_high) = known
    if operator is Operator.ADD:
        return (low + other_low, high + other_high)
    if operator is Operator.SUBTRACT:
        return (low - other_high, high - other_low)
    products = [a * b for a, b in product((low, high), (other_low, other_high))]
    return (min(products), max(products))


def _choose(condition: Truth, yes: Interval | None, no: Interval | None) -> Interval | None:
    """The interval of the values that `?:` chooses from."""
    chosen = [part for truth, part in ((True, yes), (False, no)) if truth in condition and part is not None]
    return (min(part[0] for part in chosen), max(part[1] for part in chosen)) if chosen else None


def as_number(value: object) -> int:
    """A number, or microseconds, as intervals count."""
    if isinstance(value, int):
        return value
    if isinstance(value, datetime):
        return (value - EARLIEST) // timedelta(microseconds=1) + _ANY_TIME[0]
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    raise TypeError(f"{type(value)} has no number")


def _less(left: Interval, right: Interval) -> Truth:
    if left[1] < right[0]:
        return _YES
    return _NO if left[0] >= right[1] else EITHER


def _equal(left: Interval, right: Interval) -> Truth:
    if left[1] < right[0] or right[1] < left[0]:
        return _NO
    return _YES if left[0] == left[1] == right[0] == right[1] else EITHER


def _negate(truth: Truth) -> Truth:
    return frozenset(not value for value in truth)


_COMPARE: Final[Mapping[Operator, Callable[[Interval, Interval], Truth]]] = {
    Operator.EQUAL: _equal,
    Operator.UNEQUAL: lambda left, right: _negate(_equal(left, right)),
    Operator.LESS: _less,
    Operator.GREATER: lambda left, right: _less(right, left),
    Operator.AT_MOST: lambda left, right: _negate(_less(right, left)),
    Operator.AT_LEAST: lambda left, right: _negate(_less(left, right)),
}
