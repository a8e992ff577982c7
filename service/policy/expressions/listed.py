"""Finds comparisons with constants that an attribute never has: of an attribute that has one of a few values, and of a
list of names without a prefix. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.policy.expressions.flaw import FlawFoundError
from service.policy.expressions.term import Element, Literal, Operation, Operator, Quantifier, Reference, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

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

# A row writes `role:payroll` and `group:night-shift`; the lists of roles and groups hold the names alone.
_PREFIXES: Final = ("role:", "group:")
# Both sides may be the constant. In `"x".contains(NAME)`, a constant with a prefix can contain the name.
_EITHER_SIDE: Final = frozenset({Operator.EQUAL, Operator.UNEQUAL, Operator.IN})


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


def find_prefixed(
    term: Term, lists: Collection[str], variables: Mapping[str, Term] | None = None
) -> Iterator[FlawFoundError]:
    """A flaw for each constant such as `role:payroll` that is compared with the names in a list or looked up there.

    `lists`: the attributes that hold names without a prefix. `variables`: those of quantifiers around the term, with
    the list that they go through.
    """
    around = variables or {}
    if isinstance(term, Quantifier):
        around = {**around, term.variable: term.items}
    if isinstance(term, Operation) and term.operator in _TESTS:
        operands = tuple(_go_through(operand, around) for operand in term.operands)
        for names, constant in [operands, operands[::-1]] if term.operator in _EITHER_SIDE else [operands]:
            if isinstance(names, Reference) and names.name in lists and isinstance(constant, Literal):
                yield from _explain_prefixes(names.name, constant)
    for part in parts_of(term):
        yield from find_prefixed(part, lists, around)


def _go_through(term: Term, variables: Mapping[str, Term]) -> Term:
    """The list that the variable of a quantifier goes through; another term as it is."""
    return variables.get(term.name, term) if isinstance(term, Element) else term


def _explain_prefixes(name: str, constant: Literal) -> Iterator[FlawFoundError]:
    wanted = constant.value if isinstance(constant.value, tuple) else (constant.value,)
    if wrong := with_prefix(map(str, wanted)):
        message = f"{_quote(wrong)} {'fits' if len(wrong) == 1 else 'fit'} no name in {name}"
        yield FlawFoundError(message, constant.place, explain_names(wrong))


def with_prefix(names: Iterable[str]) -> list[str]:
    """The names that begin with `role:` or `group:`."""
    return [name for name in names if name.startswith(_PREFIXES)]


def explain_names(wrong: Iterable[str]) -> str:
    """The suggestion that names the constants without their prefixes."""
    right = _quote(rest for name in wrong if (rest := name.partition(":")[2]))
    return f"names there have no prefix: write {right}" if right else "names there have no prefix"


def _quote(names: Iterable[str]) -> str:
    return " and ".join(f"'{name}'" for name in names)
