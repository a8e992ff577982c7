"""How our Structs stand in the OpenAPI document: described, closed where unknown fields are refused, with an example.

Pure: owns no state. The example of a shape is put together from its fields' `msgspec.Meta(examples=[...])`; fields that
may be left out and have none are left out, and a shape that lacks one for a field it needs has no example.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar._openapi.schema_generation.plugins.struct import StructSchemaPlugin

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator
    from litestar.openapi.spec import Schema
    from litestar.typing import FieldDefinition

NONE: Final = object()


class DocumentedShapes(StructSchemaPlugin):
    """Litestar's own plugin for Structs, and what it leaves out. It goes before Litestar's."""

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: SchemaCreator) -> Schema:
        """The schema of a Struct."""
        schema = super().to_openapi_schema(field_definition, schema_creator)
        shape: type[msgspec.Struct] = field_definition.type_
        schema.description = " ".join(inspect.cleandoc(shape.__doc__ or "").split())
        if shape.__struct_config__.forbid_unknown_fields:
            schema.additional_properties = False
        example = example_of(msgspec.inspect.type_info(shape))
        if example is not NONE:
            schema.examples = [example]
        return schema


def example_of(kind: msgspec.inspect.Type) -> Any:
    """An example of a type, or NONE."""
    match kind:
        case msgspec.inspect.Metadata(type=inner, extra_json_schema=said):
            return said["examples"][0] if said and said.get("examples") else example_of(inner)
        case msgspec.inspect.UnionType(types=types):
            return next((found for one in types if (found := example_of(one)) is not NONE), NONE)
        case msgspec.inspect.ListType(item_type=item):
            found = example_of(item)
            return found if found is NONE else [found]
        case msgspec.inspect.LiteralType(values=values):
            return values[0]
        case msgspec.inspect.StructType(fields=fields):
            return _of_fields(fields)
        case _:
            return NONE


def _of_fields(fields: tuple[msgspec.inspect.Field, ...]) -> Any:
    found = {field.encode_name: example_of(field.type) for field in fields}
    if any(field.required and found[field.encode_name] is NONE for field in fields):
        return NONE
    return {name: value for name, value in found.items() if value is not NONE}
