"""An expression means the same to Postgres, to CEL's own runtime and to two other evaluators of CEL: a property over
random expressions and random values, some of them missing."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

import cel
import celpy
from celpy import celtypes
from celpy.evaluation import CELEvalError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.policy.attributes import AttributeType
from service.policy.expressions.expression import Expression, compile_expression
from tests.example_count import example_count
from tests.random_expressions import KNOWN, TYPES, expressions, values

if TYPE_CHECKING:
    import asyncpg

    from service.policy.attributes import Value

SQL_TYPES = {
    AttributeType.STRING: "text",
    AttributeType.INT: "bigint",
    AttributeType.BOOL: "boolean",
    AttributeType.TIMESTAMP: "timestamptz",
    AttributeType.STRINGS: "text[]",
    AttributeType.INTS: "bigint[]",
    AttributeType.BOOLS: "boolean[]",
}
COLUMNS = {name: f"seen.{name.replace('.', '_')}" for name in TYPES}
# Its rows are JSON objects, as many as there are examples of values.
ROWS = ", ".join(f"{name.replace('.', '_')} {SQL_TYPES[kind]}" for name, kind in TYPES.items())
PLACES = ", ".join(f"${place}::{SQL_TYPES[kind]}" for place, kind in enumerate(TYPES.values(), start=1))
NAMES = ", ".join(name.replace(".", "_") for name in TYPES)
# An attribute, longest name first, as a member of the map that the other evaluators are given.
NAME = re.compile(r"\b(" + "|".join(re.escape(name) for name in sorted(TYPES, key=len, reverse=True)) + r")\b")
REFUSALS = ("too large", "more than 1000 characters", "nested too deeply", "must not hold a condition")
# Known faults of the others: the evaluator in Python calls no method on a sum of strings, the one in Rust counts bytes.
LOSES_TYPES = re.compile(r"\)\.(startsWith|endsWith|contains)\(")
COUNTS_BYTES = re.compile(r"size\((?!resource\.(projects|owner\.teams)|principal\.groups)")
Asked: TypeAlias = "dict[str, Value]"
ENVIRONMENT = celpy.Environment()


def translate(text: str) -> str:
    """The expression for evaluators that do not know variables with dots."""
    return NAME.sub(lambda found: f"v.{found[1].replace('.', '_')}", text)


def as_celpy(value: Value) -> celtypes.Value:
    match value:
        case bool():
            return celtypes.BoolType(value)
        case int():
            return celtypes.IntType(value)
        case str():
            return celtypes.StringType(value)
        case datetime():
            return celtypes.TimestampType(value)
        case tuple():
            return celtypes.ListType([as_celpy(item) for item in value])
        case None:
            raise AssertionError("a missing value is left out")


def evaluate_in_python(text: str, asked: Asked) -> bool | None:
    members = {celtypes.StringType(name.replace(".", "_")): as_celpy(value) for name, value in asked.items()}
    try:
        program = ENVIRONMENT.program(ENVIRONMENT.compile(translate(text)))
        found = program.evaluate({"v": celtypes.MapType(members)})
    except CELEvalError:
        return None
    return bool(found) if isinstance(found, celtypes.BoolType | bool) else None


def evaluate_in_rust(text: str, asked: Asked) -> bool | None:
    members = {
        name.replace(".", "_"): list(value) if isinstance(value, tuple) else value for name, value in asked.items()
    }
    try:
        found = cel.evaluate(translate(text), {"v": members})
    except (KeyError, ValueError, TypeError, RuntimeError):
        return None
    return found if isinstance(found, bool) else None


@settings(
    max_examples=example_count(100),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(text=expressions(), asked=st.lists(values, min_size=1, max_size=6))
@example("principal.country in resource.projects", [{"resource.projects": ()}])
@example(
    "(principal.remote in resource.owner.teams.remote) in resource.owner.teams.remote", [{"principal.remote": True}]
)
@example(
    "(principal.remote ? 'a' : 'b') in resource.projects", [{"principal.remote": True, "resource.projects": ("a",)}]
)
@example("resource.submitted_at + duration('876000h') - context.now > duration('1h')", [{}])
async def test_an_expression_means_the_same_to_everybody(
    superuser: asyncpg.Connection[asyncpg.Record], text: str, asked: list[Asked]
) -> None:
    expression = compile_expression(text, KNOWN)
    if not isinstance(expression, Expression):
        assert any(reason in expression.message for reason in REFUSALS), (text, expression)
        return
    sql = expression.sql(COLUMNS)
    assert not re.search(r"[:$%{}]", sql), "a template would take it for its own"
    for row in asked:
        found = await superuser.fetchval(
            f"SELECT {sql} FROM (VALUES ({PLACES})) AS seen ({NAMES})",
            *(list(value) if isinstance(value := row.get(name), tuple) else value for name in TYPES),
        )
        evaluated = expression.evaluate(row)
        assert (text, row, evaluated) == (text, row, found)
        if not LOSES_TYPES.search(text):
            assert (text, row, evaluate_in_python(text, row)) == (text, row, found)
        if not COUNTS_BYTES.search(text):
            assert (text, row, evaluate_in_rust(text, row)) == (text, row, found)
