"""The schemas of our Structs, as msgspec makes them, with descriptions and examples.

Pure: owns no state. Each field has its description and example in its `msgspec.Meta`; the example of a Struct is built
from those of its fields.
"""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar.plugins import OpenAPISchemaPlugin

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from litestar.openapi.spec import Schema
    from litestar.typing import FieldDefinition

PREFIX: Final = "#/components/schemas/"
NONE: Final = object()


class Shapes(OpenAPISchemaPlugin):
    """Makes Litestar refer to each Struct by name. `found` collects them; `describe_shapes` makes their schemas."""

    def __init__(self) -> None:
        self.found: set[type[msgspec.Struct]] = set()

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Whether it is a Struct."""
        return not field_definition.is_union and field_definition.is_subclass_of(msgspec.Struct)

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: Any) -> Schema:
        """An empty schema with the Struct's name, for Litestar to refer to."""
        self.found.add(field_definition.type_)
        empty: Schema = schema_creator.create_component_schema(field_definition, required=[], property_fields={})
        return empty


def describe_shapes(shapes: Iterable[type[msgspec.Struct]]) -> dict[str, Any]:
    """The schemas of these Structs and of all that is inside them, by name. An enum has a schema of its own if it is a
    class or has a title, so that generators make one type of it."""
    schemas: dict[str, Any] = {}
    for shape in shapes:
        _, found = msgspec.json.schema_components([shape], ref_template=PREFIX + "{name}")
        for name, schema in found.items():
            schemas[name] = _describe_enum(schema) if "enum" in schema else _tidy_shape(schema, schemas)
    for schema in schemas.values():
        if "properties" in schema and (example := make_example(schemas, schema)) is not NONE:
            schema["examples"] = [example]
    return dict(sorted(schemas.items()))


def resolve(schemas: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema itself, or the schema of the Struct that it refers to or narrows."""
    (schema, *_) = schema.get("allOf", [schema])
    return schemas[schema["$ref"].removeprefix(PREFIX)] if "$ref" in schema else schema


def make_example(schemas: Mapping[str, Any], schema: Mapping[str, Any]) -> Any:
    """An example of a schema, or NONE. The example of an answer has only the members that are always present."""
    schema = schema if "examples" in schema else resolve(schemas, schema)
    if choices := schema.get("examples") or schema.get("enum"):
        return choices[0]
    if "anyOf" in schema:
        return make_example(schemas, schema["anyOf"][0])
    if "properties" in schema:
        shown = schema["properties"] if schema.get("additionalProperties") is False else schema["required"]
        found = {name: make_example(schemas, schema["properties"][name]) for name in shown}
        if any(found[name] is NONE for name in schema["required"]):
            return NONE
        # A member that may be left out, and whose example is null, is left out.
        unset = (NONE, None)
        return {name: example for name, example in found.items() if example not in unset or name in schema["required"]}
    if schema.get("type") == "array":
        inner = make_example(schemas, schema["items"])
        return inner if inner is NONE else [inner]
    return NONE


def _describe_enum(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An enum by its title, values and what it is: the first sentence of its docstring, or its `$comment`."""
    description = schema.get("$comment") or " ".join(schema["description"].split()).partition(". ")[0].removesuffix(".")
    return {"title": schema["title"], "type": "string", "enum": schema["enum"], "description": description}


def _tidy_shape(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """The schema of a Struct. In an answer, every field that is never unset is required, even with a default."""
    properties = {name: _tidy_field(field, schemas) for name, field in schema["properties"].items()}
    closed, needed = "additionalProperties" in schema, schema["required"]
    if not closed:
        needed = [name for name, field in properties.items() if name in needed or "default" in field]
    for field in properties.values():
        default = field.pop("default", None)
        if closed and default not in (None, [], {}):
            # As a sentence only: openapi-typescript makes a member with a `default` required.
            text = default if isinstance(default, str) else json.dumps(default)
            field["description"] += f"; `{text}` if left out"
    description = " ".join(inspect.cleandoc(schema.get("description", "")).split())
    return {**schema, "description": description, "properties": properties, "required": needed}


def _tidy_field(schema: Mapping[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """The schema of a field. An enum with a title moves to `schemas`. A nullable field has its description and examples
    beside `anyOf`."""
    found = {name: value for name, value in schema.items() if name not in {"$ref", "anyOf", "items"}}
    match schema:
        case {"$ref": str(reference)}:
            found["$ref"] = reference
        case {"anyOf": list(alternatives)}:
            inner = [_tidy_field(alternative, schemas) for alternative in alternatives]
            found = {
                **{key: field.pop(key) for field in inner for key in ("examples", "description") if key in field},
                **found,
            }
            found["anyOf"] = inner
        case {"items": dict(items)}:
            found["items"] = _tidy_field(items, schemas)
        case {"items": items}:
            # Linters want a schema here, not `false`. `maxItems` says the same.
            found |= {
                "items": items or {},
                "prefixItems": [_tidy_field(item, schemas) for item in schema["prefixItems"]],
            }
        case {"additionalProperties": dict(values)}:
            found["additionalProperties"] = _tidy_field(values, schemas)
        case {"type": "object"}:
            # Without it openapi-typescript writes an object that can have no member.
            found["additionalProperties"] = True
        case {"enum": _, "title": str(title)}:
            schemas[title] = _describe_enum(schema)
            found = {name: value for name, value in found.items() if name not in {*schemas[title], "$comment"}}
            found |= {name: schema[name] for name in ("description",) if name in schema}
            found["$ref"] = PREFIX + title
        case {"enum": _}:
            found["type"] = "string"
    return found
