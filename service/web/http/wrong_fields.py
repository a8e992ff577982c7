"""Finds every field of a JSON body that does not fit its type, and says in plain words what is wrong. Pure.

msgspec stops at the first error and names Python types. So a body that it refused is read again, member by member, and
the type gives the sentence: "must be a whole number from 1 to 1440".
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
from service.policy.nearest_word import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_WRONG_FIELDS: Final = 100
OR_NULL: Final = ", or null"
_MAX_NAME_CHARS: Final = 200
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


def find_wrong_fields(raw: bytes, shape: Any) -> list[FieldError]:
    """The first MAX_WRONG_FIELDS errors of JSON that does not fit. Raises msgspec.DecodeError if it is not JSON."""
    return list(islice(_find_wrong(raw, shape, ""), MAX_WRONG_FIELDS))


def decode_valid_members(raw: bytes, shape: type[msgspec.Struct]) -> dict[str, Any]:
    """The members of an object that fit the fields of its type; empty if it is no object."""
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


def describe_type(shape: Any) -> str:
    """A type in words that follow "must be"."""
    return _describe(msgspec.inspect.type_info(shape))


def describe_parameter(shape: Any) -> str:
    """As `describe_type`, for a parameter of a URL: it has no null, and a list has its values one by one."""
    inner = _unwrap(shape)
    if get_origin(inner) is not list:
        return describe_type(shape).removesuffix(OR_NULL)
    most = _max_items(shape)
    value = describe_type(get_args(inner)[0])
    return value if most == sys.maxsize else f"at most {most} values, each {value}"


def _find_wrong(raw: bytes, shape: Any, path: str) -> Iterator[FieldError]:
    try:
        msgspec.json.decode(raw, type=shape)
    except msgspec.ValidationError:
        pass
    else:
        return
    inner = _unwrap(shape)
    found = False
    try:
        for wrong in _find_inside(raw, inner, path, _max_items(shape)):
            found = True
            yield wrong
    except msgspec.ValidationError:
        found = False
    if not found:
        yield FieldError(path or "body", f"must be {describe_type(shape)}")


def _find_inside(raw: bytes, inner: Any, path: str, max_items: int) -> Iterator[FieldError]:
    """The errors inside an object or a list; nothing if it has more than `max_items` items. Raises
    msgspec.ValidationError if it is neither."""
    if get_origin(inner) in {Union, UnionType}:
        # A text or an object, such as a person: the errors of an object are those of its members.
        inner = next(filter(_is_struct, map(_unwrap, get_args(inner))), inner)
    if _is_struct(inner):
        yield from _check_object(msgspec.json.decode(raw, type=dict[str, msgspec.Raw]), inner, path)
    elif get_origin(inner) is list:
        items = msgspec.json.decode(raw, type=list[msgspec.Raw])
        for place, item in enumerate(items if len(items) <= max_items else ()):
            yield from _find_wrong(bytes(item), get_args(inner)[0], f"{path}[{place}]")
    elif get_origin(inner) is dict:
        members = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        for name, value in members.items() if len(members) <= max_items else ():
            yield from _find_wrong(bytes(value), get_args(inner)[1], _join_path(path, name))


def _is_struct(shape: Any) -> bool:
    return inspect.isclass(shape) and issubclass(shape, msgspec.Struct)


def _check_object(members: Mapping[str, msgspec.Raw], shape: type[msgspec.Struct], path: str) -> Iterator[FieldError]:
    fields = _fields(shape)
    for field in fields:
        name = _join_path(path, field.encode_name)
        if field.encode_name in members:
            yield from _find_wrong(bytes(members[field.encode_name]), field.type, name)
        elif field.required:
            yield FieldError(name, "is missing")
    if shape.__struct_config__.forbid_unknown_fields:
        known = {field.encode_name for field in fields}
        for name in members:
            if name not in known:
                suggestion = nearest(name, known)
                message = "is not a field of this body" + (f"; {suggestion}" if suggestion else "")
                yield FieldError(_join_path(path, name), message)


@cache
def _fields(shape: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Cached, because msgspec compiles each annotation again at every call and a file may hold many wrong rows."""
    return msgspec.structs.fields(shape)


def _join_path(path: str, name: str) -> str:
    return f"{path}.{name[:_MAX_NAME_CHARS]}" if path else name[:_MAX_NAME_CHARS]


def _unwrap(shape: Any) -> Any:
    """The type without its bounds, null and unset."""
    while get_origin(shape) is Annotated:
        shape = get_args(shape)[0]
    if get_origin(shape) in {Union, UnionType}:
        kinds = [kind for kind in get_args(shape) if kind not in {NoneType, msgspec.UnsetType}]
        return _unwrap(kinds[0]) if len(kinds) == 1 else shape
    return shape


def _max_items(shape: Any) -> int:
    """How many items a list or an object may have."""
    while get_origin(shape) is Annotated:
        shape, *metas = get_args(shape)
        for meta in metas:
            if isinstance(meta, msgspec.Meta) and meta.max_length is not None:
                return meta.max_length
    if get_origin(shape) in {Union, UnionType}:
        return min(map(_max_items, get_args(shape)))
    return sys.maxsize


def _describe(kind: msgspec.inspect.Type) -> str:
    match kind:
        case msgspec.inspect.Metadata(type=inner):
            return _describe(inner)
        case msgspec.inspect.UnionType(types=kinds):
            words = " or ".join(_describe(kind) for kind in kinds if not _is_null(kind))
            return words + OR_NULL if any(map(_is_null, kinds)) else words
        case msgspec.inspect.StrType(pattern=str(pattern)):
            return f"a text like {pattern}"
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            return _NUMBERS[type(kind)] + _describe_bounds(kind.ge, kind.le, "")
        case msgspec.inspect.StrType() | msgspec.inspect.ListType() | msgspec.inspect.DictType():
            name, unit = _SIZED[type(kind)]
            return name + _describe_bounds(kind.min_length, kind.max_length, unit)
        case _:
            return _describe_words(kind)


def _describe_words(kind: msgspec.inspect.Type) -> str:
    words: list[str] = []
    if isinstance(kind, msgspec.inspect.LiteralType):
        words = sorted(map(str, kind.values))
    elif isinstance(kind, msgspec.inspect.EnumType):
        words = [str(member.value) for member in kind.cls]
    if not words:
        return _WORDS.get(type(kind), "something else")
    return words[0] if len(words) == 1 else f"one of {', '.join(words)}"


def _is_null(kind: msgspec.inspect.Type) -> bool:
    return isinstance(kind, msgspec.inspect.NoneType)


def _describe_bounds(minimum: float | None, maximum: float | None, unit: str) -> str:
    if minimum is not None and maximum is not None:
        return f"{' of' if unit else ' from'} {minimum} to {maximum}{unit}"
    if maximum is not None:
        return f" of at most {maximum}{unit}"
    return f"{' of' if unit else ','} {minimum} or more{unit}" if minimum is not None else ""
