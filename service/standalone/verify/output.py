"""Prints the report for people or as JSON. A closed pipe or a terminal that lacks a character does not change the exit
code. Owns no state."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from .findings import INTACT, WORDS

if TYPE_CHECKING:
    from .findings import Report
    from .notes import Checkpoint

# The usual exit code of a program that was interrupted.
INTERRUPTED = 130


def print_report(report: Report, checkpoint: Checkpoint | None, *, as_json: bool) -> None:
    """Print the report. Never raises."""
    try:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")
        for line in [_format_json(report, checkpoint)] if as_json else _format_lines(report, checkpoint):
            print(line)
    except OSError:
        pass
    flush_output()


def flush_output() -> None:
    """Write the rest of standard output, or drop it if the reader is gone: Python would try again at exit and fail with
    its own exit code."""
    try:
        sys.stdout.flush()
    except AttributeError:
        # None: its descriptor was closed when the process began.
        pass
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def escape_unprintable(text: str) -> str:
    """The text without control characters: it may quote an altered log, and a terminal would interpret them."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _format_json(report: Report, checkpoint: Checkpoint | None) -> str:
    document: dict[str, Any] = {
        "verdict": WORDS[report.verdict],
        "findings": report.findings,
        "omitted": report.omitted,
        "notes": report.notes,
        "checked": report.checked,
        "shown": _list_shown(report),
        "not_shown": report.unshown,
        "checkpoint": None,
    }
    if checkpoint:
        document["checkpoint"] = {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()}
    return json.dumps(document, indent=2)


def _format_lines(report: Report, checkpoint: Checkpoint | None) -> list[str]:
    lines = [WORDS[report.verdict]]
    for finding in report.findings:
        place = " ".join(f"{name} {finding[name]}" for name in ("position", "uid") if name in finding)
        lines.append(f"  {finding['verdict']}: {place}{': ' if place else ''}{finding['what']}")
    lines += [f"  and {report.omitted:,} more"] if report.omitted else []
    lines += [f"  note: {note}" for note in report.notes]
    lines += [
        f"  {name}: {f'{value:,}' if isinstance(value, int) else value}" for name, value in report.checked.items()
    ]
    if checkpoint:
        lines.append(f"  checkpoint: {checkpoint.origin}, size {checkpoint.size:,}, root {checkpoint.root.hex()}")
    lines += [f"  shown: {sentence}" for sentence in _list_shown(report)]
    lines += [f"  not shown: {sentence}" for sentence in report.unshown]
    return [escape_unprintable(line) for line in lines]


def _list_shown(report: Report) -> list[str]:
    """The sentences that the check shows; none unless the verdict is intact."""
    return report.shown if report.verdict == INTACT else []
