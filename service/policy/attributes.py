"""Attributes: the typed values that expressions may read, of the principal, the resource and the context. Pure.

The names are AuthZEN's and Cedar's: `principal.country`, `resource.minutes`, `context.weekday`. Code supplies the ones
named here. A vocabulary declares further ones, which the directory holds: of people (`principal.NAME`,
`resource.owner.NAME`), and of teams (`resource.owner.teams.NAME`) and projects (`resource.projects.NAME`) as lists.
A missing value is unknown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# A list is a tuple without repetitions, in order. None stands for a missing value.
Value: TypeAlias = "bool | int | str | datetime | tuple[str, ...] | tuple[int, ...] | tuple[bool, ...] | None"


# Sums of values within these limits never overflow, neither in CEL nor in Postgres. CEL's runtime measures the time
# between two timestamps in nanoseconds of 64 bits, which is less than 292 years.
# A record of the log holds no larger integer.
MAX_INT: Final = 2**53 - 1
EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2190, 1, 1, tzinfo=UTC)


class AttributeType(StrEnum):
    """The types of attributes, as a vocabulary writes them. An int is less than 2^53, a timestamp is in UTC."""

    STRING = "string"
    INT = "int"
    BOOL = "bool"
    TIMESTAMP = "timestamp"
    STRINGS = "list<string>"
    INTS = "list<int>"
    BOOLS = "list<bool>"


@dataclass(frozen=True, slots=True)
class Attribute:
    """The type of an attribute, and what it means. `personal`: it is personal data, so a record only commits to its
    value, and an erasure removes it. `values`: all that it can have, if they are few."""

    type: AttributeType
    description: str
    personal: bool = False
    values: tuple[str, ...] = ()


WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


# Of the caller: from the token and the directory.
PRINCIPAL: Final[Mapping[str, Attribute]] = {
    "principal.id": Attribute(AttributeType.STRING, "the caller's person id; missing for a client"),
    "principal.client": Attribute(AttributeType.STRING, "the client that acts, for itself or for a person"),
    "principal.kind": Attribute(
        AttributeType.STRING, "user, or client for a client that acts for itself", values=("user", "client")
    ),
    "principal.roles": Attribute(AttributeType.STRINGS, "roles of the token and the directory, without `role:`"),
    "principal.groups": Attribute(AttributeType.STRINGS, "names of the caller's groups"),
    "principal.teams": Attribute(AttributeType.STRINGS, "ids of the teams that the caller is a member or lead of"),
    "principal.projects_led": Attribute(AttributeType.STRINGS, "codes of the projects that the caller leads"),
}
# Of the sign-in and the moment.
CONTEXT: Final[Mapping[str, Attribute]] = {
    "context.now": Attribute(AttributeType.TIMESTAMP, "the time of the decision"),
    "context.weekday": Attribute(
        AttributeType.STRING, "the day of the week in UTC: monday ... sunday", values=WEEKDAYS
    ),
    "context.acr": Attribute(AttributeType.STRING, "`acr` of the token"),
    "context.methods": Attribute(AttributeType.STRINGS, "`amr` of the token"),
    "context.sign_in_age": Attribute(AttributeType.INT, "seconds since the person signed in"),
    "context.delegated": Attribute(AttributeType.BOOL, "whether the token names an actor (RFC 8693)"),
    "context.actors": Attribute(AttributeType.STRINGS, "the actors that the token names"),
}
# Those whose values change by time alone.
OF_TIME: Final = frozenset({"context.now", "context.weekday"})
# Of the resource, by kind.
RESOURCE: Final[Mapping[str, Mapping[str, Attribute]]] = {
    "timesheet": {
        "resource.minutes": Attribute(AttributeType.INT, "the sum of the week's entries in minutes"),
        "resource.entry_count": Attribute(AttributeType.INT, "the number of entries"),
        "resource.days": Attribute(AttributeType.INT, "the number of days with hours"),
        "resource.projects": Attribute(AttributeType.STRINGS, "codes of the projects with hours in the week"),
        "resource.period_start": Attribute(AttributeType.TIMESTAMP, "the week's Monday at 00:00 UTC"),
        "resource.state_since": Attribute(AttributeType.TIMESTAMP, "when the sheet was last changed"),
        "resource.submitted_at": Attribute(AttributeType.TIMESTAMP, "when it was last submitted; missing for a draft"),
        "resource.approvals": Attribute(AttributeType.STRINGS, "ids of those who approved since the last submission"),
        "resource.owner.id": Attribute(AttributeType.STRING, "the owner's person id"),
        "resource.owner.groups": Attribute(AttributeType.STRINGS, "names of the owner's groups"),
        "resource.owner.teams": Attribute(AttributeType.STRINGS, "ids of the owner's teams and of the teams above"),
    },
    "policy": {
        "resource.number": Attribute(AttributeType.INT, "the version's number"),
        "resource.proposed_at": Attribute(AttributeType.TIMESTAMP, "when it was proposed"),
    },
    "delegation": {
        "resource.valid_from": Attribute(AttributeType.TIMESTAMP, "when the delegation begins"),
        "resource.valid_to": Attribute(AttributeType.TIMESTAMP, "when it ends; missing if never"),
    },
    "access_request": {
        "resource.relation": Attribute(AttributeType.STRING, "the relation that is asked for"),
        "resource.until": Attribute(AttributeType.TIMESTAMP, "until when access is asked for"),
    },
}


def known_attributes(
    kind: str, people: Mapping[str, Attribute], teams: Mapping[str, Attribute], projects: Mapping[str, Attribute]
) -> dict[str, Attribute]:
    """The attributes that a fact about `kind` may read, by dotted name; for the kind "", about the sign-in alone.

    `people`, `teams` and `projects`: those that the directory holds, by their names there.
    """
    resource = RESOURCE.get(kind, {})
    known = {**PRINCIPAL, **CONTEXT, **resource}
    known |= {f"principal.{name}": attribute for name, attribute in people.items()}
    if "resource.owner.id" in resource:
        known |= {f"resource.owner.{name}": attribute for name, attribute in people.items()}
    for prefix, declared in (("resource.owner.teams", teams), ("resource.projects", projects)):
        if prefix in resource:
            known |= {f"{prefix}.{name}": _as_list(attribute) for name, attribute in declared.items()}
    return known


def attributes_of_code() -> frozenset[str]:
    """The names of the attributes that code supplies."""
    return frozenset(name for names in (PRINCIPAL, CONTEXT, *RESOURCE.values()) for name in names)


def is_never_missing(kind: str, name: str) -> bool:
    """Whether a list attribute always has a value, perhaps an empty one: the lists of code, and what the teams or
    projects of a resource of this kind have."""
    return name in PRINCIPAL or name in RESOURCE.get(kind, {}) or name.startswith(_COLLECTED)


_COLLECTED: Final = ("resource.owner.teams.", "resource.projects.")


def _as_list(attribute: Attribute) -> Attribute:
    return Attribute(AttributeType(f"list<{attribute.type}>"), attribute.description, attribute.personal)


def fits(value: Value, wanted: AttributeType) -> bool:
    """Whether a value is of this type and within the limits. One that does not fit counts as missing."""
    return _CHECKS[wanted](value)


def parse_time(text: str) -> datetime | None:
    """A time with any offset, in UTC; None for other texts and for a time that no attribute holds."""
    try:
        moment = datetime.fromisoformat(text) if "T" in text else None
    except ValueError:
        return None
    if moment is None or moment.tzinfo is None or not EARLIEST <= moment < LATEST:
        return None
    return moment.astimezone(UTC)


def _is_string(value: Value) -> bool:
    return isinstance(value, str) and not _UNWRITABLE.search(value)


def _is_int(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -MAX_INT <= value <= MAX_INT


def _is_bool(value: Value) -> bool:
    return isinstance(value, bool)


def _is_timestamp(value: Value) -> bool:
    return isinstance(value, datetime) and value.tzinfo is not None and EARLIEST <= value < LATEST


# Neither Postgres nor CEL's runtime takes them.
_UNWRITABLE: Final = re.compile("[\x00\ud800-\udfff]")
_CHECKS: Final[Mapping[AttributeType, Callable[[Value], bool]]] = {
    AttributeType.STRING: _is_string,
    AttributeType.INT: _is_int,
    AttributeType.BOOL: _is_bool,
    AttributeType.TIMESTAMP: _is_timestamp,
    AttributeType.STRINGS: lambda value: isinstance(value, tuple) and all(map(_is_string, value)),
    AttributeType.INTS: lambda value: isinstance(value, tuple) and all(map(_is_int, value)),
    AttributeType.BOOLS: lambda value: isinstance(value, tuple) and all(map(_is_bool, value)),
}
