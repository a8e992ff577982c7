"""Values of attributes, read from rows, from JSON of the directory and from tokens. Pure.

JSON of the directory was written under another version of the vocabulary perhaps: a value of another type than the
vocabulary declares is a missing one. `attribute_sql` reads the same JSON in Postgres.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from service.policy.attributes import MAX_INT, AttributeType, fits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    import asyncpg

    from service.policy.attributes import Attribute, Value

# A time as the directory stores it: RFC 3339 in UTC, from 1900 to 2189. Postgres can read what fits, if the day exists.
TIMESTAMP: Final = (
    r"(19[0-9]{2}|20[0-9]{2}|21[0-8][0-9])-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?Z"
)
_TIMESTAMP: Final = re.compile(TIMESTAMP)
# Attributes of a caller in the directory under every vocabulary; see PRINCIPAL in `attributes`.
ID, OWNER_ID = "principal.id", "resource.owner.id"
GROUPS, TEAMS, PROJECTS_LED = "principal.groups", "principal.teams", "principal.projects_led"
_OF_PRINCIPAL: Final = "principal."


@dataclass(frozen=True, slots=True)
class CallerAttributes:
    """What the directory holds about a caller: `known` by the dotted names of code, with the canonical id of a person
    who was merged; `declared` by the names of a vocabulary, as JSON whose types are not checked."""

    known: Mapping[str, Value]
    declared: Mapping[str, object] = field(default_factory=dict)
    # The values that were read last, with the attributes that were wanted: mostly those of the active version.
    _last: list[tuple[Mapping[str, Attribute], Mapping[str, Value]]] = field(
        default_factory=list, compare=False, repr=False
    )

    @classmethod
    def parse(cls, document: str | bytes, merged_into: UUID | None = None) -> CallerAttributes:
        """Read what the SQL function `caller_attributes` returns."""
        held = _DECODER.decode(document)
        known: dict[str, Value] = {GROUPS: held.groups, TEAMS: held.teams, PROJECTS_LED: held.projects_led}
        if merged_into is not None:
            known[ID] = str(merged_into)
        return cls(known, held.attributes)

    def values(self, wanted: Mapping[str, Attribute]) -> Mapping[str, Value]:
        """The known attributes, and the declared attributes of these dotted names that have a value of their type."""
        if not wanted or not self.declared:
            return self.known
        if self._last and self._last[0][0] is wanted:
            return self._last[0][1]
        found: dict[str, Value] = dict(self.known)
        for name, attribute in wanted.items():
            value = read_json(self.declared.get(name.removeprefix(_OF_PRINCIPAL)), attribute.type)
            if value is not None:
                found[name] = value
        self._last[:] = [(wanted, found)]
        return found


NOBODY: Final = CallerAttributes({GROUPS: (), TEAMS: (), PROJECTS_LED: ()})


class _Held(msgspec.Struct):
    attributes: dict[str, object]
    groups: tuple[str, ...]
    teams: tuple[str, ...]
    projects_led: tuple[str, ...]


_DECODER: Final = msgspec.json.Decoder(_Held)


def read_columns(row: asyncpg.Record, names: Iterable[str]) -> dict[str, Value]:
    """The values in the columns of these names. A missing value has none."""
    return {name: tuple(value) if type(value) is list else value for name in names if (value := row[name]) is not None}


def read_json(value: object, wanted: AttributeType) -> Value:
    """A value in JSON; None if it is missing or of another type."""
    match wanted:
        case AttributeType.STRING:
            return value if isinstance(value, str) else None
        case AttributeType.BOOL:
            return value if isinstance(value, bool) else None
        case AttributeType.INT:
            is_int = isinstance(value, int) and not isinstance(value, bool)
            return value if is_int and abs(value) <= MAX_INT else None  # type: ignore[arg-type, return-value]
        case AttributeType.TIMESTAMP:
            return read_timestamp(value) if isinstance(value, str) else None
        case AttributeType.STRINGS:
            fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
            return tuple(sorted(set(value))) if fits else None  # type: ignore[call-overload]
        case _:
            # Lists of other elements come from rows alone.
            return None


def read_timestamp(text: str) -> datetime | None:
    """A time in the form TIMESTAMP; None for other texts, and for a day that does not exist."""
    if not _TIMESTAMP.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None


def read_recorded(value: object, wanted: AttributeType) -> Value:
    """A value in the JSON of a record; None if it is of another type."""
    if wanted is AttributeType.TIMESTAMP:
        return read_timestamp(value) if isinstance(value, str) else None
    found = tuple(value) if isinstance(value, list) else value
    return found if fits(found, wanted) else None  # type: ignore[arg-type, return-value]  # it checks the type
