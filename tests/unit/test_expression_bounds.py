"""Bounds of expressions hold for random expressions over random values, and rule out overflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.policy.attributes import AttributeType
from service.policy.expressions.expression import Expression, Flaw, can_hold_together, compile_expression
from tests.example_count import example_count
from tests.random_expressions import DAY, KNOWN, TYPES, Values, expressions, values

if TYPE_CHECKING:
    from service.policy.attributes import Value
    from service.policy.expressions.bounds import Interval


def bounds_of(row: Values) -> dict[str, Interval | None]:
    """The bounds that values give: an interval of each number and size, None for a missing value."""
    found: dict[str, Interval | None] = {name: None for name in TYPES if name not in row}
    for name, value in row.items():
        if isinstance(value, int) and TYPES[name] is AttributeType.INT:
            found[name] = (value, value)
        elif isinstance(value, str | tuple):
            found[name] = (len(value), len(value))
    return found


@settings(max_examples=example_count(120))
@given(text=expressions(), rows=st.lists(values, min_size=1, max_size=6))
def test_no_value_is_out_of_bounds(text: str, rows: list[Values]) -> None:
    expression = compile_expression(text, KNOWN)
    if isinstance(expression, Flaw):
        return
    for row in rows:
        found = expression.evaluate(row)
        if found is not None:
            assert found in expression.bounds({}), (text, row)
            assert found in expression.bounds(bounds_of(row)), (text, row)


VALUE_OF_TYPE: dict[AttributeType, Value] = {
    AttributeType.INT: 40,
    AttributeType.STRING: "a",
    AttributeType.BOOL: True,
    AttributeType.TIMESTAMP: DAY,
    AttributeType.STRINGS: ("a",),
    AttributeType.INTS: (40,),
    AttributeType.BOOLS: (True,),
}
FILLING: Values = {name: VALUE_OF_TYPE[kind] for name, kind in TYPES.items()}


@settings(max_examples=example_count(120))
@given(text=expressions(), name=st.sampled_from(sorted(TYPES)), rows=st.lists(values, min_size=1, max_size=6))
def test_every_answer_without_a_value_is_foreseen(text: str, name: str, rows: list[Values]) -> None:
    expression = compile_expression(text, KNOWN)
    if isinstance(expression, Flaw):
        return
    for row in rows:
        found = expression.evaluate({**FILLING, **row, name: None})
        assert found in expression.answers_without(name), (text, name, row)


def test_an_attribute_that_is_always_missing_leaves_what_does_not_need_it() -> None:
    def truths(text: str) -> frozenset[bool]:
        expression = compile_expression(text, KNOWN)
        assert isinstance(expression, Expression)
        return expression.bounds({"resource.minutes": None, "resource.projects": None, "principal.country": None})

    assert truths("resource.minutes > 3") == frozenset()
    assert truths("resource.minutes > 3 || principal.remote") == {True}
    assert truths("resource.minutes > 3 && principal.remote") == {False}
    assert truths("has(resource.minutes)") == {False}
    assert truths("resource.projects.exists(x, true) || size(resource.projects) > -1") == frozenset()
    assert truths('principal.country + "a" == "b" || principal.country in ["c"]') == frozenset()
    assert truths("(principal.remote ? resource.minutes : 3) > 2") == {True}
    assert truths("(resource.minutes > 2 ? 1 : 3) > 2") == frozenset()


@settings(max_examples=example_count(120))
@given(texts=st.lists(expressions(3), min_size=1, max_size=3), rows=st.lists(values, min_size=1, max_size=6))
def test_what_holds_together_is_never_said_to_exclude_itself(texts: list[str], rows: list[Values]) -> None:
    found = [compile_expression(text, KNOWN) for text in texts]
    facts = [expression for expression in found if isinstance(expression, Expression)]
    for row in rows:
        known = [(fact, value) for fact in facts if (value := fact.evaluate(row)) is not None]
        assert can_hold_together(known), (texts, row)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("resource.minutes > 2400", "resource.minutes < 2401"),
        ("2400 < resource.minutes && principal.remote", "!(resource.minutes > 1200)"),
        ('principal.country == "DE"', 'principal.country in ["AT", "CH"]'),
        ("principal.remote", "!principal.remote"),
        ("size(principal.groups) >= 2", "principal.groups.size() == 1"),
        ("resource.minutes in [1, 2]", "resource.minutes > 2"),
        ("!(resource.minutes < 5 || principal.remote)", "resource.minutes <= 4"),
        ('context.now > timestamp("2026-01-01T00:00:00Z")', 'context.now <= timestamp("2026-01-01T00:00:00Z")'),
        ("has(resource.minutes)", "!has(resource.minutes)"),
        ("1 > 2", "principal.remote"),
    ],
)
def test_conditions_that_exclude_each_other_are_found(first: str, second: str) -> None:
    facts = [compile_expression(text, KNOWN) for text in (first, second)]
    wanted = [(fact, True) for fact in facts if isinstance(fact, Expression)]
    assert len(wanted) == 2
    assert not can_hold_together(wanted)
    assert can_hold_together([(wanted[1][0], True)])
