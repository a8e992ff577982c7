"""The rows of an upload, judged one by one and held as bytes: a hundred thousand rows are some megabytes. Pure.

The reader of a file puts its rows in; the use case takes them out again sheet by sheet. The first MAX_FAULTS_TOLD
faults are kept with their sentences; after that, wrong rows are only counted, so that a file of nothing but wrong rows
costs little. Owns its rows, for one request.
"""

from __future__ import annotations

from array import array
from bisect import insort
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

import msgspec

from service.errors import Conflict, Forbidden, InvalidField, TimesheetFull, WrongState
from service.fields import Fields
from service.places import FieldError
from service.timesheets.entry import FIRST_WEEK, LONGEST_REFERENCE, Hours, judge_hours, judge_zone, week_of
from service.timesheets.timesheet import MAX_ENTRIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from service.errors import TimewardenError

    Week = tuple[UUID, date]

MAX_ROWS: Final = 200_000
# Rows for one owner and week: twice as many as a timesheet holds.
MAX_ROWS_PER_SHEET: Final = 2 * MAX_ENTRIES
# How many faults an answer lists; it tells the number of all refused rows.
MAX_FAULTS_TOLD: Final = 100
WRONG: Final = InvalidField.slug
# Problems of a row that was allowed.
NO_DENIALS: Final = frozenset({WRONG, Conflict.slug, TimesheetFull.slug, WrongState.slug})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(Hours):
    """Hours of the person `owner`. `time_zone` is for a sheet that has to be made (UTC if none is given)."""

    owner: UUID
    external_ref: str
    time_zone: str | None = None


# What stands for the members of a row that cannot be read, while the others are judged.
HARMLESS: Final = Row(FIRST_WEEK, "any", 1, owner=UUID(int=0), external_ref="any")


class Fault(NamedTuple):
    """Why a row was refused: the `slug` of the problem, the field if one is to blame, and a sentence."""

    slug: str
    reason: str
    field: str | None = None


@dataclass(slots=True)
class Faults:
    """Which rows are refused. It keeps the faults of the first of them, in the order of the rows, until those are
    MAX_FAULTS_TOLD; of the other rows it only knows that they are refused. `slugs` are the problems of all of them."""

    slugs: set[str] = field(default_factory=set)
    _marks: bytearray = field(default_factory=bytearray)
    _told: dict[int, list[Fault]] = field(default_factory=dict)
    _order: list[int] = field(default_factory=list)
    _number_told: int = 0

    def __len__(self) -> int:
        """How many rows are refused."""
        return self._marks.count(1)

    def __bool__(self) -> bool:
        return bool(self.slugs)

    def __contains__(self, index: int) -> bool:
        return index < len(self._marks) and self._marks[index] == 1

    def __iter__(self) -> Iterator[int]:
        """The rows whose faults are kept, in order."""
        return iter(self._order)

    def __getitem__(self, index: int) -> Sequence[Fault]:
        """The faults of a row; empty if they were not kept."""
        return self._told.get(index, ())

    def tells(self, index: int) -> bool:
        """Whether faults of this row would be kept. For other rows nobody needs to find out what they are."""
        return self._number_told < MAX_FAULTS_TOLD or index <= self._order[-1]

    def add(self, index: int, found: Iterable[Fault]) -> None:
        """The row is refused because of these faults, and of those that it had already."""
        self._mark(index)
        faults = list(found)
        self.slugs.update(fault.slug for fault in faults)
        if not self.tells(index):
            return
        if index not in self._told:
            insort(self._order, index)
        self._told[index] = [*self._told.get(index, ()), *faults]
        self._number_told += len(faults)
        while self._number_told - len(self._told[self._order[-1]]) >= MAX_FAULTS_TOLD:
            self._number_told -= len(self._told.pop(self._order.pop()))

    def count(self, index: int, slug: str) -> None:
        """The row is refused; what is wrong with it will not be told."""
        self._mark(index)
        self.slugs.add(slug)

    def update(self, found: Mapping[int, Iterable[Fault]]) -> None:
        """As `add`, for several rows."""
        for index, faults in found.items():
            self.add(index, faults)

    def copy(self) -> Faults:
        """The same faults, to which others can be added."""
        told = dict(self._told), list(self._order), self._number_told
        return Faults(set(self.slugs), bytearray(self._marks), *told)

    def _mark(self, index: int) -> None:
        if index >= len(self._marks):
            self._marks.extend(bytes(index + 1 - len(self._marks)))
        self._marks[index] = 1


