"""Writes a term as one SQL expression. NULL is unknown, and every operator has CEL's meaning.

`AND`, `OR`, `NOT`, comparisons and strict functions treat NULL as CEL treats an error. Where SQL differs, the places
below say so. Constants hold no character that has a meaning in SQL or in a template: they may pass through both.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from service.policy.expressions.term import (
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
    from collections.abc import Mapping

    from service.policy.expressions.term import Constant, Term

# The row that a quantifier makes of each element of its list.
_ELEMENT: Final = "cel_element.value"
_SQL_TYPES: Final = {TermType.STRINGS: "text[]", TermType.INTS: "bigint[]", TermType.BOOLS: "boolean[]"}
_FORMS: Final = {
    Operator.AND: "({0} AND {1})",
    Operator.OR: "({0} OR {1})",
    Operator.NOT: "(NOT {0})",
    Operator.EQUAL: "({0} = {1})",
    Operator.UNEQUAL: "({0} <> {1})",
    Operator.LESS: "({0} < {1})",
    Operator.AT_MOST: "({0} <= {1})",
    Operator.GREATER: "({0} > {1})",
    Operator.AT_LEAST: "({0} >= {1})",
    Operator.ADD: "({0} + {1})",
    Operator.SUBTRACT: "({0} - {1})",
    Operator.MULTIPLY: "({0} * {1})",
    Operator.NEGATE: "(- {0})",
    Operator.IN: "({0} = ANY ({1}))",
    # Not `CASE WHEN NOT`: the condition would stand twice.
    Operator.IF: "(CASE {0} WHEN TRUE THEN {1} WHEN FALSE THEN {2} END)",
    Operator.SIZE: "CAST(cardinality({0}) AS bigint)",
    Operator.STARTS_WITH: "starts_with({0}, {1})",
    Operator.ENDS_WITH: "starts_with(reverse({0}), reverse({1}))",
    Operator.CONTAINS: "(strpos({0}, {1}) > 0)",
}
_FORMS_OF_STRINGS: Final = {
    Operator.ADD: "({0} || {1})",
    Operator.SIZE: "CAST(char_length({0}) AS bigint)",
}
# NULL = ANY ('{}') is false, and must be NULL.
_IN_PERHAPS_EMPTY: Final = "(CASE WHEN {0} IS NOT NULL THEN {0} = ANY ({1}) END)"
_PLAIN = re.compile(r"[A-Za-z0-9_ .,-]*", re.ASCII)


def write_sql(term: Term, columns: Mapping[str, str]) -> str:
    """The expression in parentheses. `columns`: the SQL of each attribute, of the type that the attribute has."""
    match term:
        case Literal():
            return write_constant(term.value, term.type)
        case Reference():
            return f"({columns[term.name]})"
        case Presence():
            return f"(({columns[term.name]}) IS NOT NULL)"
        case Element():
            return _ELEMENT
        case Quantifier():
            return _write_quantifier(term, columns)
        case Operation():
            return _write_operation(term, columns)


def write_constant(value: Constant, kind: TermType) -> str:
    """A constant as SQL, made of characters that are safe in any template."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return f"CAST({value} AS bigint)"
    if isinstance(value, str):
        return f"CAST({_quote(value)} AS text)"
    if isinstance(value, datetime):
        return f"CAST({_quote(value.astimezone(UTC).isoformat())} AS timestamptz)"
    if isinstance(value, timedelta):
        seconds, rest = divmod(abs(value) // timedelta(microseconds=1), 1_000_000)
        sign = "-" if value < timedelta() else ""
        hours, seconds = divmod(seconds, 3600)
        return f"CAST('{sign}{hours} hours {sign}{seconds}.{rest:06} seconds' AS interval)"
    items = ", ".join(write_constant(item, TermType.STRING) for item in value)
    return f"CAST(ARRAY[{items}] AS {_SQL_TYPES[kind]})"


def _quote(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return f"'{text}'"
    return "U&'" + "".join(c if _PLAIN.fullmatch(c) else rf"\+{ord(c):06X}" for c in text) + "'"


def _write_operation(term: Operation, columns: Mapping[str, str]) -> str:
    parts = [write_sql(operand, columns) for operand in term.operands]
    form = _FORMS[term.operator]
    inner = ""
    if term.operator is Operator.IN and not any(isinstance(part, Literal | Element) for part in term.operands):
        form = _IN_PERHAPS_EMPTY
        if not isinstance(term.operands[0], Reference):
            inner, parts[0] = parts[0], "cel_value.value"
    if term.operands[0].type is TermType.STRING:
        form = _FORMS_OF_STRINGS.get(term.operator, form)
        # CEL compares code points, as this collation does. It also settles which of two collations is meant.
        parts[0] = f'({parts[0]} COLLATE "C")'
    written = form.format(*parts)
    # An operand that stood twice at each level would double the SQL with each. OFFSET 0 keeps Postgres from doing so.
    return f"(SELECT {written} FROM (SELECT {inner} AS value OFFSET 0) AS cel_value)" if inner else written


def _write_quantifier(term: Quantifier, columns: Mapping[str, str]) -> str:
    """`= ANY` and `= ALL` over a subquery have CEL's three values. A missing list is no empty one."""
    items, condition = write_sql(term.items, columns), write_sql(term.condition, columns)
    word = "ALL" if term.every else "ANY"
    found = f"(TRUE = {word} (SELECT {condition} FROM unnest({items}) AS cel_element (value)))"
    return found if isinstance(term.items, Literal) else f"(CASE WHEN {items} IS NOT NULL THEN {found} END)"
