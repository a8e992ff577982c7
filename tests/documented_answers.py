"""Answers beside the document: the members of their schemas and no others, and values as their examples show. Pure."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import jsonschema_rs

from service.web.openapi.shapes import resolve
from tests.openapi_document import document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import httpx2

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|\+00:00)")
_JSON = {"application/json", "application/problem+json"}
# Members whose kind depends on what was asked.
ANY_TEXT = frozenset({"key", "about", "subject", "detail", "message", "display_name", "name", "resource"})


def check_answer(method: str, path: str, answer: httpx2.Response) -> None:
    """Hold an answer to the document: each operation's status and media type that stands there has a schema, which
    closed shapes make exact. Answers of no operation, such as 405, are not checked."""
    kind = answer.headers.get("content-type", "").partition(";")[0]
    template = next((known for known, pattern in _templates() if pattern.fullmatch(path.partition("?")[0])), None)
    if kind in _JSON and template is not None:
        validator = _validator(method.lower(), template, str(answer.status_code), kind)
        found = [*validator.iter_errors(answer.json())] if validator is not None else []
        if "fields=" in path.partition("?")[2]:
            # OpenAPI cannot say that members are missing because the request did not ask for them.
            found = [each for each in found if "is a required property" not in each.message]
        assert [f"{each.instance_path}: {each.message}" for each in found] == [], (method, path)


@cache
def _templates() -> list[tuple[str, re.Pattern[str]]]:
    """Paths of the document, those without parameters first."""
    paths = sorted(document()["paths"], key=lambda path: path.count("{"))
    return [(path, re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)))) for path in paths]


@cache
def _validator(method: str, template: str, status: str, kind: str) -> Any:
    whole = _closed_document()
    parts = whole["components"]
    said = whole["paths"][template].get(method, {}).get("responses", {}).get(status, {})
    said = parts["responses"][said["$ref"].rsplit("/", 1)[1]] if "$ref" in said else said
    if kind not in said.get("content", {}):
        return None
    return jsonschema_rs.validator_for({**said["content"][kind]["schema"], "components": parts}, validate_formats=True)


@cache
def _closed_document() -> dict[str, Any]:
    whole = document()
    for shape in whole["components"]["schemas"].values():
        shape["additionalProperties"] = False
    return whole


def unlike(document: Mapping[str, Any], schema: Mapping[str, Any], example: Any, answer: Any) -> Iterator[str]:
    """In what an answer differs from the example of its shape; nothing where either is null."""
    schema = _without_null(document, schema)
    if example is None or answer is None:
        return
    if "properties" in schema:
        yield from _of_object(document, schema, example, answer)
    elif isinstance(answer, list) and isinstance(example, list):
        for item in answer if example else ():
            yield from (f"[]{found}" for found in unlike(document, schema.get("items", {}), example[0], item))
    elif isinstance(answer, dict) and isinstance(example, dict):
        inner = schema.get("additionalProperties") or {}
        for value in answer.values() if example and isinstance(inner, dict) and inner else ():
            yield from (f".*{found}" for found in unlike(document, inner, next(iter(example.values())), value))
    elif _kind(example) != _kind(answer):
        yield f" is {answer!r}, and in the example {example!r}"


def _of_object(document: Mapping[str, Any], schema: Mapping[str, Any], example: Any, answer: Any) -> Iterator[str]:
    known = schema["properties"]
    for name in sorted(answer.keys() - known.keys()):
        yield f".{name} is in no schema"
    for name in sorted(example.keys() - known.keys()):
        yield f".{name} is in the example and in no schema"
    for name in sorted(answer.keys() & example.keys()):
        if name not in ANY_TEXT or not isinstance(answer[name], str):
            yield from (f".{name}{found}" for found in unlike(document, known[name], example[name], answer[name]))


def _without_null(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    alternatives = [
        option for option in schema.get("oneOf") or schema.get("anyOf") or () if option.get("type") != "null"
    ]
    return resolve(document["components"]["schemas"], alternatives[0] if len(alternatives) == 1 else schema)


def _kind(value: Any) -> str:
    if isinstance(value, str):
        kinds = {"id": _UUID, "date": _DATE, "time": _TIME}
        return next((name for name, pattern in kinds.items() if pattern.fullmatch(value)), "text")
    return "number" if isinstance(value, float) and not isinstance(value, bool) else type(value).__name__
