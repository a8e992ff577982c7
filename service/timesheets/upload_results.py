"""The results of the rows of an upload, packed as bytes. Owns them for one request."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from service.timesheets.upload_merge import MergedWeek
    from service.timesheets.upload_rows import Fault, Rows

OUTCOMES: Final = ("refused", "created", "updated", "unchanged")


class RowResult(NamedTuple):
    """The result of a row: its index from 0, its line in the file if there is a file, and its outcome. A row that was
    `created`, `updated` or `unchanged` has a sheet and an entry, a `refused` one has faults. In a dry run, a sheet or
    entry that would be created has no id."""

    row: int
    line: int | None
    outcome: str
    timesheet: UUID | None = None
    entry: UUID | None = None
    faults: Sequence[Fault] = ()


class Results:
    """The results of all rows; a row without a result is refused."""

    def __init__(self, rows: Rows, *, dry_run: bool = False) -> None:
        self._rows = rows
        self._dry_run = dry_run
        self._codes = bytearray(len(rows))
        self._entries = bytearray(16 * len(rows))
        self._places = array("I", bytes(4 * len(rows)))
        self._sheets: list[UUID | None] = []
        self.faults = rows.faults.copy()

    def put(self, merged: MergedWeek) -> None:
        """Store the results of the rows of one sheet."""
        own = None if self._dry_run and not merged.before.version else merged.before.id
        places: dict[UUID | None, int] = {}
        for index, (outcome, entry) in merged.outcomes.items():
            sheet = merged.other_sheets.get(index, own)
            if sheet not in places:
                places[sheet] = len(self._sheets)
                self._sheets.append(sheet)
            self._codes[index] = OUTCOMES.index(outcome)
            self._entries[16 * index : 16 * index + 16] = entry.bytes
            self._places[index] = places[sheet]
        self.faults.update(merged.faults)

    def refuse(self, indexes: Sequence[int], fault: Fault) -> None:
        """Refuse these rows for the same reason."""
        for index in indexes:
            if index not in self._rows.faults:
                self._codes[index] = 0
                self.faults.add(index, (fault,))

    def __len__(self) -> int:
        return len(self._codes)

    def __iter__(self) -> Iterator[RowResult]:
        """Results in the order of the rows. Refused rows whose faults were only counted are left out."""
        for index, code in enumerate(self._codes):
            line = self._rows.line(index)
            if code == 0:
                if faults := self.faults[index]:
                    yield RowResult(index, line, OUTCOMES[0], faults=faults)
            else:
                entry = UUID(bytes=bytes(self._entries[16 * index : 16 * index + 16]))
                hypothetical = self._dry_run and OUTCOMES[code] == "created"
                sheet = self._sheets[self._places[index]]
                yield RowResult(index, line, OUTCOMES[code], sheet, None if hypothetical else entry)

    def counts(self) -> dict[str, int]:
        """How many rows had each outcome."""
        return {name: self._codes.count(code) for code, name in enumerate(OUTCOMES)}
