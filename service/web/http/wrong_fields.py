"""Every field of a JSON body that does not fit its shape, in plain words. Pure: owns no state.

msgspec stops at the first and speaks of types. So a body that it refused is read again, member by member, and what is
wanted there is told from the shape: "must be a whole number from 1 to 1440".
"""

from __future__ import annotations

import inspect
import sys
from contextlib import suppress
from functools import cache
from itertools import islice
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Union, get_args, get_origin

import msgspec

from service.places import FieldError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_TOLD: Final = 100
OR_NULL: Final = ", or null"
_LONGEST_NAME: Final = 200
_WORDS: Final[Mapping[type[msgspec.inspect.Type], str]] = {
    msgspec.inspect.BoolType: "true or false",
    msgspec.inspect.DateType: "a date such as 2026-11-23",
    msgspec.inspect.DateTimeType: "an RFC 3339 time with an offset, such as 2026-11-23T09:00:00Z",
    msgspec.inspect.UUIDType: "a UUID such as 0198c0de-0000-7000-8000-000000000000",
    msgspec.inspect.StructType: "an object",
}

_NUMBERS: Final[Mapping[type[msgspec.inspect.Type], str]] = {
    msgspec.inspect.IntType: "a whole number",
    msgspec.inspect.FloatType: "a number",
}
_SIZED: Final[Mapping[type[msgspec.inspect.Type], tuple[str, str]]] = {
    msgspec.inspect.StrType: ("a text", " characters"),
    msgspec.inspect.ListType: ("a list", " items"),
    msgspec.inspect.DictType: ("an object", " members"),
}


def wrong_fields(raw: bytes, shape: Any) -> list[FieldError]:
    """What is wrong with JSON that does not fit; at most MAX_TOLD are told. Raises msgspec.DecodeError for what turns
    out to be no JSON."""
    return list(islice(_wrong(raw, shape, ""), MAX_TOLD))


def decode_valid_members(raw: bytes, shape: type[msgspec.Struct]) -> dict[str, Any]:
    """Those members of an object that fit the fields of its shape; none of anything else."""
    try:
        members = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    found = {}
    for field in _fields(shape):
        if field.encode_name in members:
            with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                found[field.name] = msgspec.json.decode(members[field.encode_name], type=field.type)
    return found


def wanted(shape: Any) -> str:
    """What a value of this type must be, behind "must be"."""
    return _said(msgspec.inspect.type_info(shape))


def _wrong(raw: bytes, shape: Any, path: str) -> Iterator[FieldError]:
    try:
        msgspec.json.decode(raw, type=shape)
    except msgspec.ValidationError:
        pass
    else:
        return
    inner = _inner(shape)
    found = False
    try:
        for one in _within(raw, inner, path, _most(shape)):
            found = True
            yield one
    except msgspec.ValidationError:
        found = False
    if not found:
        yield FieldError(path or "body", f"must be {wanted(shape)}")


def _within(raw: bytes, inner: Any, path: str, most: int) -> Iterator[FieldError]:
    """What is wrong inside an object or a list; nothing, if it has more than `most` items. Raises
    msgspec.ValidationError if it is none."""
    if inspect.isclass(inner) and issubclass(inner, msgspec.Struct):
        yield from _of_object(msgspec.json.decode(raw, type=dict[str, msgspec.Raw]), inner, path)
    elif get_origin(inner) is list:
        items = msgspec.json.decode(raw, type=list[msgspec.Raw])
        for place, one in enumerate(items if len(items) <= most else ()):
            yield from _wrong(bytes(one), get_args(inner)[0], f"{path}[{place}]")
    elif get_origin(inner) is dict:
        members = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        for name, one in members.items() if len(members) <= most else ():
            yield from _wrong(bytes(one), get_args(inner)[1], _below(path, name))


def _of_object(members: Mapping[str, msgspec.Raw], shape: type[msgspec.Struct], path: str) -> Iterator[FieldError]:
    fields = _fields(shape)
    for field in fields:
        name = _below(path, field.encode_name)
        if field.encode_name in members:
            yield from _wrong(bytes(members[field.encode_name]), field.type, name)
        elif field.required:
            yield FieldError(name, "is missing")
    if shape.__struct_config__.forbid_unknown_fields:
        known = {one.encode_name for one in fields}
        for name in members:
            if name not in known:
                yield FieldError(_below(path, name), "is not a field of this body")


@cache
def _fields(shape: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Worked out once: msgspec compiles each annotation whenever it is asked, and a file may have wrong rows only."""
    return msgspec.structs.fields(shape)


def _below(path: str, name: str) -> str:
    return f"{path}.{name[:_LONGEST_NAME]}" if path else name[:_LONGEST_NAME]


def _inner(shape: Any) -> Any:
    """The type without its bounds, null, and being left out."""
    while get_origin(shape) is Annotated:
        shape = get_args(shape)[0]
    if get_origin(shape) in {Union, UnionType}:
        kinds = [get_arg for get_arg in get_args(shape) if get_arg not in {NoneType, msgspec.UnsetType}]
        return _inner(kinds[0]) if len(kinds) == 1 else shape
    return shape


def _most(shape: Any) -> int:
    """How many items a list or an object may have."""
    while get_origin(shape) is Annotated:
        shape, *metas = get_args(shape)
        for meta in metas:
            if isinstance(meta, msgspec.Meta) and meta.max_length is not None:
                return meta.max_length
    if get_origin(shape) in {Union, UnionType}:
        return min(map(_most, get_args(shape)))
    return sys.maxsize


def _said(kind: msgspec.inspect.Type) -> str:
    match kind:
        case msgspec.inspect.Metadata(type=inner):
            return _said(inner)
        case msgspec.inspect.UnionType(types=kinds):
            words = " or ".join(_said(one) for one in kinds if not _null(one))
            return words + OR_NULL if any(map(_null, kinds)) else words
        case msgspec.inspect.StrType(pattern=str(pattern)):
            return f"a text like {pattern}"
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            return _NUMBERS[type(kind)] + _bounds(kind.ge, kind.le, "")
        case msgspec.inspect.StrType() | msgspec.inspect.ListType() | msgspec.inspect.DictType():
            name, unit = _SIZED[type(kind)]
            return name + _bounds(kind.min_length, kind.max_length, unit)
        case _:
            return _words(kind)


def _words(kind: msgspec.inspect.Type) -> str:
    words: list[str] = []
    if isinstance(kind, msgspec.inspect.LiteralType):
        words = sorted(map(str, kind.values))
    elif isinstance(kind, msgspec.inspect.EnumType):
        words = [str(one.value) for one in kind.cls]
    if not words:
        return _WORDS.get(type(kind), "something else")
    return words[0] if len(words) == 1 else f"one of {', '.join(words)}"


def _null(kind: msgspec.inspect.Type) -> bool:
    return isinstance(kind, msgspec.inspect.NoneType)


def _bounds(least: float | None, most: float | None, unit: str) -> str:
    if least is not None and most is not None:
        return f"{' of' if unit else ' from'} {least} to {most}{unit}"
    if most is not None:
        return f" of at most {most}{unit}"
    return f"{' of' if unit else ','} {least} or more{unit}" if least is not None else ""
