"""The organisation as a CSV file: bytes to rows, every complaint with its row and field. Pure: owns no state.

    record,email,name,issuer,subject,team,parent,valid_from,valid_to
    person,ana@example.com,Ana Lima,https://issuer.example/,auth0|5f7c,,,,
    team,,,,,Atlas,Example Ltd,,
    lead,ana@example.com,,,,Atlas,,2026-11-23T00:00:00Z,

The header names the columns, in any order; those that no row needs may be left out.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from service.csv_cells import is_formula
from service.directory.entities import Link, Validity, check_grant, check_person, check_team
from service.errors import InvalidField
from service.pacing import paced
from service.places import FieldError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_ROWS: Final = 5_000
MAX_TOLD: Final = 100
MAX_CHARACTERS_PER_LINE: Final = 16_384
COLUMNS: Final = ("record", "email", "name", "issuer", "subject", "team", "parent", "valid_from", "valid_to")
# What each record needs, and what it may have.
NEEDED: Final = {"person": ("email",), "team": ("team",), "member": ("email", "team"), "lead": ("email", "team")}
TAKEN: Final = {
    "person": ("email", "name", "issuer", "subject"),
    "team": ("team", "parent"),
    "member": ("email", "team", "valid_from", "valid_to"),
    "lead": ("email", "team", "valid_from", "valid_to"),
}


@dataclass(frozen=True, slots=True)
class ImportRow:
    """A row: its index among the rows, its line in the file, and its cells without blanks around them."""

    index: int
    line: int
    record: str
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")

    @property
    def email(self) -> str:
        """The natural key of a person."""
        return self["email"].lower()

    @property
    def link(self) -> Link | None:
        """Tokens that speak for the person."""
        return Link(self["issuer"], self["subject"]) if self["issuer"] else None

    @property
    def validity(self) -> Validity:
        """From when to when; read only of rows that were found right."""
        moments = (datetime.fromisoformat(one) if one else None for one in (self["valid_from"], self["valid_to"]))
        return Validity(*moments)


@dataclass(slots=True)
class Wrongs:
    """What is wrong with rows, told together: the first MAX_TOLD of them, and how many there are (`count`)."""

    count: int = 0
    found: list[FieldError] = field(default_factory=list)

    def at(self, row: ImportRow, column: str, message: str) -> None:
        """A cell is wrong."""
        self.count += 1
        if self.count <= MAX_TOLD:
            self.found.append(FieldError(f"rows[{row.index}].{column}", f"{message} (line {row.line})"))

    def refuse(self) -> None:
        """Raise InvalidField with the first of them, if there are any."""
        if self.found:
            more = self.count - len(self.found)
            raise InvalidField(*self.found, *([FieldError("rows", f"and {more} more")] if more else []))


async def read_rows(raw: bytes) -> list[ImportRow]:
    """The rows of a file. Raises InvalidField for what is no such CSV, and for every cell that is wrong by itself."""
    rows, wrongs = [], Wrongs()
    async for row in paced(_rows(_text(raw))):
        if row is None:
            continue
        rows.append(row)
        if len(rows) > MAX_ROWS:
            raise InvalidField(FieldError("rows", f"must be 1 to {MAX_ROWS}"))
        _check(row, wrongs)
    wrongs.refuse()
    if not rows:
        raise InvalidField(FieldError("rows", f"must be 1 to {MAX_ROWS}"))
    return rows


def _text(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InvalidField(FieldError("body", f"is not UTF-8 in line {line}: save the file as UTF-8")) from None
    if "\x00" in text:
        raise InvalidField(
            FieldError("body", f"holds a NUL character in line {text[: text.index(chr(0))].count(chr(10)) + 1}")
        )
    return text


def _rows(text: str) -> Iterator[ImportRow | None]:
    """The rows, and None for each empty line, so that a step is never long."""
    reader = csv.reader(_lines(text), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        _check_header(header)
        index = 0
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                yield None
                continue
            if len(cells) != len(header):
                message = f"has {len(cells)} fields, the header {len(header)} (line {reader.line_num})"
                raise InvalidField(FieldError(f"rows[{index}]", message))
            found = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
            yield ImportRow(index, reader.line_num, found.pop("record"), found)
            index += 1
    except csv.Error as error:
        raise InvalidField(FieldError("body", f"is no CSV in line {reader.line_num}: {error}")) from None


def _lines(text: str) -> Iterator[str]:
    for number, line in enumerate(io.StringIO(text, newline=""), 1):
        if len(line) > MAX_CHARACTERS_PER_LINE:
            message = f"has more than {MAX_CHARACTERS_PER_LINE} characters in line {number}"
            raise InvalidField(FieldError("body", message))
        yield line


def _check_header(header: list[str]) -> None:
    if len(header) == 1 and ";" in header[0]:
        raise InvalidField(FieldError("header", "has semicolons between its fields: separate them by commas"))
    if "record" not in header:
        raise InvalidField(FieldError("header", f"needs the column record; there are {', '.join(COLUMNS)}"))
    for place, name in enumerate(header):
        if name not in COLUMNS:
            raise InvalidField(
                FieldError("header", f"has an unknown column {name[:40]!r}; there are {', '.join(COLUMNS)}")
            )
        if name in header[:place]:
            raise InvalidField(FieldError("header", f"has the column {name} twice"))


def _check(row: ImportRow, wrongs: Wrongs) -> None:
    if row.record not in TAKEN:
        wrongs.at(row, "record", f"must be {', '.join(TAKEN)}")
        return
    for column, cell in row.cells.items():
        if is_formula(cell):
            wrongs.at(row, column, "begins like a formula of a spreadsheet")
        elif cell and column not in TAKEN[row.record]:
            wrongs.at(row, column, f"is not for a {row.record}")
    for column in NEEDED[row.record]:
        if not row[column]:
            wrongs.at(row, column, f"is needed for a {row.record}")
    _check_record(row, wrongs)


def _check_record(row: ImportRow, wrongs: Wrongs) -> None:
    if row.record == "person":
        if bool(row["issuer"]) != bool(row["subject"]):
            wrongs.at(row, "subject" if row["issuer"] else "issuer", "is needed: issuer and subject go together")
        links = (row.link,) if row.link and row["subject"] else ()
        names = {"display_name": "name", "links[0].issuer": "issuer", "links[0].subject": "subject"}
        _told(row, wrongs, names, lambda: check_person(row["name"] or None, row["email"] or None, links))
    elif row.record == "team" and row["team"]:
        _told(row, wrongs, {"name": "team"}, lambda: check_team(row["team"]))
    elif row.record in {"member", "lead"} and _times(row, wrongs):
        _told(row, wrongs, {}, lambda: check_grant(row.validity))


def _times(row: ImportRow, wrongs: Wrongs) -> bool:
    """Whether both times can be read."""
    before = wrongs.count
    for column in ("valid_from", "valid_to"):
        try:
            right = not row[column] or ("T" in row[column] and datetime.fromisoformat(row[column]).tzinfo is not None)
        except ValueError:
            right = False
        if not right:
            wrongs.at(row, column, "must be an RFC 3339 time with an offset, such as 2026-11-23T09:00:00Z")
    return wrongs.count == before


def _told(row: ImportRow, wrongs: Wrongs, names: dict[str, str], check: Callable[[], None]) -> None:
    """Say of the row's columns what `check` says of its fields."""
    try:
        check()
    except InvalidField as error:
        for one in error.fields:
            wrongs.at(row, names.get(one.field, one.field), one.message)
