"""Tables for people: a cell that is too narrow goes on in its next line, so that an id can always be copied whole.

Pure: owns no state. What machines read is JSON.
"""

from __future__ import annotations

from datetime import datetime

from rich.table import Column, Table


def table(*heads: str, title: str | None = None) -> Table:
    """An empty table with these heads."""
    return Table(*(Column(head, overflow="fold") for head in heads), title=title, title_justify="left")


def when(moment: str | None) -> str:
    """An RFC 3339 time to the second, in two parts that may stand under each other; empty for none. What is no time is
    told as it is: somebody may have altered a record."""
    try:
        return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M:%S}Z" if moment else ""
    except ValueError:
        return moment or ""
