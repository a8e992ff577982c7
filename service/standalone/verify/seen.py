"""What was seen before. Durable: --state FILE, replaced whole, and only by what was found intact.

It holds the last checkpoint, and marks: behind a mark's position nothing was decided before its moment. With them,
bodies that are pruned although they are young give themselves away.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from .ages import LONG, earlier, moment, written
from .findings import MALFORMED, UNTRUSTED, USAGE, Fault, need
from .notes import read_checkpoint
from .records import read_object

if TYPE_CHECKING:
    from pathlib import Path

    from .notes import Checkpoint, Keys

FORMAT = "timewarden-state/1"
MEMBERS = {"format", "checkpoint", "beyond"}
MAX_MARKS = 5_000
APART = timedelta(days=1)
# Commits overtake one another by less than this.
OVERTAKEN = timedelta(hours=1)


class Mark(NamedTuple):
    """Behind `position` nothing was decided before `moment`."""

    position: int
    moment: datetime


class State:
    """The file at `path`; None keeps nothing. Raises Fault (usage) for a file that is no state."""

    def __init__(self, path: Path | None, keys: Keys) -> None:
        self._path = path
        self.checkpoint: Checkpoint | None = None
        self.marks: list[Mark] = []
        if path is not None and path.exists():
            self._read(path, keys)

    def mark(self, position: int, newest: datetime) -> None:
        """Remember that the record before `position` was decided at `newest`, or now if its clock was ahead; a mark a
        day."""
        fresh = Mark(position, earlier(min(newest, datetime.now(UTC)), OVERTAKEN))
        if not any(mark.position <= position and mark.moment + APART > fresh.moment for mark in self.marks):
            kept = [mark for mark in self.marks if mark.position < position or mark.moment > fresh.moment]
            self.marks = sorted([*kept, fresh])[-MAX_MARKS:]

    def mark_now(self, size: int) -> None:
        """Remember that the log was no longer than this a moment ago. Who sees no record, but only that a log is
        signed, does not know for how long its keeper had stood still before."""
        self.mark(size, datetime.now(UTC) - LONG)

    def youngest(self, to: int) -> Mark | None:
        """The mark that says most of the positions below `to`."""
        return max((mark for mark in self.marks if mark.position < to), key=lambda one: one.moment, default=None)

    def keep(self, checkpoint: Checkpoint, *, grown: bool) -> None:
        """Replace the file; a crash leaves the old one or the new one. Without `grown` it was not shown that the log
        of this checkpoint extends the one that was seen, so it takes that one's place only when there is none."""
        if self._path is None:
            return
        seen = self.checkpoint
        if seen and (not grown or (checkpoint.origin == seen.origin and checkpoint.size <= seen.size)):
            checkpoint = seen
        beyond = [[mark.position, written(mark.moment)] for mark in self.marks]
        content = {"format": FORMAT, "checkpoint": checkpoint.note, "beyond": beyond}
        fresh = self._path.with_name(f"{self._path.name}.new")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)

    def _read(self, path: Path, keys: Keys) -> None:
        data = path.read_bytes()
        try:
            note = data.decode()
            if note.startswith("{"):
                held = read_object(data, MEMBERS)
                need(held["format"] == FORMAT, f"its format is not {FORMAT}")
                note = held["checkpoint"]
                self.marks = [Mark(_position(place), moment(time)) for place, time in held["beyond"]]
            # Earlier releases kept the checkpoint alone.
            self.checkpoint = read_checkpoint(note, keys)
        except (Fault, *MALFORMED) as error:
            if isinstance(error, Fault) and error.verdict == UNTRUSTED:
                what = f"the state file {path}: {error}: give the key that you trusted then as well"
                raise Fault(what, UNTRUSTED) from None
            raise Fault(f"the state file {path} is empty, damaged or no state: {error}", USAGE) from None


def _position(place: object) -> int:
    if type(place) is not int:
        raise ValueError(f"{place!r} is no position")
    return place
