"""Output for a terminal. Tables fold long cells, but not the ids that another command takes. Texts of other people are
printed without control characters and without markup.

Pure: owns no state. Machines read JSON.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from service.places import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

# The longest text that is printed; the API stores none that is longer and meant for a terminal.
MAX_CHARACTERS = 10_000
# Columns that a table with ids needs, and those that it may take through a pipe.
WIDE, WIDEST = 200, 400
ID_CHARACTERS = 36


class PlainTable(Table):
    """A table that prints a str without markup and control characters. A styled cell is a Text."""

    def add_row(self, *cells: Any, **look: Any) -> None:
        super().add_row(
            *(Text(printable(cell, MAX_CHARACTERS)) if isinstance(cell, str) else cell for cell in cells), **look
        )


def table(*heads: str, title: str | None = None, ids: Mapping[str, int] | None = None) -> PlainTable:
    """An empty table with these heads. Columns of ids have a width, which they keep when others are folded."""
    columns = (Column(head, overflow="fold", width=(ids or {}).get(head)) for head in heads)
    return PlainTable(*columns, title=title, title_justify="left")


def print_rows(heads: Sequence[str], rows: Iterable[Sequence[str]], ids: Mapping[str, int]) -> None:
    """Print a table whose columns of ids have these widths. A terminal that is too narrow gets each cell on its own
    line, and an empty line between rows."""
    console = Console(emoji=False)
    if console.is_terminal and console.width < WIDE:
        for row in rows:
            for head, cell in zip(heads, row, strict=True):
                for line in cell.splitlines():
                    console.print(f"{head:>22}  {plain(line)}", markup=False, highlight=False, soft_wrap=True)
            console.print()
        return
    shown = table(*heads, ids=ids)
    for row in rows:
        shown.add_row(*(Text("\n".join(map(plain, cell.splitlines()))) for cell in row))
    (console if console.is_terminal else Console(width=WIDEST)).print(shown)


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
