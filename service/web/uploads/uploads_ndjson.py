"""NDJSON: one JSON object a line. Pure but for the unfinished line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.web.uploads.uploads_json import put_row
from service.web.uploads.uploads_lines import Line, Lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from service.timesheets.upload_rows import Rows


class NdjsonReader:
    """Puts what it is fed into `rows`. A line that is no row is a fault of its own; the next may be good."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._lines = Lines()

    def feed(self, chunk: bytes) -> Iterator[None]:
        """Read the next bytes; each step is a line. Raises InvalidField for what cannot be read any further."""
        return self._take(self._lines.feed(chunk))

    def end(self) -> Iterator[None]:
        """Read the last line, as `feed`."""
        return self._take(self._lines.end())

    def _take(self, lines: Iterable[Line]) -> Iterator[None]:
        for number, text in lines:
            yield
            if text.strip():
                put_row(self._rows, text, number, called="The line")
