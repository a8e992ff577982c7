"""What a terminal is shown: tables for people, in which a cell that is too narrow goes on in its next line, so that an
id can always be copied whole; and texts that somebody else wrote, which say nothing to the terminal itself.

Pure: owns no state. What machines read is JSON.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from service.places import printable

if TYPE_CHECKING:
    from typing import Any

# Characters of one text. Nothing that the API stores is longer and still for a terminal.
LONGEST = 10_000


class PlainTable(Table):
    """A table whose cells stand as they are: no markup is read from a str, and no control character written. What
    should look different comes as a Text."""

    def add_row(self, *cells: Any, **look: Any) -> None:
        super().add_row(*(Text(printable(cell, LONGEST)) if isinstance(cell, str) else cell for cell in cells), **look)


def table(*heads: str, title: str | None = None) -> PlainTable:
    """An empty table with these heads."""
    return PlainTable(*(Column(head, overflow="fold") for head in heads), title=title, title_justify="left")


def plain(text: str) -> str:
    """A text of somebody else's on one line, for `print`."""
    return printable(text, LONGEST)


def quoted(text: str) -> str:
    """The same for a line with markup of our own."""
    return escape(plain(text))


def when(moment: str | None) -> str:
    """An RFC 3339 time to the second, in two parts that may stand under each other; empty for none. What is no time is
    told as it is: somebody may have altered a record."""
    try:
        return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M:%S}Z" if moment else ""
    except ValueError:
        return moment or ""
