"""What an expression can be at all: intervals of its numbers and times, and the truth values that follow.

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
    Literal,
    Operation,
    Operator,
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
# What both CEL and Postgres can hold.
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


def possible_truths(term: Term, known: Mapping[str, Interval]) -> Truth:
    """The truth values that a bool term can have, and perhaps more, but for unknown. `known`: intervals of int
    attributes, and of the sizes of lists and strings."""
    return _Bounds(known).truth(term)


@dataclass(frozen=True, slots=True)
class _Bounds:
    known: Mapping[str, Interval] = field(default_factory=dict)

    def visit(self, term: Term) -> None:
        """Compute what the type of the term has: truth values, an interval or a size."""
        if term.type is TermType.BOOL:
            self.truth(term)
        elif term.type in _SIZED:
            self.size(term)
        else:
            self.interval(term)

    def truth(self, term: Term) -> Truth:
        match term:
            case Literal():
                return frozenset({bool(term.value)})
            case Quantifier():
                return self._truth_of_quantifier(term)
            case Operation(operator=Operator.IF):
                chosen, yes, no = map(self.truth, term.operands)
                return (yes if True in chosen else frozenset()) | (no if False in chosen else frozenset())
            case Operation(operator=operator) if operator in _CONNECT:
                parts = [self.truth(operand) for operand in term.operands]
                return frozenset(_CONNECT[operator](values) for values in product(*parts))
            case Operation():
                return self._truth_of_test(term)
            case _:
                return EITHER

    def interval(self, term: Term) -> Interval:
        match term:
            case Literal():
                number = _as_number(term.value)
                return (number, number)
            case Reference():
                return self.known.get(term.name, _DEFAULTS[term.type])
            case Operation():
                return self._interval_of_operation(term)
            case _:
                return _DEFAULTS[term.type]

    def size(self, term: Term) -> Interval:
        """The interval of the size of a string or list."""
        match term:
            case Literal(value=str() | tuple() as value):
                return (len(value), len(value))
            case Reference():
                return self.known.get(term.name, (0, _LARGEST_SIZE))
            case Operation(operator=Operator.ADD):
                (low, high), (more_low, more_high) = map(self.size, term.operands)
                return (low + more_low, high + more_high)
            case Operation(operator=Operator.IF):
                self.truth(term.operands[0])
                return _join(*map(self.size, term.operands[1:]))
            case _:
                return (0, _LARGEST_SIZE)

    def _truth_of_quantifier(self, term: Quantifier) -> Truth:
        condition, (least, most) = self.truth(term.condition), self.size(term.items)
        empty = frozenset({term.every})
        return (empty if least == 0 else frozenset()) | (condition if most > 0 else frozenset())

    def _truth_of_test(self, term: Operation) -> Truth:
        first, second = term.operands
        if term.operator is Operator.IN:
            self.visit(first)
            return _NO if self.size(second)[1] == 0 else EITHER
        if term.operator in _COMPARE and first.type in _LIMITS:
            return _COMPARE[term.operator](self.interval(first), self.interval(second))
        self.visit(first)
        self.visit(second)
        return EITHER

    def _interval_of_operation(self, term: Operation) -> Interval:
        if term.operator is Operator.SIZE:
            return self.size(term.operands[0])
        if term.operator is Operator.IF:
            chosen = self.truth(term.operands[0])
            yes, no = map(self.interval, term.operands[1:])
            return _join(yes, no) if chosen == EITHER else yes if True in chosen else no
        found = _calculate(term.operator, [self.interval(operand) for operand in term.operands])
        low, high = _LIMITS[term.type]
        if found[0] < low or found[1] > high:
            raise FlawFoundError(
                f"The result of this {term.operator} could become too large",
                term.place,
                "use smaller constants, or compare the parts apart",
            )
        return found


def _calculate(operator: Operator, parts: list[Interval]) -> Interval:
    if operator is Operator.NEGATE:
        ((low, high),) = parts
        return (-high, -low)
    (low, high), (other_low, other_high) = parts
    if operator is Operator.ADD:
        return (low + other_low, high + other_high)
    if operator is Operator.SUBTRACT:
        return (low - other_high, high - other_low)
    products = [a * b for a, b in product((low, high), (other_low, other_high))]
    return (min(products), max(products))


def _join(first: Interval, second: Interval) -> Interval:
    return (min(first[0], second[0]), max(first[1], second[1]))


def _as_number(value: object) -> int:
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


_CONNECT: Final[Mapping[Operator, Callable[[tuple[bool, ...]], bool]]] = {
    Operator.AND: all,
    Operator.OR: any,
    Operator.NOT: lambda values: not values[0],
}
_COMPARE: Final[Mapping[Operator, Callable[[Interval, Interval], Truth]]] = {
    Operator.EQUAL: _equal,
    Operator.UNEQUAL: lambda left, right: _negate(_equal(left, right)),
    Operator.LESS: _less,
    Operator.GREATER: lambda left, right: _less(right, left),
    Operator.AT_MOST: lambda left, right: _negate(_less(right, left)),
    Operator.AT_LEAST: lambda left, right: _negate(_less(left, right)),
}
