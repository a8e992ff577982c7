"""The result of a check: verdicts, a Fault for each finding, and the Report that collects them."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Any, cast

INTACT, TAMPERED, INCOMPLETE, UNTRUSTED, USAGE = range(5)
WORDS = ("intact", "tampered", "incomplete", "untrusted", "usage")
# The errors that Python raises when a value does not have the expected format.
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)

MAX_FINDINGS = 100
SECONDS_BETWEEN_MESSAGES = 2.0


class Fault(Exception):
    """A finding: something is wrong, or cannot be shown. `where` says where: position, uid."""

    def __init__(self, what: str, verdict: int = TAMPERED, **where: object) -> None:
        super().__init__(what)
        self.verdict = verdict
        self.where = where


def require(holds: object, what: str, verdict: int = TAMPERED) -> None:
    """Raise a Fault unless `holds` is true."""
    if not holds:
        raise Fault(what, verdict)


def require_integer(value: object) -> int:
    """Return the value if it is an integer; raise a Fault otherwise."""
    require(type(value) is int, f"{value!r} is not an integer")
    return cast("int", value)


class Report:
    """The verdict so far, the findings, and counts of what was checked."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.verdict = INTACT
        self.findings: list[dict[str, Any]] = []
        self.omitted = 0
        # Notes for the reader, which do not change the verdict.
        self.notes: list[str] = []
        self.checked: dict[str, Any] = {}
        # Sentences: what an intact verdict shows, and what it does not show.
        self.shown: list[str] = []
        self.unshown: list[str] = []
        self._quiet = quiet
        self._last_said = time.monotonic()

    def add(self, fault: Exception, **where: object) -> None:
        """Add a finding. Tampered outweighs incomplete. The first hundred findings are kept, the others only
        counted."""
        verdict, what = TAMPERED, f"malformed: {type(fault).__name__}: {fault}"
        if isinstance(fault, Fault):
            verdict, what, where = fault.verdict, str(fault), {**where, **fault.where}
        self.verdict = min(self.verdict, verdict) if self.verdict else verdict
        if len(self.findings) == MAX_FINDINGS:
            self.omitted += 1
        else:
            named = {name: value for name, value in where.items() if value is not None}
            self.findings.append({"verdict": WORDS[verdict], **named, "what": what})

    def note(self, what: str) -> None:
        """Add a note for the reader, which does not change the verdict; at most a hundred are kept."""
        if len(self.notes) < MAX_FINDINGS:
            self.notes.append(what)

    def count(self, name: str, number: int = 1) -> None:
        self.checked[name] = self.checked.get(name, 0) + number

    def progress(self, done: int, total: int, what: str) -> None:
        """Print progress on standard error every two seconds."""
        if time.monotonic() - self._last_said > SECONDS_BETWEEN_MESSAGES:
            self.say(f"{done:,} of {total:,} {what}")

    def say(self, what: str) -> None:
        """Print a message on standard error, unless the output is for machines."""
        self._last_said = time.monotonic()
        if not self._quiet:
            with suppress(OSError):
                print(what, file=sys.stderr, flush=True)
