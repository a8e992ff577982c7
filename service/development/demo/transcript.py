"""The transcript of the demo: steps with exchanges, as text of 80 columns or as JSON. Owns the steps so far.

A terminal gets colours; other outputs get the same text without them.
"""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH = 80
FIRST_ERROR_STATUS = 300


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request (its line, then If-Match and body if any) and the main parts of its answer. `who`: the person or
    client. `through`: the app."""

    who: str
    through: str
    request: Sequence[str]
    status: int
    etag: str
    lines: Sequence[str]
    decision: str | None


@dataclass(slots=True)
class Step:
    """One step of the story."""

    number: int
    title: str
    entries: list[object] = field(default_factory=list)


class Transcript:
    """Prints each step as it happens, or with `as_json` everything at the end."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.steps: list[Step] = []
        self._console = Console(highlight=False, soft_wrap=True)
        self._as_json = as_json
        self._speaker = ""

    def step(self, title: str) -> None:
        """Begin a step."""
        self.steps.append(Step(len(self.steps) + 1, title))
        self._speaker = ""
        self._line("")
        self._line(f"{len(self.steps):>2}. {title}", "bold", hanging=4)

    def say(self, sentence: str) -> None:
        """Print a sentence between exchanges."""
        self.steps[-1].entries.append({"sentence": sentence})
        self._line(sentence, indent=4)

    def exchange(self, exchange: Exchange) -> None:
        """Print a request and its answer."""
        self.steps[-1].entries.append(asdict(exchange))
        who = f"{exchange.who}, with {exchange.through}" if exchange.through != exchange.who else exchange.who
        if who != self._speaker:
            self._line(who, "cyan", indent=4)
            self._speaker = who
        self._line(f"> {exchange.request[0]}", indent=4)
        for line in exchange.request[1:]:
            self._line(line, "dim", indent=6)
        answer = [
            str(exchange.status),
            f"ETag {exchange.etag}" * bool(exchange.etag),
            f"decision {exchange.decision}" * bool(exchange.decision),
        ]
        self._line(
            f"< {', '.join(filter(None, answer))}",
            "green" if exchange.status < FIRST_ERROR_STATUS else "yellow",
            indent=4,
        )
        for sentence in exchange.lines:
            self._line(sentence, indent=6)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table."""
        self.steps[-1].entries.append({"table": [dict(zip(heads, row, strict=True)) for row in rows]})
        if self._as_json:
            return
        table = Table(*heads, box=None, pad_edge=False)
        for row in rows:
            table.add_row(*row)
        self._console.print(Padding(table, (0, 0, 0, 4)), soft_wrap=False, width=WIDTH)

    def end(self, seconds: float, failed: str | None = None) -> None:
        """End with success, or (only in JSON) with the failed step and its reason."""
        if self._as_json:
            steps = [asdict(step) for step in self.steps]
            print(json.dumps({"ok": failed is None, "failed": failed, "seconds": round(seconds, 1), "steps": steps}))
        elif failed is None:
            self._line("")
            self._line(f"All {len(self.steps)} steps succeeded in {seconds:.1f} s.", "bold green")

    def _line(self, text: str, style: str = "", indent: int = 0, hanging: int | None = None) -> None:
        if self._as_json:
            return
        space = " " * indent
        further = " " * (indent if hanging is None else hanging)
        lines = textwrap.wrap(text, WIDTH, initial_indent=space, subsequent_indent=further, break_on_hyphens=False) or [
            ""
        ]
        for line in lines:
            self._console.print(Text(line, style=style))
