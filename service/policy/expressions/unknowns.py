"""The answers that an expression can give while an attribute has no value: true, false and unknown.

`bounds` leaves unknown out, because no condition can ask for it. A deny matches an unknown fact, so its author wants to
know whether a fact can become unknown.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final, TypeAlias

from service.policy.expressions.term import (
    Element,
    Literal,
    Operation,
    Operator,
    Presence,
    Quantifier,
    Reference,
    parts_of,
)

if TYPE_CHECKING:
    from service.policy.expressions.term import Term

# None is unknown. A term of another type than bool that has a value answers both true and false.
Answers: TypeAlias = "frozenset[bool | None]"

_KNOWN: Final[Answers] = frozenset({True, False})
_UNKNOWN: Final[Answers] = frozenset({None})


def possible_answers(term: Term, missing: str) -> Answers:
    """The answers that a bool term can give, and perhaps more, while this attribute alone has no value."""
    match term:
        case Literal(value=bool() as value):
            return frozenset({value})
        case Literal() | Element():
            return _KNOWN
        case Presence():
            return frozenset({term.name != missing})
        case Reference():
            return _UNKNOWN if term.name == missing else _KNOWN
        case Quantifier():
            return _answers_of_quantifier(term, missing)
        case Operation():
            return _answers_of_operation(term, missing)


def _answers_of_quantifier(term: Quantifier, missing: str) -> Answers:
    items = possible_answers(term.items, missing)
    if items == _UNKNOWN:
        return items
    # The answer for an empty list, and those for its elements.
    return frozenset({term.every}) | (items & _UNKNOWN) | possible_answers(term.condition, missing)


def _answers_of_operation(term: Operation, missing: str) -> Answers:
    parts = [possible_answers(part, missing) for part in parts_of(term)]
    match term.operator:
        case Operator.NOT:
            return frozenset(None if answer is None else not answer for answer in parts[0])
        case Operator.AND | Operator.OR:
            deciding = term.operator is Operator.OR
            return frozenset(_combine(pair, deciding=deciding) for pair in product(*parts))
        case Operator.IF:
            chosen, yes, no = parts
            found = (chosen & _UNKNOWN) | (yes if True in chosen else frozenset())
            return found | (no if False in chosen else frozenset())
        case _ if _UNKNOWN in parts:
            return _UNKNOWN
        case _:
            return _KNOWN.union(*(part & _UNKNOWN for part in parts))


def _combine(pair: tuple[bool | None, ...], *, deciding: bool) -> bool | None:
    """`&&` or `||` of two answers, in Kleene's logic. `deciding`: the answer that decides alone."""
    if deciding in pair:
        return deciding
    return None if None in pair else not deciding
