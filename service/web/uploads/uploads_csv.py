"""CSV (RFC 4180): a head with the names of the columns, commas, UTF-8. Pure but for the unfinished row.

A cell that a spreadsheet would run as a formula is refused and not stored: the file would do to the next reader what
it did not do to us.
"""

from __future__ import annotations

import csv
import re
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from service.csv_cells import is_formula
from service.errors import InvalidField
from service.places import FieldError
from service.timesheets.entry import MAX_MINUTES
from service.timesheets.upload_rows import Row
from service.web.http.parameters import parse_uuid
from service.web.uploads.uploads_lines import LONGEST_LINE, Line, Lines, fault_of_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from service.timesheets.upload_rows import Rows

NEEDED: Final = ("owner", "day", "project", "minutes", "external_ref")
OPTIONAL: Final = ("note", "time_zone")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MINUTES: Final = re.compile(r"[0-9]{1,4}")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?")
LONE_CR: Final = "holds a carriage return outside quotes; lines end with LF, or CR LF"
_LONGEST_TOLD: Final = 40


class CsvReader:
    """Puts what it is fed into `rows`. A row with a wrong cell is a fault of its own; a wrong head, encoding or quote
    makes the rest unreadable."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._lines = Lines()
        self._columns: list[str] | None = None
        # The lines of a row whose quotes are still open, how long they are, and where it began.
        self._open: list[str] = []
        self._quoted = False
        self._length = 0
        self._began = 0

    def feed(self, chunk: bytes) -> Iterator[None]:
        """Read the next bytes; each step is a line. Raises InvalidField for what cannot be read any further."""
        return self._take(self._lines.feed(chunk))

    def end(self) -> Iterator[None]:
        """Read the last line, as `feed`. Raises InvalidField if a quote is open, or there is not even a head."""
        yield from self._take(self._lines.end())
        if self._open:
            raise fault_of_file(f"line {self._began}", "opens a quote that nothing closes")
        if self._columns is None:
            raise fault_of_file("head", f"is missing: the first line names the columns, {', '.join(NEEDED)}")

    def _take(self, lines: Iterable[Line]) -> Iterator[None]:
        for number, raw in lines:
            yield
            try:
                text = raw.decode()
            except UnicodeDecodeError as error:
                raise fault_of_file(f"line {number}", f"is not UTF-8 from byte {error.start + 1} on") from None
            if not self._open:
                self._began, self._length = number, 0
                if not text.strip():
                    continue
            self._open.append(text)
            self._length += len(text) + 1
            if self._length > LONGEST_LINE + 1:
                raise fault_of_file(f"line {self._began}", f"begins a row of more than {LONGEST_LINE} characters")
            # An odd number of quotes opens a quoted cell, or closes the one that is open.
            self._quoted ^= text.count('"') % 2 == 1
            if not self._quoted:
                whole = "\n".join(self._open)
                self._open = []
                self._row(whole)

    def _row(self, text: str) -> None:
        try:
            (cells,) = csv.reader([f"{line}\n" for line in text.split("\n")], strict=True)
        except (csv.Error, ValueError) as error:
            self._refuse_or_stop(LONE_CR if "\r" in text else f"is not CSV: {error}")
            return
        if self._columns is None:
            self._columns = _columns(cells, text)
        elif len(cells) != len(self._columns):
            says = "; columns are separated by commas" if ";" in text or "\t" in text else ""
            self._refuse_or_stop(f"has {len(cells)} cells where the head has {len(self._columns)}{says}")
        else:
            self._cells(dict(zip(self._columns, cells, strict=True)))

    def _refuse_or_stop(self, message: str) -> None:
        if self._columns is None:
            raise fault_of_file("head", message)
        self._rows.add_wrong([FieldError("", message)], {}, self._began)

    def _cells(self, cells: dict[str, str]) -> None:
        wrong = [
            FieldError(name, "begins like a formula, which a spreadsheet would run; write it as plain text")
            for name, cell in cells.items()
            if is_formula(cell) and not (name == "minutes" and _NUMBER.fullmatch(cell))
        ]
        named = {one.field for one in wrong}
        known, unread = _members({name: cell for name, cell in cells.items() if name not in named})
        if wrong or unread:
            self._rows.add_wrong([*wrong, *unread], known, self._began)
        else:
            self._rows.add(Row(**known), self._began)


def _columns(cells: Sequence[str], text: str) -> list[str]:
    """The names of the columns. Raises InvalidField that names each that is wrong."""
    if len(cells) == 1 and any(other in text for other in ";\t|"):
        raise fault_of_file("head", "separates its columns with something else than commas; save the file with commas")
    names = [cell.strip() for cell in cells]
    wrong = [FieldError(f"head.{name}", "is missing") for name in NEEDED if name not in names]
    wrong += [
        FieldError(f"head.{name[:_LONGEST_TOLD]}", "is not a column of an upload")
        for name in names
        if name not in NEEDED and name not in OPTIONAL
    ]
    wrong += [FieldError(f"head.{name}", "stands twice") for name in {*NEEDED, *OPTIONAL} if names.count(name) > 1]
    if wrong:
        raise InvalidField(*wrong)
    return names


def _members(cells: Mapping[str, str]) -> tuple[dict[str, Any], list[FieldError]]:
    """The members of a row that can be read, and what is wrong with the others."""
    known: dict[str, Any] = {name: cells[name] for name in ("project", "external_ref") if name in cells}
    known |= {name: cells[name] for name in OPTIONAL if cells.get(name)}
    wrong: list[FieldError] = []
    if "owner" in cells:
        try:
            known["owner"] = parse_uuid(cells["owner"], "owner")
        except InvalidField as error:
            wrong += error.fields
    if "day" in cells:
        try:
            known["day"] = date.fromisoformat(cells["day"] if _DAY.fullmatch(cells["day"]) else "")
        except ValueError:
            wrong.append(FieldError("day", "must be a date such as 2026-11-23"))
    if "minutes" in cells:
        if _MINUTES.fullmatch(cells["minutes"]):
            known["minutes"] = int(cells["minutes"])
        else:
            wrong.append(FieldError("minutes", f"must be a whole number from 1 to {MAX_MINUTES}"))
    return known, wrong
