"""Output for a terminal. Tables fold long cells, so that an id can be copied whole. Texts of other people are printed
without control characters and without markup.

Pure: owns no state. Machines read JSON.
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

# The longest text that is printed; the API stores none that is longer and meant for a terminal.
MAX_CHARACTERS = 10_000


class PlainTable(Table):
    """A table that prints a str without markup and control characters. A styled cell is a Text."""

    def add_row(self, *cells: Any, **look: Any) -> None:
        super().add_row(
            *(Text(printable(cell, MAX_CHARACTERS)) if isinstance(cell, str) else cell for cell in cells), **look
        )


def table(*heads: str, title: str | None = None) -> PlainTable:
    """An empty table with these heads."""
    return PlainTable(*(Column(head, overflow="fold") for head in heads), title=title, title_justify="left")


def plain(text: str) -> str:
    """The text on one line, without control characters, for `print`."""
    return printable(text, MAX_CHARACTERS)


def escape_markup(text: str) -> str:
    """As `plain`, for a line that holds markup."""
    return escape(plain(text))


def when(moment: str | None) -> str:
    """An RFC 3339 time to the second, in two parts that may stand under each other; empty for none. A text
    that is no time is returned unchanged: a record may have been altered."""
    try:
        return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M:%S}Z" if moment else ""
    except ValueError:
        return moment or ""
