"""The report, told to people or to machines. Whoever closes the pipe, or has a terminal without the letters that are
told, still gets the verdict as exit code. Owns no state."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from .findings import INTACT, WORDS

if TYPE_CHECKING:
    from .findings import Report
    from .notes import Checkpoint

# What a shell says of a program that an interrupt stopped.
INTERRUPTED = 130


def tell(report: Report, checkpoint: Checkpoint | None, *, as_json: bool) -> None:
    """Print it. Never raises."""
    try:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")
        for line in [_object(report, checkpoint)] if as_json else _lines(report, checkpoint):
            print(line)
        sys.stdout.flush()
    except OSError:
        # Nobody reads any more; Python would try to flush once more at its end, and fail with a code of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def harmless(text: str) -> str:
    """Without anything that a terminal would act on: what is told may quote who altered the log."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _object(report: Report, checkpoint: Checkpoint | None) -> str:
    said: dict[str, Any] = {
        "verdict": WORDS[report.verdict],
        "findings": report.findings,
        "unsaid": report.unsaid,
        "notes": report.notes,
        "checked": report.checked,
        "shown": _shown(report),
        "not_shown": report.unshown,
        "checkpoint": None,
    }
    if checkpoint:
        said["checkpoint"] = {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()}
    return json.dumps(said, indent=2)


def _lines(report: Report, checkpoint: Checkpoint | None) -> list[str]:
    lines = [WORDS[report.verdict]]
    for finding in report.findings:
        place = " ".join(f"{name} {finding[name]}" for name in ("position", "uid") if name in finding)
        lines.append(f"  {finding['verdict']}: {place}{': ' if place else ''}{finding['what']}")
    lines += [f"  and {report.unsaid:,} more"] if report.unsaid else []
    lines += [f"  note: {note}" for note in report.notes]
    lines += [
        f"  {name}: {f'{value:,}' if isinstance(value, int) else value}" for name, value in report.checked.items()
    ]
    if checkpoint:
        lines.append(f"  checkpoint: {checkpoint.origin}, size {checkpoint.size:,}, root {checkpoint.root.hex()}")
    lines += [f"  shown: {one}" for one in _shown(report)]
    lines += [f"  not shown: {one}" for one in report.unshown]
    return [harmless(line) for line in lines]


def _shown(report: Report) -> list[str]:
    """A check that found anything shows nothing else for certain."""
    return report.shown if report.verdict == INTACT else []
