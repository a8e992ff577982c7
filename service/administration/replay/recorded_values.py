"""The values of attributes in the record of a decision, for expressions of any version. Pure: owns no state.

A record leaves out missing values and most empty lists. An attribute without a value was missing, if the version that
decided records it; otherwise nobody recorded it, and its value is not guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from service.authorization.enforcement.attribute_values import read_recorded
from service.authorization.enforcement.caller_values import OF_THE_MOMENT, caller_values
from service.authorization.enforcement.declared_facts import mentioned_attributes
from service.authorization.enforcement.fact_lookup import About
from service.policy.attributes import CONTEXT, PRINCIPAL, RESOURCE, AttributeType, is_never_missing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.administration.replay.recorded_request import RecordedRequest
    from service.policy.access_request import Vocabulary
    from service.policy.attributes import Value
    from service.policy.expressions.expression import Expression

OWNER_ID: Final = "resource.owner.id"
# The attributes of a new resource that a request gives; it always gives the first. Earlier releases did not record it.
OF_NEW: Final[Mapping[str, tuple[str, ...]]] = {
    "timesheet": ("resource.period_start",),
    "delegation": ("resource.valid_from", "resource.valid_to"),
    "access_request": ("resource.until", "resource.relation"),
}
# Of each expression of a version.
MAX_ANSWERS_KEPT: Final = 10_000
_ABSENT: Final = object()
_OF_CALLER: Final = frozenset({*PRINCIPAL, *CONTEXT})
_LISTS: Final = frozenset({AttributeType.STRINGS, AttributeType.INTS, AttributeType.BOOLS})


class NotRecordedError(Exception):
    """The record does not hold attributes that decide. `cause` says which, in words."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


def attributes_recorded_under(vocabulary: Vocabulary | None, kind: str) -> frozenset[str]:
    """The attributes that a record about this kind holds if they have a value, under a version with this vocabulary.
    Without a vocabulary: those of code."""
    mentioned = frozenset[str]() if vocabulary is None else mentioned_attributes(kind, vocabulary)
    return mentioned.union(_OF_CALLER, RESOURCE.get(kind, {}))


class RepeatedExpression:
    """An expression that is evaluated for many records. Its answers are kept by the values that it reads, as long as
    there are few: most records repeat the values of others, and a look takes a fifth of an evaluation."""

    __slots__ = ("_kept", "_repeats", "expression")

    def __init__(self, expression: Expression) -> None:
        self.expression = expression
        self._repeats = OF_THE_MOMENT.isdisjoint(expression.attributes)
        self._kept: dict[tuple[object, ...], bool | None] = {}

    def evaluate(self, values: RecordedValues) -> bool | None:
        """The value for a record; None for unknown. Raises NotRecordedError if values that the record does not hold
        would decide."""
        key = values.list_values(self.expression.types)
        if self._repeats and key in self._kept:
            return self._kept[key]
        found = values.evaluate(self.expression)
        if self._repeats:
            if len(self._kept) >= MAX_ANSWERS_KEPT:
                self._kept.clear()
            self._kept[key] = found
        return found


class RecordedValues:
    """The values of one record. `names`: those that the version which decided records."""

    def __init__(self, recorded: RecordedRequest, names: frozenset[str]) -> None:
        self._recorded = recorded
        self._names = names
        self._of_caller: Mapping[str, Value] | None = None
        self._read: dict[str, object] = {}

    def list_values(self, types: Sequence[tuple[str, AttributeType]]) -> tuple[object, ...]:
        """The values of these attributes in their order, each read once; _ABSENT for those that the record does not
        hold. An attribute has one type."""
        read, found = self._read, []
        for name, wanted in types:
            if name not in read:
                read[name] = self._value(name, wanted) if self._holds(name) else _ABSENT
            found.append(read[name])
        return tuple(found)

    def evaluate(self, expression: Expression) -> bool | None:
        """The value of an expression; None for unknown. Raises NotRecordedError if values that the record does not hold
        would decide."""
        values, absent = self.read(expression.types)
        found = expression.evaluate(values, absent)
        if found is None and absent:
            raise NotRecordedError(self.say_absent(absent))
        return found

    def read(self, types: Sequence[tuple[str, AttributeType]]) -> tuple[dict[str, Value], tuple[str, ...]]:
        """The values of these attributes, and those that the record does not hold."""
        values: dict[str, Value] = {}
        absent = []
        for (name, _), value in zip(types, self.list_values(types), strict=True):
            if value is _ABSENT:
                absent.append(name)
            else:
                values[name] = cast("Value", value)
        return values, tuple(absent)

    def list_of(self, name: str) -> frozenset[str] | None:
        """The strings of a list; None if the record does not hold it."""
        if not self._holds(name):
            return None
        value = self._value(name, AttributeType.STRINGS)
        return frozenset(map(str, value)) if isinstance(value, tuple) else None

    def say_absent(self, names: Sequence[str]) -> str:
        """That the record does not hold these attributes."""
        return "; ".join(f"attribute {name} {self._recorded.lost.get(name, 'was not recorded')}" for name in names)

    def _holds(self, name: str) -> bool:
        recorded = self._recorded
        if name in recorded.lost:
            return False
        if name in recorded.attributes or name == OWNER_ID:
            return True
        if name in (of_new := self._said_of_new) and of_new[0] not in recorded.attributes:
            return False
        if not recorded.attributes_recorded:
            # The token is in every record, the directory is not.
            return name in _OF_CALLER and name in self._caller_values()
        looked = recorded.request.lookup.looked or name in _OF_CALLER
        return looked and name in self._names

    @property
    def _said_of_new(self) -> tuple[str, ...]:
        """The attributes of a new resource that the request gave. A replay of a stored response says `read`, and gives
        none."""
        recorded = self._recorded
        is_new = recorded.request.lookup.about is About.NEW and recorded.action != "read"
        return OF_NEW.get(recorded.request.resource.kind, ()) if is_new else ()

    def _value(self, name: str, wanted: AttributeType) -> Value:
        if name in _OF_CALLER:
            return self._caller_values().get(name)
        found = self._recorded.attributes.get(name)
        if found is None and name == OWNER_ID:
            owner = self._recorded.request.resource.owner
            return None if owner is None else str(owner)
        if found is None:
            kind = self._recorded.request.resource.kind
            return () if wanted in _LISTS and is_never_missing(kind, name) else None
        return read_recorded(found, wanted)

    def _caller_values(self) -> Mapping[str, Value]:
        if self._of_caller is None:
            request = self._recorded.request
            lookup = request.lookup
            self._of_caller = caller_values(request.principal, lookup.roles, lookup.caller, lookup.at)
        return self._of_caller
