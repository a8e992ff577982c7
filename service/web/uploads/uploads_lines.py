"""The bytes of an uploaded file as they arrive, cut into lines. Owns the unfinished line, which is bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from service.errors import InvalidField
from service.places import FieldError
from service.timesheets.upload_rows import MAX_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_LINE: Final = 16_384
# Empty lines are skipped, and would otherwise cost time without end.
MAX_LINES_PER_FILE: Final = 2 * MAX_ROWS
_BOM: Final = b"\xef\xbb\xbf"
_OTHER_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")


class Line(NamedTuple):
    """A line without its end, and its number from 1."""

    number: int
    text: bytes


def fault_of_file(name: str, message: str) -> InvalidField:
    """The error for a file that cannot be read any further."""
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
        if len(self._rest) > LONGEST_LINE:
            self._line(self._rest)

    def end(self) -> Iterator[Line]:
        """The last line, if nothing ended it."""
        if self._rest:
            yield self._line(self._rest)
        self._rest = b""

    def _line(self, text: bytes) -> Line:
        self._number += 1
        if self._number > MAX_LINES_PER_FILE:
            raise fault_of_file("rows", f"stand in more than {MAX_LINES_PER_FILE} lines; send them as several files")
        if self._number == 1:
            if text.startswith(_OTHER_BOMS):
                raise fault_of_file("line 1", "is UTF-16; save the file as UTF-8")
            text = text.removeprefix(_BOM)
            if b"\x00" in text:
                raise fault_of_file(
                    "line 1", "holds NUL bytes, as in UTF-16 or a workbook; save the file as text in UTF-8"
                )
        if len(text) > LONGEST_LINE:
            raise fault_of_file(f"line {self._number}", f"is longer than {LONGEST_LINE} bytes")
        return Line(self._number, text.removesuffix(b"\r"))