@dataclass(slots=True)
class Rows:
    """Rows in the order of the upload, each with its line in the file, if there is a file. `lined`: there is one.
    `weeks` has the rows that can be read, by the sheet that they are for; among them those whose faults are told."""

    lined: bool = False
    faults: Faults = field(default_factory=Faults)
    weeks: dict[Week, array[int]] = field(default_factory=dict)
    _bytes: bytearray = field(default_factory=bytearray)
    _starts: array[int] = field(default_factory=lambda: array("Q"))
    _lines: array[int] = field(default_factory=lambda: array("I"))

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Rows:
        """These rows."""
        found = cls()
        for row in rows:
            found.add(row)
        return found

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, row: Row, line: int = 0) -> None:
        """One more row. What is wrong with its fields becomes its faults. Raises InvalidField beyond MAX_ROWS."""
        index = self._next(line)
        texts = [row.project, row.external_ref, row.note, row.time_zone]
        if found := _judge(row):
            told = self.faults.tells(index)
            self.faults.add(index, (Fault(WRONG, error.message, error.field) for error in found))
            if not told:
                return
            # Half of a surrogate pair cannot be packed, and is a fault already.
            texts = [text and text.encode(errors="replace").decode() for text in texts]
        self._bytes += msgspec.msgpack.encode((row.owner.bytes, row.day.toordinal(), row.minutes, *texts))
        self.weeks.setdefault((row.owner, week_of(row.day)), array("I")).append(index)

    @property
    def tells_of_next(self) -> bool:
        """Whether an answer would tell what is wrong with the next row. If not, `add_wrong` needs no fields."""
        return self.faults.tells(len(self))

    def add_wrong(self, fields: Sequence[FieldError], known: Mapping[str, Any], line: int = 0) -> None:
        """A row that cannot be read. An error without a field name is about the whole row. `known` are its members that
        could be read, and are judged all the same."""
        if not self.tells_of_next:
            self.faults.count(self._next(line), WRONG)
            return
        named = {one.field for one in fields}
        found = [*fields, *(one for one in _judge(replace(HARMLESS, **known)) if one.field not in named)]
        self.faults.add(self._next(line), (Fault(WRONG, one.message, one.field or None) for one in found))

    def line(self, index: int) -> int | None:
        """Where the row begins in its file, from 1."""
        return self._lines[index] if self.lined else None

    def row(self, index: int) -> Row:
        """One of them, which could be read."""
        end = self._starts[index + 1] if index + 1 < len(self._starts) else len(self._bytes)
        packed = bytes(self._bytes[self._starts[index] : end])
        owner, day, minutes, project, reference, note, zone = msgspec.msgpack.decode(packed)
        return Row(
            date.fromordinal(day),
            project,
            minutes,
            note,
            owner=UUID(bytes=owner),
            external_ref=reference,
            time_zone=zone,
        )

    def of_week(self, week: Week) -> Iterator[tuple[int, Row]]:
        """A week's rows that have no fault."""
        for index in self.weeks[week]:
            if index not in self.faults:
                yield index, self.row(index)

    def compare(self, week: Week) -> Iterator[None]:
        """Find what is wrong between the rows of a week: a key that stands twice, two time zones, or far more rows than
        a sheet holds. Each step is a row."""
        first: dict[tuple[object, ...], int] = {}
        zone: str | None = None
        for index in self.weeks[week]:
            yield
            row = self.row(index)
            twin = first.setdefault((row.day, row.project, row.external_ref), index)
            if twin != index:
                self._blame(index, "external_ref", f"is that of {self.name(twin)}, for the same owner, day and project")
            zone = zone or row.time_zone
            if row.time_zone not in {None, zone}:
                self._blame(index, "time_zone", "differs from that of another row for the same owner and week")
        # Merging them with the sheet would hold up other requests, and could only find that most of them do not fit.
        if len(first) > MAX_ROWS_PER_SHEET:
            says = f"is one of {len(first)} rows for this owner and week; send {MAX_ROWS_PER_SHEET} of them at the most"
            for index in self.weeks[week]:
                yield
                self.faults.add(index, (Fault(WRONG, says),))

    def name(self, index: int) -> str:
        """How messages call a row."""
        return f"rows[{index}] (line {self._lines[index]})" if self.lined else f"rows[{index}]"

    def refusal(self, faults: Faults) -> TimewardenError:
        """One error for all of these faults: 422 if rows are wrong by themselves, else 403 if any is forbidden, else
        422 if any does not fit what is stored, else 409."""
        told = [(index, fault) for index in faults for fault in faults[index]][:MAX_FAULTS_TOLD]
        error: TimewardenError
        if WRONG in self.faults.slugs or (WRONG in faults.slugs and faults.slugs <= NO_DENIALS):
            fields = [self._named(index, fault) for index, fault in told if fault.slug == WRONG]
            error = InvalidField(*fields or [FieldError("rows", "have wrong fields behind those that are told here")])
        elif faults.slugs - NO_DENIALS:
            reasons = [f"{self.name(index)}: {fault.reason}" for index, fault in told if fault.slug not in NO_DENIALS]
            error = Forbidden(reasons or [f"{len(faults)} rows are refused"])
        else:
            kind = next((one for one in (WrongState, TimesheetFull) if faults.slugs == {one.slug}), Conflict)
            error = kind(f"{self.name(told[0][0])}: {told[0][1].reason}")
        error.extra["rows"] = [self.told(index, fault) for index, fault in told]
        error.extra["refused"] = len(faults)
        return error

    def told(self, index: int, fault: Fault) -> dict[str, object]:
        """A refused row as machines read it."""
        place = {"line": self._lines[index]} if self.lined else {}
        blamed = {"field": fault.field} if fault.field else {}
        return {"row": index, **place, "problem": fault.slug, **blamed, "reason": fault.reason}

    def _named(self, index: int, fault: Fault) -> FieldError:
        name = f"rows[{index}].{fault.field}" if fault.field else f"rows[{index}]"
        return FieldError(name, f"{fault.reason} (line {self._lines[index]})" if self.lined else fault.reason)

    def _blame(self, index: int, name: str, message: str) -> None:
        self.faults.add(index, (Fault(WRONG, message, name),))

    def _next(self, line: int) -> int:
        if len(self) == MAX_ROWS:
            raise InvalidField(FieldError("rows", f"are more than {MAX_ROWS}: send them as several files"))
        self._starts.append(len(self._bytes))
        self._lines.append(line)
        return len(self) - 1


def _judge(row: Row) -> Sequence[FieldError]:
    """What is wrong with its fields."""
    fields = Fields()
    judge_hours(row, fields)
    fields.text("external_ref", row.external_ref, LONGEST_REFERENCE)
    if row.time_zone is not None:
        judge_zone(row.time_zone, fields, "time_zone")
    return fields.found
