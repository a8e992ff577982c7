"""The rows of an upload, validated one by one and packed as bytes: 100,000 rows take some megabytes. Pure.

A reader adds rows; the use case reads them sheet by sheet. The first MAX_FAULTS_TOLD faults are kept with their
messages; after that, invalid rows are only counted, so that a file of invalid rows costs little. Owns its rows for one
request.
"""

from __future__ import annotations

from array import array
from bisect import insort
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID, uuid4

import msgspec

from service.errors import Conflict, Forbidden, InvalidField, TimesheetFull, WrongState
from service.fields import Fields
from service.places import FieldError
from service.timesheets.entry import (
    FIRST_WEEK,
    MAX_REFERENCE_LENGTH,
    Hours,
    validate_hours,
    validate_time_zone,
    week_of,
)
from service.timesheets.timesheet import MAX_ENTRIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from service.authorization.enforcement.person_references import NamedPerson, PersonReference
    from service.errors import TimewardenError

    Week = tuple[UUID, date]

MAX_ROWS: Final = 200_000
# Rows for one owner and week: twice as many as a timesheet holds.
MAX_ROWS_PER_SHEET: Final = 2 * MAX_ENTRIES
# Faults that a response lists; it always has the number of all refused rows.
MAX_FAULTS_TOLD: Final = 100
WRONG: Final = InvalidField.slug
# Problems of rows that the policy allowed.
NO_DENIALS: Final = frozenset({WRONG, Conflict.slug, TimesheetFull.slug, WrongState.slug})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(Hours):
    """Hours of the person `owner`. `time_zone` applies if a sheet has to be created (default: UTC)."""

    owner: UUID
    external_ref: str
    time_zone: str | None = None


# Valid values for the fields that cannot be parsed, while the others are validated.
PLACEHOLDER: Final = Row(FIRST_WEEK, "any", 1, owner=UUID(int=0), external_ref="any")


class Fault(NamedTuple):
    """Why a row was refused: the `slug` of the problem, a message, and the field if one is at fault."""

    slug: str
    reason: str
    field: str | None = None


@dataclass(slots=True)
class Faults:
    """The refused rows. It keeps the first MAX_FAULTS_TOLD faults in the order of the rows; other rows are only marked
    as refused. `slugs` are the problems of all rows."""

    slugs: set[str] = field(default_factory=set)
    _marks: bytearray = field(default_factory=bytearray)
    _kept: dict[int, list[Fault]] = field(default_factory=dict)
    _order: list[int] = field(default_factory=list)
    _number_kept: int = 0

    def __len__(self) -> int:
        """The number of refused rows."""
        return self._marks.count(1)

    def __bool__(self) -> bool:
        return bool(self.slugs)

    def __contains__(self, index: int) -> bool:
        return index < len(self._marks) and self._marks[index] == 1

    def __iter__(self) -> Iterator[int]:
        """The rows whose faults are kept, in order."""
        return iter(self._order)

    def __getitem__(self, index: int) -> Sequence[Fault]:
        """The kept faults of a row."""
        return self._kept.get(index, ())

    def keeps(self, index: int) -> bool:
        """Whether faults of this row would be kept. If not, there is no need to find out what they are."""
        return self._number_kept < MAX_FAULTS_TOLD or index <= self._order[-1]

    def add(self, index: int, found: Iterable[Fault]) -> None:
        """Refuse the row for these faults, in addition to those that it already has."""
        self._mark(index)
        faults = list(found)
        self.slugs.update(fault.slug for fault in faults)
        if not self.keeps(index):
            return
        if index not in self._kept:
            insort(self._order, index)
        self._kept[index] = [*self._kept.get(index, ()), *faults]
        self._number_kept += len(faults)
        while self._number_kept - len(self._kept[self._order[-1]]) >= MAX_FAULTS_TOLD:
            self._number_kept -= len(self._kept.pop(self._order.pop()))

    def count(self, index: int, slug: str) -> None:
        """Refuse the row without keeping its faults."""
        self._mark(index)
        self.slugs.add(slug)

    def update(self, found: Mapping[int, Iterable[Fault]]) -> None:
        """Add the faults of several rows."""
        for index, faults in found.items():
            self.add(index, faults)

    def copy(self) -> Faults:
        """A copy to which faults can be added."""
        kept = dict(self._kept), list(self._order), self._number_kept
        return Faults(set(self.slugs), bytearray(self._marks), *kept)

    def _mark(self, index: int) -> None:
        if index >= len(self._marks):
            self._marks.extend(bytes(index + 1 - len(self._marks)))
        self._marks[index] = 1


