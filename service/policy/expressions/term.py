"""The parts of a checked expression: terms with types. Every reading of an expression walks them: SQL and bounds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime, timedelta

Constant: TypeAlias = "bool | int | str | datetime | timedelta | tuple[str, ...] | tuple[int, ...] | tuple[bool, ...]"


class TermType(StrEnum):
    """The types of attributes, and durations."""

    STRING = "string"
    INT = "int"
    BOOL = "bool"
    TIMESTAMP = "timestamp"
    DURATION = "duration"
    STRINGS = "list<string>"
    INTS = "list<int>"
    BOOLS = "list<bool>"


# The type of an element of each list, and the list of each element.
ELEMENTS: Final = {
    TermType.STRINGS: TermType.STRING,
    TermType.INTS: TermType.INT,
    TermType.BOOLS: TermType.BOOL,
}
LISTS: Final = {element: listed for listed, element in ELEMENTS.items()}
ORDERED: Final = frozenset({TermType.STRING, TermType.INT, TermType.TIMESTAMP, TermType.DURATION})


class Operator(StrEnum):
    """The name of an operation, as an author writes it. NEGATE is the minus of a single number."""

    AND = "&&"
    OR = "||"
    NOT = "!"
    EQUAL = "=="
    UNEQUAL = "!="
    LESS = "<"
    AT_MOST = "<="
    GREATER = ">"
    AT_LEAST = ">="
    ADD = "+"
    SUBTRACT = "-"
    MULTIPLY = "*"
    NEGATE = "- of a number"
    IN = "in"
    IF = "?:"
    SIZE = "size"
    STARTS_WITH = "startsWith"
    ENDS_WITH = "endsWith"
    CONTAINS = "contains"


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant. `place` is the offset of a term in the text, in characters."""

    type: TermType
    value: Constant
    place: int


@dataclass(frozen=True, slots=True)
class Reference:
    """The value of an attribute."""

    type: TermType
    name: str
    place: int


@dataclass(frozen=True, slots=True)
class Presence:
    """`has(NAME)`: whether an attribute has a value. Never unknown."""

    type: TermType
    name: str
    place: int


@dataclass(frozen=True, slots=True)
class Element:
    """The element of a list that a quantifier looks at. Never unknown."""

    type: TermType
    name: str
    place: int


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator or function with its operands; for a method, the first is what it is called on."""

    type: TermType
    operator: Operator
    operands: tuple[Term, ...]
    place: int


@dataclass(frozen=True, slots=True)
class Quantifier:
    """`items.all(variable, condition)` if `every`, or else `items.exists(variable, condition)`."""

    type: TermType
    every: bool
    items: Term
    variable: str
    condition: Term
    place: int


Term: TypeAlias = "Literal | Reference | Presence | Element | Operation | Quantifier"


def parts_of(term: Term) -> tuple[Term, ...]:
    """The terms that a term is made of."""
    match term:
        case Operation():
            return term.operands
        case Quantifier():
            return (term.items, term.condition)
        case _:
            return ()


def is_constant(term: Term) -> bool:
    """Whether the term reads nothing."""
    if isinstance(term, Operation):
        return all(map(is_constant, term.operands))
    return isinstance(term, Literal)


def is_measured(term: Term) -> bool:
    """Whether a duration comes from a difference of timestamps. Postgres counts such ones in days, whose length depends
    on the time zone of the session when they are added to a timestamp."""
    if not isinstance(term, Operation) or term.type is not TermType.DURATION:
        return False
    return any(part.type is TermType.TIMESTAMP or is_measured(part) for part in term.operands)
