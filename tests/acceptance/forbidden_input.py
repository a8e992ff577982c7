"""What the OpenAPI document forbids: the places of a body, and whether a value is wrong at one. Pure: owns no state."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from tests.openapi_document import document, validator_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DOCUMENT = document()


def resolve(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema, or the shared one, or the one besides null, that it stands for."""
    while True:
        if "$ref" in schema:
            schema = DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        elif others := [
            option for option in schema.get("oneOf", schema.get("anyOf", ())) if option.get("type") != "null"
        ]:
            schema = others[0]
        else:
            return schema


def forbids(schema: Mapping[str, Any], value: object) -> bool:
    """Whether the document says that this value is wrong here."""
    try:
        return not validator_of(schema, formats=True).is_valid(value)
    except (ValueError, OverflowError):
        return False


def places(schema: Mapping[str, Any], example: Any, at: str = "") -> Iterator[tuple[str, list[Any], Mapping[str, Any]]]:
    """Every field below an example: its path as complaints spell it, the keys that lead to it, and its schema."""
    schema = resolve(schema)
    if isinstance(example, dict):
        for name, field in schema.get("properties", {}).items():
            path = f"{at}.{name}" if at else name
            yield path, [name], field
            if name in example:
                yield from (
                    (deeper, [name, *keys], found) for deeper, keys, found in places(field, example[name], path)
                )
    elif isinstance(example, list) and example:
        for path, keys, found in places(schema.get("items", {}), example[0], f"{at}[0]"):
            yield path, [0, *keys], found


def with_value(example: Any, keys: list[Any], value: object) -> Any:
    changed = copy.deepcopy(example)
    inner = changed
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return changed
