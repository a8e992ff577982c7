"""Checks values of attributes against the active policy's vocabulary, in JSON and in cells of a CSV file. Pure.

A value is stored as JSON: a time as RFC 3339 in UTC, a list of strings in order and without repetitions. Names that the
vocabulary no longer declares stay stored until they are removed; no policy sees them.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, TypeAlias

from service.errors import InvalidField
from service.fields import is_legible, is_writable
from service.places import FieldError, printable
from service.policy.attributes import MAX_INT, AttributeType, parse_time
from service.policy.nearest_word import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.policy.attributes import Attribute

JsonValue: TypeAlias = "str | int | bool | list[str]"
Attributes: TypeAlias = "Mapping[str, JsonValue]"
# As a request gives them: None removes a value.
GivenAttributes: TypeAlias = "Mapping[str, JsonValue | None]"
Declared: TypeAlias = "Mapping[str, Attribute]"

MAX_VALUE_CHARS: Final = 200
MAX_VALUES_PER_LIST: Final = 50
# All values of a person, team or project, as Postgres writes JSON.
MAX_ATTRIBUTE_BYTES: Final = 65_536
TOO_LARGE: Final = f"must have at most {MAX_ATTRIBUTE_BYTES} bytes of JSON together"
_MUST_BE: Final = {
    AttributeType.STRING: f"a text of 1 to {MAX_VALUE_CHARS} characters on one line",
    AttributeType.INT: f"a whole number from -{MAX_INT} to {MAX_INT}",
    AttributeType.BOOL: "true or false",
    AttributeType.TIMESTAMP: "an RFC 3339 time with an offset, such as 2026-11-23T09:00:00Z, from 1900 to 2189",
    AttributeType.STRINGS: f"a list of up to {MAX_VALUES_PER_LIST} texts of 1 to {MAX_VALUE_CHARS} characters",
}
_INT: Final = re.compile(r"-?[0-9]{1,16}")
# Separates the texts of a list in a cell.
SEPARATOR: Final = ";"


def replace_values(given: GivenAttributes, declared: Declared, stored: Attributes) -> dict[str, JsonValue]:
    """The values that replace the stored ones. One that is stored already may stay, declared or not. Raises as
    `check_values`."""
    kept = {name: value for name, value in given.items() if value is not None and stored.get(name) == value}
    return kept | check_values({name: value for name, value in given.items() if name not in kept}, declared)


def check_values(given: GivenAttributes, declared: Declared, stored: Attributes | None = None) -> dict[str, JsonValue]:
    """The values as they are stored. With `stored`, they are added to these, and None removes one; without, None is
    left out. Raises InvalidField naming every undeclared name and wrong value."""
    found: dict[str, JsonValue] = dict(stored or {})
    wrong: list[FieldError] = []
    for name, value in given.items():
        field = f"attributes.{printable(name, MAX_VALUE_CHARS)}"
        if value is None and (name in found or name in declared):
            found.pop(name, None)
        elif name not in declared:
            wrong.append(FieldError(field, describe_undeclared(name, declared)))
        elif (kept := _normalize(value, declared[name].type)) is None:
            wrong.append(FieldError(field, f"must be {_MUST_BE[declared[name].type]}"))
        else:
            found[name] = kept
    if is_too_large(found):
        wrong.append(FieldError("attributes", TOO_LARGE))
    if wrong:
        raise InvalidField(*wrong)
    return found


def is_too_large(values: Attributes) -> bool:
    """Whether all values together are more than Postgres takes."""
    return len(json.dumps(values, ensure_ascii=False).encode()) > MAX_ATTRIBUTE_BYTES


def parse_cell(text: str, attribute: Attribute) -> JsonValue:
    """The value in a cell of a CSV file. Raises ValueError, which says what a cell must be."""
    wanted = attribute.type
    value: object = text
    if wanted is AttributeType.INT and _INT.fullmatch(text):
        value = int(text)
    elif wanted is AttributeType.BOOL:
        value = {"true": True, "false": False}.get(text.lower())
    elif wanted is AttributeType.STRINGS:
        value = [part.strip() for part in text.split(SEPARATOR)]
    if (found := _normalize(value, wanted)) is None:
        separated = f", separated by {SEPARATOR}" if wanted is AttributeType.STRINGS else ""
        raise ValueError(f"must be {_MUST_BE[wanted]}{separated}")
    return found


def describe_undeclared(name: str, declared: Declared) -> str:
    """Why a name is refused, and what to do."""
    if not declared:
        return "is not declared: the active policy declares no attributes here (vocabulary.toml, [directory])"
    known = ", ".join(f"{known} ({declared[known].type})" for known in sorted(declared))
    close = nearest(name, declared) or ""
    meant = f"; {close}" if close.startswith("did you mean") else ""
    return f"is not declared: the active policy declares {known}{meant}"


def _normalize(value: object, wanted: AttributeType) -> JsonValue | None:
    """The value as it is stored, None if it is of another type or out of bounds."""
    match wanted:
        case AttributeType.STRING:
            return value if isinstance(value, str) and _is_text(value) else None
        case AttributeType.BOOL:
            return value if isinstance(value, bool) else None
        case AttributeType.INT:
            fits = isinstance(value, int) and not isinstance(value, bool) and -MAX_INT <= value <= MAX_INT
            return value if fits else None  # type: ignore[return-value]  # it is an int
        case AttributeType.TIMESTAMP:
            return _normalize_time(value) if isinstance(value, str) else None
        case AttributeType.STRINGS:
            fits = isinstance(value, list) and len(value) <= MAX_VALUES_PER_LIST
            texts = [text for text in value if isinstance(text, str) and _is_text(text)] if fits else []  # type: ignore[attr-defined]
            return sorted(set(texts)) if fits and len(texts) == len(value) else None  # type: ignore[arg-type]
        case _:
            return None


def _is_text(text: str) -> bool:
    return 1 <= len(text) <= MAX_VALUE_CHARS and is_writable(text) and is_legible(text)


def _normalize_time(text: str) -> str | None:
    moment = parse_time(text)
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
