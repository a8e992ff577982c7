"""The rows of an upload, judged one by one and held as bytes: a hundred thousand rows are some megabytes. Pure.

Whoever read a file puts its rows in; the use case takes them out again sheet by sheet. Owns its rows, for one request.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

import msgspec

from service.errors import Conflict, InvalidField, TimesheetFull, WrongState
from service.fields import Fields
from service.places import FieldError
from service.timesheets.entry import FIRST_WEEK, LONGEST_REFERENCE, Hours, judge_hours, judge_zone, week_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from service.errors import TimewardenError

    Week = tuple[UUID, date]

MOST_ROWS: Final = 200_000
# How many rows an answer tells of when an upload is refused; it tells the number of all.
MOST_TOLD: Final = 100
WRONG: Final = InvalidField.slug


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
class Rows:
    """Rows in the order of the upload, each with its line in the file, if there is a file. `lined`: there is one."""

    lined: bool = False
    faults: dict[int, list[Fault]] = field(default_factory=dict)
    weeks: dict[Week, array[int]] = field(default_factory=dict)
    _bytes: bytearray = field(default_factory=bytearray)
    _starts: array[int] = field(default_factory=lambda: array("Q"))
    _lines: array[int] = field(default_factory=lambda: array("I"))

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Rows:
        """These rows."""
        found = cls()
        for one in rows:
            found.add(one)
        return found

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, row: Row, line: int = 0) -> None:
        """One more row. What is wrong with its fields becomes its faults. Raises InvalidField beyond MOST_ROWS."""
        index = self._next(line)
        found = _judge(row)
        if found:
            self.faults[index] = [Fault(WRONG, one.message, one.field) for one in found]
        texts = [row.project, row.external_ref, row.note, row.time_zone]
        if found:
            # Half of a surrogate pair cannot be packed, and is a fault already.
            texts = [one and one.encode(errors="replace").decode() for one in texts]
        self._bytes += msgspec.msgpack.encode((row.owner.bytes, row.day.toordinal(), row.minutes, *texts))
        self.weeks.setdefault((row.owner, week_of(row.day)), array("I")).append(index)

    def add_wrong(self, fields: Sequence[FieldError], known: Mapping[str, Any], line: int = 0) -> None:
        """A row that cannot be read. An error without a field name is about the whole row. `known` are its members that
        could be read, and are judged all the same."""
        named = {one.field for one in fields}
        found = [*fields, *(one for one in _judge(replace(HARMLESS, **known)) if one.field not in named)]
        self.faults[self._next(line)] = [Fault(WRONG, one.message, one.field or None) for one in found]

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

    def compare(self, week: Week) -> None:
        """Find what is wrong between the rows of a week: a key that stands twice, or two time zones."""
        first: dict[tuple[object, ...], int] = {}
        zone: str | None = None
        for index in self.weeks[week]:
            row = self.row(index)
            twin = first.setdefault((row.day, row.project, row.external_ref), index)
            if twin != index:
                self._blame(index, "external_ref", f"is that of {self.name(twin)}, for the same owner, day and project")
            zone = zone or row.time_zone
            if row.time_zone not in {None, zone}:
                self._blame(index, "time_zone", "differs from that of another row for the same owner and week")

    def name(self, index: int) -> str:
        """How messages call a row."""
        return f"rows[{index}] (line {self._lines[index]})" if self.lined else f"rows[{index}]"

    def refusal(self, faults: dict[int, list[Fault]]) -> TimewardenError:
        """One error for all of these faults: 422 if any field is wrong, else 409."""
        told = [(index, fault) for index, found in sorted(faults.items()) for fault in found]
        rows = [self.told(index, fault) for index, fault in told[:MOST_TOLD]]
        error: TimewardenError
        if wrong := [(index, fault) for index, fault in told if fault.slug == WRONG]:
            error = InvalidField(*(self._named(index, fault) for index, fault in wrong[:MOST_TOLD]))
        else:
            slugs = {fault.slug for _, fault in told}
            kind = next((one for one in (WrongState, TimesheetFull) if slugs == {one.slug}), Conflict)
            error = kind(f"{self.name(told[0][0])}: {told[0][1].reason}")
        error.extra["rows"] = rows
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
        self.faults.setdefault(index, []).append(Fault(WRONG, message, name))

    def _next(self, line: int) -> int:
        if len(self) == MOST_ROWS:
            raise InvalidField(FieldError("rows", f"are more than {MOST_ROWS}: send them as several files"))
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