@dataclass(slots=True)
class Rows:
    """Rows in the order of the upload; `lined` if they have lines in a file. `weeks` has the rows that could be parsed,
    by owner and week, including those whose faults are kept. An owner who is not given by id has a stand-in, one of
    `references`, until `name_owners`. A stand-in that stays is the id of nobody."""

    lined: bool = False
    faults: Faults = field(default_factory=Faults)
    weeks: dict[Week, array[int]] = field(default_factory=dict)
    references: dict[PersonReference, UUID] = field(default_factory=dict)
    _owners: dict[UUID, UUID] = field(default_factory=dict)
    _bytes: bytearray = field(default_factory=bytearray)
    _starts: array[int] = field(default_factory=lambda: array("Q"))
    _lines: array[int] = field(default_factory=lambda: array("I"))

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Rows:
        found = cls()
        for row in rows:
            found.add(row)
        return found

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, row: Row, line: int = 0) -> None:
        """Add a row; its invalid fields become its faults. Raises InvalidField beyond MAX_ROWS."""
        index = self._append(line)
        texts = [row.project, row.external_ref, row.note, row.time_zone, row.activity]
        if found := _validate(row):
            kept = self.faults.keeps(index)
            self.faults.add(index, (Fault(WRONG, error.message, error.field) for error in found))
            if not kept:
                return
            # A lone surrogate cannot be packed, and is already a fault.
            texts = [text and _encodable(text) for text in texts]
            row = replace(row, tags=tuple(map(_encodable, row.tags)))
        more = (row.billable, row.tags) if row.tags or row.billable is not None else ()
        self._bytes += msgspec.msgpack.encode((row.owner.bytes, row.day.toordinal(), row.minutes, *texts, *more))
        self.weeks.setdefault((row.owner, week_of(row.day)), array("I")).append(index)

    def owner_of(self, person: NamedPerson) -> UUID:
        """The id of an owner, or a stand-in for it."""
        return person if isinstance(person, UUID) else self.references.setdefault(person, uuid4())

    def name_owners(self, found: Mapping[PersonReference, frozenset[UUID]], merged: Mapping[UUID, UUID]) -> None:
        """Put canonical ids in place of stand-ins and of people who were `merged` into others. A stand-in stays where a
        reference names nobody or several people."""
        self._owners = dict(merged)
        for reference, stand_in in self.references.items():
            if len(people := found.get(reference, frozenset())) == 1:
                self._owners[stand_in] = next(iter(people))
        if not self._owners:
            return
        weeks, self.weeks = self.weeks, {}
        for (owner, monday), indexes in weeks.items():
            week = self._owners.get(owner, owner), monday
            self.weeks[week] = array("I", sorted((*self.weeks.get(week, ()), *indexes)))

    @property
    def keeps_next_faults(self) -> bool:
        """Whether faults of the next row would be kept. If not, `add_invalid` needs no fields."""
        return self.faults.keeps(len(self))

    def add_invalid(self, fields: Sequence[FieldError], known: Mapping[str, Any], line: int = 0) -> None:
        """Add a row that cannot be parsed. An error without a field name is about the whole row. `known` are the fields
        that could be parsed; they are validated too."""
        if not self.keeps_next_faults:
            self.faults.count(self._append(line), WRONG)
            return
        named = {error.field for error in fields}
        others = _validate(replace(PLACEHOLDER, **known))
        found = [*fields, *(error for error in others if error.field not in named)]
        self.faults.add(self._append(line), (Fault(WRONG, error.message, error.field or None) for error in found))

    def line(self, index: int) -> int | None:
        """The line of the file where the row begins, from 1; None without a file."""
        return self._lines[index] if self.lined else None

    def row(self, index: int) -> Row:
        """A row that could be parsed."""
        end = self._starts[index + 1] if index + 1 < len(self._starts) else len(self._bytes)
        packed = bytes(self._bytes[self._starts[index] : end])
        owner, day, minutes, project, reference, note, zone, activity, *more = msgspec.msgpack.decode(packed)
        billable, tags = more or (None, ())
        return Row(
            date.fromordinal(day),
            project,
            minutes,
            note,
            activity,
            billable,
            tuple(tags),
            owner=self._owners.get(given := UUID(bytes=owner), given),
            external_ref=reference,
            time_zone=zone,
        )

    def of_week(self, week: Week) -> Iterator[tuple[int, Row]]:
        """The rows of a week that have no fault."""
        for index in self.weeks[week]:
            if index not in self.faults:
                yield index, self.row(index)

    def compare(self, week: Week) -> Iterator[None]:
        """Find faults between the rows of a week: a repeated key, two time zones, or far more rows than a sheet holds.
        Each step is a row."""
        first: dict[tuple[object, ...], int] = {}
        zone: str | None = None
        for index in self.weeks[week]:
            yield
            row = self.row(index)
            twin = first.setdefault((row.day, row.project, row.external_ref), index)
            if twin != index:
                self._blame(
                    index,
                    "external_ref",
                    f"is the same as that of {self.name(twin)}, with the same owner, day and project",
                )
            zone = zone or row.time_zone
            if row.time_zone not in {None, zone}:
                self._blame(index, "time_zone", "differs from that of another row for the same owner and week")
        # Merging them would delay other requests, only to find that most of them do not fit.
        if len(first) > MAX_ROWS_PER_SHEET:
            message = f"is one of {len(first)} rows for this owner and week; send at most {MAX_ROWS_PER_SHEET}"
            for index in self.weeks[week]:
                yield
                self.faults.add(index, (Fault(WRONG, message),))

    def refuse_after(self, last_week: date, week: Week) -> Iterator[None]:
        """Refuse the rows of a week after the last week. Each step is a row."""
        for index in self.weeks[week]:
            yield
            self._blame(index, "day", f"is too far ahead; the last week is that of {last_week}")

    def name(self, index: int) -> str:
        """The name of a row in messages."""
        return f"rows[{index}] (line {self._lines[index]})" if self.lined else f"rows[{index}]"

    def refusal(self, faults: Faults) -> TimewardenError:
        """One error for all faults: 422 if a row is invalid by itself, else 403 if any is forbidden, else 422 if any
        does not fit what is stored, else 409."""
        listed = [(index, fault) for index in faults for fault in faults[index]][:MAX_FAULTS_TOLD]
        error: TimewardenError
        if WRONG in self.faults.slugs or (WRONG in faults.slugs and faults.slugs <= NO_DENIALS):
            fields = [self._field_error(index, fault) for index, fault in listed if fault.slug == WRONG]
            error = InvalidField(*fields or [FieldError("rows", "have more invalid fields than this response lists")])
        elif faults.slugs - NO_DENIALS:
            reasons = [f"{self.name(index)}: {fault.reason}" for index, fault in listed if fault.slug not in NO_DENIALS]
            error = Forbidden(reasons or [f"{len(faults)} rows are refused"])
        else:
            kind = next((error for error in (WrongState, TimesheetFull) if faults.slugs == {error.slug}), Conflict)
            error = kind(f"{self.name(listed[0][0])}: {listed[0][1].reason}")
        error.extra["rows"] = [self.to_dict(index, fault) for index, fault in listed]
        error.extra["refused"] = len(faults)
        return error

    def to_dict(self, index: int, fault: Fault) -> dict[str, object]:
        """A refused row as a member `rows` of an error."""
        place = {"line": self._lines[index]} if self.lined else {}
        field_at_fault = {"field": fault.field} if fault.field else {}
        return {"row": index, **place, "problem": fault.slug, **field_at_fault, "reason": fault.reason}

    def _field_error(self, index: int, fault: Fault) -> FieldError:
        name = f"rows[{index}].{fault.field}" if fault.field else f"rows[{index}]"
        return FieldError(name, f"{fault.reason} (line {self._lines[index]})" if self.lined else fault.reason)

    def _blame(self, index: int, name: str, message: str) -> None:
        self.faults.add(index, (Fault(WRONG, message, name),))

    def _append(self, line: int) -> int:
        if len(self) == MAX_ROWS:
            raise InvalidField(FieldError("rows", f"are more than {MAX_ROWS}: split the file"))
        self._starts.append(len(self._bytes))
        self._lines.append(line)
        return len(self) - 1


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()


def _validate(row: Row) -> Sequence[FieldError]:
    fields = Fields()
    validate_hours(row, fields)
    fields.text("external_ref", row.external_ref, MAX_REFERENCE_LENGTH)
    if row.time_zone is not None:
        validate_time_zone(row.time_zone, fields, "time_zone")
    return fields.found
