"""The OpenAPI document in parts that can be reviewed: a file for each tag, with its operations and the shapes that no
other tag has, and `shared.json` with all the rest. Together they are the document."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from service.web.openapi.document import operations
from tests.openapi_document import document

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "#/components/schemas/"
SHARED = "shared"


def files() -> dict[str, str]:
    """Text by file name."""
    whole = document()
    schemas = whole["components"].pop("schemas")
    paths = whole.pop("paths")
    tags: dict[str, set[str]] = {name: set() for name in schemas}
    parts: dict[str, Any] = {SHARED: {**whole, "schemas": {}}}
    for method, path, operation in operations({"paths": paths}):
        (tag,) = operation["tags"]
        part = parts.setdefault(_slug(tag), {"operations": {}, "schemas": {}})
        part["operations"][f"{method.upper()} {path}"] = operation
        for name in _find_schemas(operation, schemas):
            tags[name].add(_slug(tag))
    for name, schema in schemas.items():
        owners = tags[name]
        parts[next(iter(owners)) if len(owners) == 1 else SHARED]["schemas"][name] = schema
    return {f"{name}.json": json.dumps(part, indent=2, sort_keys=True) + "\n" for name, part in parts.items()}


def _slug(tag: str) -> str:
    return tag.lower().replace(" ", "-")


def _find_schemas(node: Any, schemas: dict[str, Any], seen: set[str] | None = None) -> Iterator[str]:
    """The shapes that a part of the document refers to, and those inside them."""
    seen = set() if seen is None else seen
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str) and reference.startswith(PREFIX) and reference not in seen:
            seen.add(reference)
            name = reference.removeprefix(PREFIX)
            yield name
            yield from _find_schemas(schemas[name], schemas, seen)
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from _find_schemas(value, schemas, seen)
