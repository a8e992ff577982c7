"""CSV (RFC 4180): a header line with the names of the columns, commas, UTF-8. Pure but for the unfinished row.

A cell that a spreadsheet would run as a formula is refused, so that exports are safe to open.
"""

from __future__ import annotations

import csv
import re
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from service.csv_cells import is_formula
from service.errors import InvalidField
from service.places import FieldError
from service.timesheets.entry import MAX_MINUTES, TAG_SEPARATOR
from service.timesheets.upload_rows import Row
from service.web.uploads.uploads_lines import MAX_LINE_BYTES, Line, Lines, file_error
from service.web.uploads.uploads_shapes import parse_owner

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from service.timesheets.upload_rows import Rows

REQUIRED: Final = ("owner", "day", "project", "minutes", "external_ref")
OPTIONAL: Final = ("note", "time_zone", "activity", "billable", "tags")
_TRUTH: Final = {"true": True, "false": False}
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MINUTES: Final = re.compile(r"[0-9]{1,4}")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?")
LONE_CR: Final = "has a carriage return outside quotes; lines end with LF or CR LF"
_MAX_NAME_LENGTH: Final = 40


class CsvReader:
    """Adds each row that it is fed to `rows`. A row with an invalid cell becomes a fault. A wrong header, encoding or
    quote makes the rest of the file unreadable."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._lines = Lines()
        self._columns: list[str] | None = None
        # The lines of a row with an open quote, whether the quote is open, their length, and the first line.
        self._open: list[str] = []
        self._quoted = False
        self._length = 0
        self._began = 0

    def feed(self, chunk: bytes) -> Iterator[None]:
        """Read the next bytes; each step is a line. Raises InvalidField if the rest of the file cannot be read."""
        return self._read(self._lines.feed(chunk))

    def end(self) -> Iterator[None]:
        """Read the last line, as `feed`. Raises InvalidField for an open quote and for a file without a header."""
        yield from self._read(self._lines.end())
        if self._open:
            raise file_error(f"line {self._began}", "opens a quote that is never closed")
        if self._columns is None:
            raise file_error("header", f"is missing: the first line names the columns {', '.join(REQUIRED)}")

    def _read(self, lines: Iterable[Line]) -> Iterator[None]:
        for number, raw in lines:
            yield
            try:
                text = raw.decode()
            except UnicodeDecodeError as error:
                raise file_error(f"line {number}", f"is not UTF-8 from byte {error.start + 1} on") from None
            if not self._open:
                self._began, self._length = number, 0
                if not text.strip():
                    continue
            self._open.append(text)
            self._length += len(text) + 1
            if self._length > MAX_LINE_BYTES + 1:
                raise file_error(f"line {self._began}", f"begins a row of more than {MAX_LINE_BYTES} characters")
            # An odd number of quotes opens a quoted cell, or closes the one that is open.
            self._quoted ^= text.count('"') % 2 == 1
            if not self._quoted:
                whole = "\n".join(self._open)
                self._open = []
                self._parse_row(whole)

    def _parse_row(self, text: str) -> None:
        try:
            (cells,) = csv.reader([f"{line}\n" for line in text.split("\n")], strict=True)
        except (csv.Error, ValueError) as error:
            self._refuse_or_stop(LONE_CR if "\r" in text else f"is not CSV: {error}")
            return
        if self._columns is None:
            self._columns = _parse_header(cells, text)
        elif len(cells) != len(self._columns):
            hint = "; separate the columns with commas" if ";" in text or "\t" in text else ""
            self._refuse_or_stop(f"has {len(cells)} cells, but the header has {len(self._columns)}{hint}")
        else:
            self._add_row(dict(zip(self._columns, cells, strict=True)))

    def _refuse_or_stop(self, message: str) -> None:
        if self._columns is None:
            raise file_error("header", message)
        self._rows.add_invalid([FieldError("", message)], {}, self._began)

    def _add_row(self, cells: dict[str, str]) -> None:
        wrong = [
            FieldError(name, "begins like a formula, which a spreadsheet would run; write it as plain text")
            for name, cell in cells.items()
            if is_formula(cell) and not (name == "minutes" and _NUMBER.fullmatch(cell))
        ]
        named = {error.field for error in wrong}
        known, unparsed = _parse_cells({name: cell for name, cell in cells.items() if name not in named}, self._rows)
        if wrong or unparsed:
            self._rows.add_invalid([*wrong, *unparsed], known, self._began)
        else:
            self._rows.add(Row(**known), self._began)


def _parse_header(cells: Sequence[str], text: str) -> list[str]:
    """The names of the columns. Raises InvalidField that names each wrong column."""
    if len(cells) == 1 and any(other in text for other in ";\t|"):
        raise file_error("header", "does not separate its columns with commas")
    names = [cell.strip() for cell in cells]
    wrong = [FieldError(f"header.{name}", "is missing") for name in REQUIRED if name not in names]
    wrong += [
        FieldError(f"header.{name[:_MAX_NAME_LENGTH]}", "is not a column of an upload")
        for name in names
        if name not in REQUIRED and name not in OPTIONAL
    ]
    wrong += [FieldError(f"header.{name}", "appears twice") for name in {*REQUIRED, *OPTIONAL} if names.count(name) > 1]
    if wrong:
        raise InvalidField(*wrong)
    return names


def _parse_cells(cells: Mapping[str, str], rows: Rows) -> tuple[dict[str, Any], list[FieldError]]:
    """The fields of a row that can be parsed, and errors for the others."""
    known: dict[str, Any] = {name: cells[name] for name in ("project", "external_ref") if name in cells}
    known |= {name: cells[name] for name in OPTIONAL if cells.get(name)}
    wrong: list[FieldError] = []
    if "tags" in known:
        known["tags"] = tuple(known["tags"].split(TAG_SEPARATOR))
    if "billable" in known:
        known["billable"] = _TRUTH.get(known["billable"])
        if known["billable"] is None:
            wrong.append(FieldError("billable", "must be true or false"))
    if "owner" in cells:
        try:
            known["owner"] = parse_owner(cells["owner"], rows)
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
