"""JSON Schemas in words for the documentation page: types, bounds and fields as HTML. Pure: owns no state."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX: Final = "#/components/schemas/"
BOUNDS: Final = {
    "minimum": "{} or more",
    "maximum": "{} at the most",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "{} characters or more",
    "maxLength": "{} characters at the most",
    "minItems": "{} items or more",
    "maxItems": "{} items at the most",
    "pattern": "like {}",
}


def resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema itself, or the one among the shared shapes that it refers to."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: Mapping[str, Any] = document["components"]["schemas"][reference.removeprefix(PREFIX)]
    return found


def shape_link(schema: Mapping[str, Any]) -> str:
    """A link to a shared shape; nothing for a schema of its own."""
    name = escape(schema.get("$ref", "").removeprefix(PREFIX))
    return f"<a href='#shape-{name}'>{name}</a>" if name else ""


def words_of(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A schema in words, such as `integer, 1 or more, 1440 at the most`."""
    if "$ref" in schema:
        target = resolved(document, schema)
        return shape_link(schema) if "properties" in target else words_of(document, target)
    if len(schema.get("allOf", ())) == 1:
        return ", ".join([words_of(document, schema["allOf"][0]), *_bounds(schema)])
    alternatives = schema.get("oneOf") or schema.get("anyOf")
    if alternatives:
        return ", ".join([" or ".join(words_of(document, one) for one in alternatives), *_bounds(schema)])
    if "enum" in schema:
        return " or ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"])
    return ", ".join([_kind(document, schema), *_bounds(schema)])


def fields_table(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """The fields of a shape: name, type, whether it is needed, and what it means."""
    needed = set(schema.get("required", []))
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{'needed' if name in needed else 'optional'}"
        f"<td>{words_of(document, field)}<td>{escape(field.get('description') or '')}"
        for name, field in schema.get("properties", {}).items()
    )
    return f"<div class=scroll><table><tr><th>Field<th><th>What<th>{rows}</table></div>" if rows else ""


def _kind(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "anything")
    name = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if kind == "array" and "items" in schema:
        return f"list of {words_of(document, schema['items'])}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict) and schema["additionalProperties"]:
        return f"object of {words_of(document, schema['additionalProperties'])}"
    form = schema.get("format")
    return escape(f"{name} ({form})" if form else name)


def _bounds(schema: Mapping[str, Any]) -> list[str]:
    found = [
        words.format(f"<code>{escape(_plain(schema[name]))}</code>") for name, words in BOUNDS.items() if name in schema
    ]
    if schema.get("default") is not None:
        found.append(f"<code>{escape(_plain(schema['default']))}</code> if left out")
    return found


def _plain(bound: object) -> str:
    """A bound or default as people write it: Litestar makes floats of integers."""
    if isinstance(bound, bool):
        return str(bound).lower()
    return str(int(bound)) if isinstance(bound, float) and bound.is_integer() else str(bound)
