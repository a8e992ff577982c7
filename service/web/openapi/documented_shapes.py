"""How our Structs stand in the OpenAPI document: described, closed where unknown fields are refused, with an example.

Pure: owns no state. The example of a shape stands in `documented_answers`, or is put together from its fields'
`msgspec.Meta(examples=[...])`, in answers from `documented_examples` too. A field that may be left out and has none is
left out; without one for a field that is needed there is no example.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final, get_type_hints

import msgspec
from litestar._openapi.schema_generation.plugins.struct import StructSchemaPlugin

from service.web.openapi.documented_answers import WHOLE
from service.web.openapi.documented_examples import NAMED, OF_TYPE

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator
    from litestar.openapi.spec import Schema
    from litestar.typing import FieldDefinition

NONE: Final = object()
# Stands for null: Litestar leaves out of its document whatever is None.
NULL: Final = "\x00"


class DocumentedShapes(StructSchemaPlugin):
    """Litestar's own plugin for Structs, and what it leaves out. It goes before Litestar's."""

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: SchemaCreator) -> Schema:
        """The schema of a Struct."""
        schema = super().to_openapi_schema(field_definition, schema_creator)
        shape: type[msgspec.Struct] = field_definition.type_
        schema.description = " ".join(inspect.cleandoc(shape.__doc__ or "").split())
        if shape.__struct_config__.forbid_unknown_fields:
            schema.additional_properties = False
        if isinstance(field_definition.default, msgspec.Struct):
            # Litestar would put the instance itself there, which is no JSON.
            schema.default = msgspec.to_builtins(field_definition.default)
        example = example_of(msgspec.inspect.type_info(shape))
        if example is not NONE:
            schema.examples = [_written(example)]
        return schema


def with_nulls(example: Any) -> Any:
    """An example out of Litestar's document, as it is meant."""
    match example:
        case dict():
            return {name: with_nulls(one) for name, one in example.items()}
        case list():
            return [with_nulls(one) for one in example]
        case _:
            return None if example == NULL else example


def _written(example: Any) -> Any:
    match example:
        case dict():
            return {name: _written(one) for name, one in example.items()}
        case list():
            return [_written(one) for one in example]
        case _:
            return NULL if example is None else example


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
        case msgspec.inspect.StructType(cls=shape, fields=fields):
            return _of_fields(shape, fields)
        case _:
            return NONE


def _of_fields(shape: type[msgspec.Struct], fields: tuple[msgspec.inspect.Field, ...]) -> Any:
    if shape.__name__ in WHOLE:
        return WHOLE[shape.__name__]
    closed = shape.__struct_config__.forbid_unknown_fields
    hints = get_type_hints(shape, include_extras=True)
    found = {
        field.encode_name: example_of(field.type) if closed else _answered(shape, field, hints[field.name])
        for field in fields
    }
    if any(field.required and found[field.encode_name] is NONE for field in fields):
        return NONE
    return {name: value for name, value in found.items() if value is not NONE}


def _answered(shape: type[msgspec.Struct], field: msgspec.inspect.Field, hint: Any) -> Any:
    """An example for a field of an answer: what it says itself, what its name means everywhere, or any of its type."""
    for owner in (*(f"{one.__name__}.{field.name}" for one in shape.__mro__), field.name):
        if owner in NAMED and _fits(NAMED[owner], hint):
            return NAMED[owner]
    said = example_of(field.type)
    return said if said is not NONE or not field.required else _any(field.type)


def _fits(value: Any, hint: Any) -> bool:
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError:
        return False
    return True


def _any(kind: msgspec.inspect.Type) -> Any:
    """Of numbers, times and yes or no any will do; of words none."""
    match kind:
        case msgspec.inspect.Metadata(type=inner):
            return _any(inner)
        case msgspec.inspect.UnionType(types=types):
            return next((found for one in types if (found := _any(one)) is not NONE), NONE)
        case msgspec.inspect.DictType() | msgspec.inspect.ListType():
            return NONE
        case _:
            return OF_TYPE.get(type(kind), NONE)
