"""Answers beside their documented examples: the same members, and values of the same kinds. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from service.web.openapi.documentation_shapes import resolved

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|\+00:00)")
# Members whose kind depends on what was asked.
ANY_TEXT = frozenset({"key", "about", "subject", "detail", "message", "display_name", "name"})


def unlike(document: Mapping[str, Any], schema: Mapping[str, Any], example: Any, answer: Any) -> Iterator[str]:
    """In what an answer differs from the example of its shape; nothing where either is null."""
    schema = _without_null(document, schema)
    if example is None or answer is None:
        return
    if "properties" in schema:
        yield from _of_object(document, schema, example, answer)
    elif isinstance(answer, list) and isinstance(example, list):
        for one in answer if example else ():
            yield from (f"[]{found}" for found in unlike(document, schema.get("items", {}), example[0], one))
    elif isinstance(answer, dict) and isinstance(example, dict):
        inner = schema.get("additionalProperties") or {}
        for one in answer.values() if example and isinstance(inner, dict) and inner else ():
            yield from (f".*{found}" for found in unlike(document, inner, next(iter(example.values())), one))
    elif _kind(example) != _kind(answer):
        yield f" is {answer!r}, and in the example {example!r}"


def _of_object(document: Mapping[str, Any], schema: Mapping[str, Any], example: Any, answer: Any) -> Iterator[str]:
    known = schema["properties"]
    for name in sorted(answer.keys() - known.keys()):
        yield f".{name} is in no schema"
    for name in sorted(example.keys() - known.keys()):
        yield f".{name} is in the example and in no schema"
    for name in sorted(answer.keys() & example.keys()):
        if name not in ANY_TEXT:
            yield from (f".{name}{found}" for found in unlike(document, known[name], example[name], answer[name]))


def _without_null(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    alternatives = [one for one in schema.get("oneOf") or schema.get("anyOf") or () if one.get("type") != "null"]
    return resolved(document, alternatives[0] if len(alternatives) == 1 else schema)


def _kind(value: Any) -> str:
    if isinstance(value, str):
        kinds = {"id": _UUID, "date": _DATE, "time": _TIME}
        return next((name for name, pattern in kinds.items() if pattern.fullmatch(value)), "text")
    return "number" if isinstance(value, float) and not isinstance(value, bool) else type(value).__name__
