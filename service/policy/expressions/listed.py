"""Finds comparisons of an attribute that has one of a few values with a constant that is none of them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.policy.expressions.flaw import FlawFoundError
from service.policy.expressions.term import Literal, Operation, Operator, Reference, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from service.policy.expressions.term import Term

# Whether a value of the attribute can meet the test.
_TESTS: Final[Mapping[Operator, Callable[[str, str], bool]]] = {
    Operator.EQUAL: str.__eq__,
    Operator.UNEQUAL: str.__eq__,
    Operator.IN: str.__eq__,
    Operator.STARTS_WITH: str.startswith,
    Operator.ENDS_WITH: str.endswith,
    Operator.CONTAINS: str.__contains__,
}


def find_unlisted(term: Term, listed: Mapping[str, Sequence[str]]) -> Iterator[FlawFoundError]:
    """A flaw for each comparison with constants that no value of the attribute meets. `listed`: all values that an
    attribute can have, by its name, if they are few."""
    if isinstance(term, Operation) and term.operator in _TESTS:
        sides = [term.operands]
        if term.operator in {Operator.EQUAL, Operator.UNEQUAL}:
            sides.append(term.operands[::-1])
        for attribute, constant in sides:
            if isinstance(attribute, Reference) and isinstance(constant, Literal) and attribute.name in listed:
                yield from _compare(attribute.name, listed[attribute.name], _TESTS[term.operator], constant)
    for part in parts_of(term):
        yield from find_unlisted(part, listed)


def _compare(
    name: str, values: Sequence[str], meets: Callable[[str, str], bool], constant: Literal
) -> Iterator[FlawFoundError]:
    wanted = constant.value if isinstance(constant.value, tuple) else (constant.value,)
    wrong = [f"'{text}'" for text in map(str, wanted) if not any(meets(value, text) for value in values)]
    if wrong:
        message = f"{' and '.join(wrong)} {'fits' if len(wrong) == 1 else 'fit'} no value of {name}"
        yield FlawFoundError(message, constant.place, explain_values(values))


def explain_values(values: Sequence[str]) -> str:
    """The suggestion that names the values."""
    return f"its values are {', '.join(values)}"
