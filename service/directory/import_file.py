"""Parses the CSV file of an import of the organisation; every error names its row and field. Pure: owns no state.

    record,email,name,issuer,subject,team,parent,valid_from,valid_to
    person,ana@example.com,Ana Lima,https://issuer.example/,auth0|5f7c,,,,
    team,,,,,Atlas,Example Ltd,,
    lead,ana@example.com,,,,Atlas,,2026-11-23T00:00:00Z,

The header names the columns, in any order; columns that no row needs may be missing. A column `attr:NAME` holds an
attribute of people, teams or projects. `activities` are separated by `;`.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from service.csv_cells import is_formula
from service.directory.declared_attributes import SEPARATOR
from service.directory.entities import (
    Link,
    Project,
    Validity,
    check_grant,
    check_group,
    check_person,
    check_project,
    check_team,
)
from service.errors import InvalidField
from service.pacing import pace
from service.places import FieldError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_ROWS: Final = 5_000
MAX_ERRORS_LISTED: Final = 100
MAX_CHARACTERS_PER_LINE: Final = 16_384
COLUMNS: Final = (
    "record",
    "email",
    "name",
    "issuer",
    "subject",
    "team",
    "parent",
    "project",
    "kind",
    "billable",
    "activities",
    "group",
    "valid_from",
    "valid_to",
)
ATTRIBUTE: Final = "attr:"
_ATTRIBUTE_COLUMN: Final = re.compile(r"attr:[a-z][a-z0-9_]{0,62}")
_NUMBER: Final = re.compile(r"-[0-9]{1,16}")
_BOOLS: Final = {"true": True, "false": False}
_TERMS: Final = ("kind", "billable", "activities")
_SPAN: Final = ("valid_from", "valid_to")
# The required and the allowed columns of each record.
REQUIRED: Final = {
    "person": ("email",),
    "team": ("team",),
    "project": ("project",),
    "group": ("group",),
    "member": ("email", "team"),
    "lead": ("email", "team"),
    "group-member": ("email", "group"),
    "project-lead": ("email", "project"),
}
ALLOWED: Final = {
    "person": ("email", "name", "issuer", "subject"),
    "team": ("team", "parent"),
    "project": ("project", "name", *_TERMS),
    "group": ("group",),
    "member": ("email", "team", *_SPAN),
    "lead": ("email", "team", *_SPAN),
    "group-member": ("email", "group", *_SPAN),
    "project-lead": ("email", "project", *_SPAN),
}
# The records that may have attributes, and those that name a person and a time.
WITH_ATTRIBUTES: Final = frozenset({"person", "team", "project"})
GRANTS: Final = frozenset({"member", "lead", "group-member", "project-lead"})


@dataclass(frozen=True, slots=True)
class ImportRow:
    """A row: its index from 0, its line in the file, and its stripped cells."""

    index: int
    line: int
    record: str
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")

    @property
    def attributes(self) -> dict[str, str]:
        """The cells of attributes that are not empty, by the name of the attribute."""
        return {
            column.removeprefix(ATTRIBUTE): cell
            for column, cell in self.cells.items()
            if cell and column.startswith(ATTRIBUTE)
        }

    def read_project(self, stored: Project | None = None) -> Project:
        """The project of the row. An empty cell leaves what is stored, or else the default."""
        given: dict[str, Any] = {name: self[name] for name in ("name", "kind") if self[name]}
        if (billable := _BOOLS.get(self["billable"].lower())) is not None:
            given["billable"] = billable
        if self["activities"]:
            given["activities"] = tuple(activity.strip() for activity in self["activities"].split(SEPARATOR))
        return replace(stored or Project(self["project"], self["project"]), **given)

    @property
    def link(self) -> Link | None:
        """The link of the person, if there is one."""
        return Link(self["issuer"], self["subject"]) if self["issuer"] else None

    @property
    def validity(self) -> Validity:
        """The validity of a row without errors."""
        moments = (datetime.fromisoformat(text) if text else None for text in (self["valid_from"], self["valid_to"]))
        return Validity(*moments)


@dataclass(slots=True)
class RowErrors:
    """The errors of rows: the first MAX_ERRORS_LISTED, and the number of all (`count`)."""

    count: int = 0
    found: list[FieldError] = field(default_factory=list)

    def at(self, row: ImportRow, column: str, message: str) -> None:
        """Add an error about a cell."""
        self.count += 1
        if self.count <= MAX_ERRORS_LISTED:
            self.found.append(FieldError(f"rows[{row.index}].{column}", f"{message} (line {row.line})"))

    def refuse(self) -> None:
        """Raise InvalidField with the listed errors, if there are any."""
        if self.found:
            more = self.count - len(self.found)
            raise InvalidField(*self.found, *([FieldError("rows", f"and {more} more")] if more else []))


async def read_rows(raw: bytes) -> list[ImportRow]:
    """The rows of a file. Raises InvalidField for a file that is not such a CSV, and for every invalid cell."""
    rows, errors = [], RowErrors()
    async for row in pace(_parse_rows(_decode(raw))):
        if row is None:
            continue
        rows.append(row)
        if len(rows) > MAX_ROWS:
            raise InvalidField(FieldError("rows", f"must be 1 to {MAX_ROWS}"))
        _check(row, errors)
    errors.refuse()
    if not rows:
        raise InvalidField(FieldError("rows", f"must be 1 to {MAX_ROWS}"))
    return rows


def _decode(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InvalidField(FieldError("body", f"is not UTF-8 in line {line}: save the file as UTF-8")) from None
    if "\x00" in text:
        raise InvalidField(
            FieldError("body", f"has a NUL character in line {text[: text.index(chr(0))].count(chr(10)) + 1}")
        )
    return text


def _parse_rows(text: str) -> Iterator[ImportRow | None]:
    """The rows, and None for each empty line, so that no step takes long."""
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
                message = f"has {len(cells)} fields, but the header has {len(header)} (line {reader.line_num})"
                raise InvalidField(FieldError(f"rows[{index}]", message))
            found = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
            yield ImportRow(index, reader.line_num, found.pop("record"), found)
            index += 1
    except csv.Error as error:
        raise InvalidField(FieldError("body", f"is not CSV in line {reader.line_num}: {error}")) from None


def _lines(text: str) -> Iterator[str]:
    for number, line in enumerate(io.StringIO(text, newline=""), 1):
        if len(line) > MAX_CHARACTERS_PER_LINE:
            message = f"has more than {MAX_CHARACTERS_PER_LINE} characters in line {number}"
            raise InvalidField(FieldError("body", message))
        yield line


def _check_header(header: list[str]) -> None:
    if len(header) == 1 and ";" in header[0]:
        raise InvalidField(FieldError("header", "separates its fields by semicolons: separate them by commas"))
    if "record" not in header:
        raise InvalidField(FieldError("header", f"has no column record; the columns are {', '.join(COLUMNS)}"))
    for place, name in enumerate(header):
        if name not in COLUMNS and not _ATTRIBUTE_COLUMN.fullmatch(name):
            known = f"{', '.join(COLUMNS)} and attr:NAME for an attribute"
            raise InvalidField(FieldError("header", f"has an unknown column {name[:40]!r}; the columns are {known}"))
        if name in header[:place]:
            raise InvalidField(FieldError("header", f"has the column {name} twice"))


def _check(row: ImportRow, errors: RowErrors) -> None:
    if row.record not in ALLOWED:
        errors.at(row, "record", f"must be {', '.join(ALLOWED)}")
        return
    for column, cell in row.cells.items():
        if is_formula(cell) and not (column.startswith(ATTRIBUTE) and _NUMBER.fullmatch(cell)):
            errors.at(row, column, "begins like a formula, which a spreadsheet would run")
        elif cell and not _is_allowed(column, row.record):
            errors.at(row, column, f"is not allowed for a {row.record}")
    for column in REQUIRED[row.record]:
        if not row[column]:
            errors.at(row, column, f"is required for a {row.record}")
    _check_record(row, errors)


def _is_allowed(column: str, record: str) -> bool:
    return column in ALLOWED[record] or (column.startswith(ATTRIBUTE) and record in WITH_ATTRIBUTES)


def _check_record(row: ImportRow, errors: RowErrors) -> None:
    if row.record == "person":
        if bool(row["issuer"]) != bool(row["subject"]):
            errors.at(row, "subject" if row["issuer"] else "issuer", "is required: issuer and subject go together")
        links = (row.link,) if row.link and row["subject"] else ()
        names = {"display_name": "name", "links[0].issuer": "issuer", "links[0].subject": "subject"}
        check_columns(row, errors, names, lambda: check_person(row["name"] or None, row["email"] or None, links))
    elif row.record == "team" and row["team"]:
        check_columns(row, errors, {"name": "team"}, lambda: check_team(row["team"]))
    elif row.record == "project" and row["project"]:
        if row["billable"] and row["billable"].lower() not in _BOOLS:
            errors.at(row, "billable", "must be true or false")
        check_columns(row, errors, {"code": "project"}, lambda: check_project(row.read_project()))
    elif row.record == "group" and row["group"]:
        check_columns(row, errors, {"name": "group"}, lambda: check_group(row["group"]))
    elif row.record in GRANTS and _check_times(row, errors):
        check_columns(row, errors, {}, lambda: check_grant(row.validity))


def _check_times(row: ImportRow, errors: RowErrors) -> bool:
    """Add errors for times that cannot be parsed; return whether there are none."""
    before = errors.count
    for column in ("valid_from", "valid_to"):
        try:
            valid = not row[column] or ("T" in row[column] and datetime.fromisoformat(row[column]).tzinfo is not None)
        except ValueError:
            valid = False
        if not valid:
            errors.at(row, column, "must be an RFC 3339 time with an offset, such as 2026-11-23T09:00:00Z")
    return errors.count == before


def check_columns(row: ImportRow, errors: RowErrors, names: dict[str, str], check: Callable[[], None]) -> None:
    """Run `check` and add its errors, with the names of the columns."""
    try:
        check()
    except InvalidField as error:
        for wrong in error.fields:
            errors.at(row, names.get(wrong.field, wrong.field), wrong.message)
