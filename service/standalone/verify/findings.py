"""What a check may say: verdicts, a Fault that names what does not hold, and the Report that collects them."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Any

INTACT, TAMPERED, INCOMPLETE, UNTRUSTED, USAGE = range(5)
WORDS = ("intact", "tampered", "incomplete", "untrusted", "usage")
# What Python raises when a value is not of the shape that a format promises.
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)

MAX_FINDINGS = 100
SECONDS_BETWEEN_SIGNS = 2.0


class Fault(Exception):
    """Something does not hold, or cannot be shown. `where` names the place: position, uid."""

    def __init__(self, what: str, verdict: int = TAMPERED, **where: object) -> None:
        super().__init__(what)
        self.verdict = verdict
        self.where = where


def need(holds: object, what: str, verdict: int = TAMPERED) -> None:
    """Raise a Fault unless it `holds`."""
    if not holds:
        raise Fault(what, verdict)


class Report:
    """The verdict so far, the findings behind it, and counts of what was looked at."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.verdict = INTACT
        self.findings: list[dict[str, Any]] = []
        self.unsaid = 0
        # Worth reading, and nothing wrong.
        self.notes: list[str] = []
        self.checked: dict[str, Any] = {}
        # What an intact verdict claims, and what it does not, each in words.
        self.shown: list[str] = []
        self.unshown: list[str] = []
        self._quiet = quiet
        self._signed = time.monotonic()

    def find(self, fault: Exception, **where: object) -> None:
        """Keep a finding. Tampered outweighs incomplete; of many findings the first hundred are kept, all counted."""
        verdict, what = TAMPERED, f"malformed: {type(fault).__name__}: {fault}"
        if isinstance(fault, Fault):
            verdict, what, where = fault.verdict, str(fault), {**where, **fault.where}
        self.verdict = min(self.verdict, verdict) if self.verdict else verdict
        if len(self.findings) == MAX_FINDINGS:
            self.unsaid += 1
        else:
            named = {name: value for name, value in where.items() if value is not None}
            self.findings.append({"verdict": WORDS[verdict], **named, "what": what})

    def note(self, what: str) -> None:
        """Keep what a reader should know and no verdict depends on; a hundred at most."""
        if len(self.notes) < MAX_FINDINGS:
            self.notes.append(what)

    def count(self, name: str, number: int = 1) -> None:
        self.checked[name] = self.checked.get(name, 0) + number

    def progress(self, done: int, total: int, what: str) -> None:
        """A sign of life on standard error every two seconds."""
        if time.monotonic() - self._signed > SECONDS_BETWEEN_SIGNS:
            self.sign(f"{done:,} of {total:,} {what}")

    def sign(self, what: str) -> None:
        """Say on standard error what goes on, unless only a machine reads."""
        self._signed = time.monotonic()
        if not self._quiet:
            with suppress(OSError):
                print(what, file=sys.stderr, flush=True)
