"""The state of earlier checks. Durable: --state FILE, replaced as a whole after an intact check.

It holds the last verified checkpoint, and marks: no record after a mark's position was decided before its time. Marks
reveal a pruning of records that were too young.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from .findings import MALFORMED, UNTRUSTED, USAGE, Fault, require
from .notes import read_checkpoint
from .records import read_object
from .times import LONG, format_time, parse_time, subtract

if TYPE_CHECKING:
    from pathlib import Path

    from .notes import Checkpoint, Keys

FORMAT = "timewarden-state/1"
MEMBERS = {"format", "checkpoint", "beyond"}
MAX_MARKS = 5_000
APART = timedelta(days=1)
# Records may be sealed out of order by less than this.
OVERTAKEN = timedelta(hours=1)


class Mark(NamedTuple):
    """No record from `position` on was decided before `moment`."""

    position: int
    moment: datetime


class State:
    """The file at `path`; without a path nothing is kept. Raises Fault (usage) for a file that is not a state file."""

    def __init__(self, path: Path | None, keys: Keys) -> None:
        self._path = path
        self.checkpoint: Checkpoint | None = None
        self.marks: list[Mark] = []
        if path is not None and path.exists():
            self._read(path, keys)

    def add_mark(self, position: int, passed: datetime) -> None:
        """Add a mark, at most one a day: before `position`, records were decided up to the time `passed` (or now, if
        that is in the future)."""
        fresh = Mark(position, subtract(min(passed, datetime.now(UTC)), OVERTAKEN))
        if not any(mark.position <= position and mark.moment + APART > fresh.moment for mark in self.marks):
            kept = [mark for mark in self.marks if mark.position < position or mark.moment > fresh.moment]
            self.marks = sorted([*kept, fresh])[-MAX_MARKS:]

    def add_mark_now(self, size: int) -> None:
        """Add a mark for a log of this size without having read a record. Records may have waited for a keeper that was
        stopped, so the mark's time is LONG ago."""
        self.add_mark(size, datetime.now(UTC) - LONG)

    def latest_mark_below(self, to: int) -> Mark | None:
        """The mark with the latest time among those below the position `to`."""
        return max((mark for mark in self.marks if mark.position < to), key=lambda mark: mark.moment, default=None)

    def save(self, checkpoint: Checkpoint, *, grown: bool) -> None:
        """Replace the file atomically. `grown` says that this checkpoint was shown to extend the stored one; otherwise
        it is stored only if there is none yet."""
        if self._path is None:
            return
        seen = self.checkpoint
        if seen and (not grown or (checkpoint.origin == seen.origin and checkpoint.size <= seen.size)):
            checkpoint = seen
        beyond = [[mark.position, format_time(mark.moment)] for mark in self.marks]
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
                require(held["format"] == FORMAT, f"its format is not {FORMAT}")
                note = held["checkpoint"]
                self.marks = [Mark(_position(place), parse_time(time)) for place, time in held["beyond"]]
            # Earlier releases stored only the checkpoint.
            self.checkpoint = read_checkpoint(note, keys)
        except (Fault, *MALFORMED) as error:
            if isinstance(error, Fault) and error.verdict == UNTRUSTED:
                what = f"the state file {path}: {error}: also give the key that you trusted then"
                raise Fault(what, UNTRUSTED) from None
            raise Fault(f"the state file {path} is empty, damaged or not a state file: {error}", USAGE) from None


def _position(place: object) -> int:
    if type(place) is not int:
        raise ValueError(f"{place!r} is not a position")
    return place
