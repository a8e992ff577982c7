"""NDJSON: one JSON object a line. Pure but for the unfinished line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import BadInput, InvalidField
from service.places import FieldError
from service.web.bodies import read_body
from service.web.uploads_lines import Line, Lines
from service.web.uploads_shapes import UploadRow, row_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.timesheets.upload_rows import Rows


class NdjsonReader:
    """Puts what it is fed into `rows`. A line that is no row is a fault of its own; the next may be good."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._lines = Lines()

    def feed(self, chunk: bytes) -> None:
        """The next bytes. Raises InvalidField for what cannot be read any further."""
        self._take(self._lines.feed(chunk))

    def end(self) -> None:
        """There is no more."""
        self._take(self._lines.end())

    def _take(self, lines: Iterable[Line]) -> None:
        for number, text in lines:
            if not text.strip():
                continue
            try:
                row = row_of(read_body(text, UploadRow), "")
            except InvalidField as error:
                self._rows.add_wrong(
                    [one if one.field != "body" else FieldError("", one.message) for one in error.fields], number
                )
            except BadInput as error:
                self._rows.add_wrong([FieldError("", error.public.replace("The body", "The line"))], number)
            else:
                self._rows.add(row, number)
