"""Rows written as JSON objects: the rows of a JSON body, or one a line (NDJSON). Pure but for the unfinished line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from service.errors import BadInput, InvalidField, MalformedRequest
from service.pacing import pace
from service.places import FieldError
from service.timesheets.upload_rows import Rows
from service.web.http.bodies import TOO_DEEP, read_body
from service.web.http.wrong_fields import decode_valid_members
from service.web.uploads.uploads_lines import Line, Lines
from service.web.uploads.uploads_shapes import MAX_ROWS_OF_JSON, UploadRow, parse_owner, row_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class _Upload(msgspec.Struct, forbid_unknown_fields=True):
    rows: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=MAX_ROWS_OF_JSON)]


async def rows_of_json(raw: bytes) -> Rows:
    """The rows of `{"rows": [...]}`; an invalid row becomes a fault. Raises MalformedRequest and InvalidField for any
    other body."""
    found = Rows()
    read: _Upload = read_body(raw, _Upload, distinct=False)
    try:
        json.loads(raw, object_pairs_hook=_check_single_list)
    except RecursionError:
        raise MalformedRequest(TOO_DEEP) from None
    async for row in pace(read.rows):
        put_row(found, bytes(row), name="The row")
    return found


def put_row(rows: Rows, raw: bytes, line: int = 0, *, name: str) -> None:
    """Add a JSON object to `rows`, with a fault for every invalid field. Raises InvalidField if there are too many
    rows."""
    explained = rows.keeps_next_faults
    try:
        row = row_of(read_body(raw, UploadRow, explained=explained), rows)
    except InvalidField as error:
        if not explained:
            rows.add_invalid([], {}, line)
            return
        wrong = [field if field.field != "body" else FieldError("", field.message) for field in error.fields]
        known = decode_valid_members(raw, UploadRow)
        rows.add_invalid(*_parse_owner(wrong, known, rows), line)
    except BadInput as error:
        rows.add_invalid([FieldError("", error.public.replace("The body", name))], {}, line)
    else:
        rows.add(row, line)


class NdjsonReader:
    """Adds each line that it is fed to `rows`. A line that is no row becomes a fault."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._lines = Lines()

    def feed(self, chunk: bytes) -> Iterator[None]:
        """Read the next bytes; each step is a line. Raises InvalidField if the rest of the file cannot be read."""
        return self._add(self._lines.feed(chunk))

    def end(self) -> Iterator[None]:
        """Read the last line, as `feed`."""
        return self._add(self._lines.end())

    def _add(self, lines: Iterable[Line]) -> Iterator[None]:
        for number, text in lines:
            yield
            if text.strip():
                put_row(self._rows, text, number, name="The line")


def _parse_owner(
    wrong: Sequence[FieldError], known: dict[str, Any], rows: Rows
) -> tuple[list[FieldError], dict[str, Any]]:
    """Parse the owner, which is still as the caller gave it; a failure becomes one more error."""
    found = list(wrong)
    if "owner" in known:
        try:
            known["owner"] = parse_owner(known["owner"], rows)
        except InvalidField as error:
            del known["owner"]
            found += [field for field in error.fields if field not in found]
    return found, known


def _check_single_list(pairs: list[tuple[str, Any]]) -> None:
    if [name for name, _ in pairs].count("rows") > 1:
        raise InvalidField(FieldError("rows", "appears twice in one object"))
