"""The conformance vectors of the CEL specification that lie within the subset: file, section, name, expression, value.

Kept are those without bindings whose value is true or false, a number or a string.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from service.policy.expressions.expression import Expression, compile_expression

if TYPE_CHECKING:
    import asyncpg

Vector: TypeAlias = "tuple[str, str, str, str, bool | int | str]"
VECTORS: list[Vector] = json.loads((Path(__file__).parent / "cel_vectors.json").read_text())["vectors"]


def write(text: str, value: bool | int | str) -> str:  # noqa: FBT001 — the value of a vector
    """The vector as an expression of type bool, which is true."""
    if isinstance(value, bool):
        return text if value else f"!({text})"
    return f"({text}) == {json.dumps(value, ensure_ascii=False)}"


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: "-".join(vector[:3]))
async def test_cel_and_postgres_give_the_value_of_the_specification(
    superuser: asyncpg.Connection[asyncpg.Record], vector: Vector
) -> None:
    *_, text, value = vector
    expression = compile_expression(write(text, value), {})
    assert isinstance(expression, Expression), expression
    assert expression.evaluate({}) is True
    assert await superuser.fetchval(f"SELECT {expression.sql({})}") is True


def test_the_vectors_are_of_every_part_of_the_subset() -> None:
    texts = " ".join(text for *_, text, _ in VECTORS)
    words = ["==", "!=", "<=", ">=", "&&", "||", "!", "?", "+", "-", "*", " in ", "size(", ".startsWith(", ".endsWith("]
    words += [".contains(", ".exists(", ".all(", "timestamp(", "duration("]
    assert [word for word in words if word not in texts] == []
    assert len(VECTORS) > 200
