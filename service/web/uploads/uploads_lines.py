"""Cuts the bytes of an uploaded file into lines as they arrive. Owns the unfinished line, which is bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from service.errors import InvalidField
from service.places import FieldError
from service.timesheets.upload_rows import MAX_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE_BYTES: Final = 16_384
# Empty lines are skipped, and must not cost unbounded time.
MAX_LINES_PER_FILE: Final = 2 * MAX_ROWS
_BOM: Final = b"\xef\xbb\xbf"
_OTHER_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")


class Line(NamedTuple):
    """A line without its end, and its number from 1."""

    number: int
    text: bytes


def file_error(name: str, message: str) -> InvalidField:
    """The error for a file whose rest cannot be read."""
    return InvalidField(FieldError(name, message))


class Lines:
    """Lines end with LF or CR LF; a byte order mark at the start is skipped."""

    def __init__(self) -> None:
        self._rest = b""
        self._number = 0

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """The lines that this chunk completes. Raises InvalidField for a line that is too long."""
        *ended, self._rest = (self._rest + chunk).split(b"\n")
        for text in ended:
            yield self._line(text)
        if len(self._rest) > MAX_LINE_BYTES:
            self._line(self._rest)

    def end(self) -> Iterator[Line]:
        """The last line, if it has no line end."""
        if self._rest:
            yield self._line(self._rest)
        self._rest = b""

    def _line(self, text: bytes) -> Line:
        self._number += 1
        if self._number > MAX_LINES_PER_FILE:
            raise file_error("rows", f"have more than {MAX_LINES_PER_FILE} lines; split the file")
        if self._number == 1:
            if text.startswith(_OTHER_BOMS):
                raise file_error("line 1", "is UTF-16; save the file as UTF-8")
            text = text.removeprefix(_BOM)
            if b"\x00" in text:
                raise file_error("line 1", "has NUL bytes, as in UTF-16 or a workbook; save the file as text in UTF-8")
        if len(text) > MAX_LINE_BYTES:
            raise file_error(f"line {self._number}", f"is longer than {MAX_LINE_BYTES} bytes")
        return Line(self._number, text.removesuffix(b"\r"))
