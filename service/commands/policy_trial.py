"""`timewarden policy test`: check the policy files without a service. Owns no state."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import rich_click as click
from rich.console import Console
from rich.text import Text

from service.administration.checks.trial import Trial, trial
from service.commands.groups import as_json, directory
from service.commands.policy_files import read_files
from service.commands.tables import escape_markup, table
from service.errors import PolicyRejected

if TYPE_CHECKING:
    from pathlib import Path

    from service.places import Complaint


@click.command()
@directory
@as_json
def test(directory: Path, *, as_json: bool) -> None:
    """Read the policy files, check the laws and run the cases, without a service.

    Shows passes and failures by rule, and which rows and words no case exercises. Exits with 1 if the policy would be
    rejected.
    """
    try:
        found = trial(read_files(directory))
    except PolicyRejected as error:
        found = Trial(tuple(error.complaints))
    if as_json:
        print(json.dumps(document(found), indent=2))
    else:
        _show(found, directory)
    if not found.good:
        raise SystemExit(1)


def document(found: Trial) -> dict[str, object]:
    """The trial for machines."""
    return {
        "good": found.good,
        "passed": found.passed,
        "failed": found.failed,
        "rules": [asdict(tally) for tally in found.tallies],
        "complaints": [asdict(complaint) for complaint in found.complaints],
        "warnings": [asdict(warning) for warning in found.warnings],
        "untried": [asdict(warning) for warning in found.untried],
    }


def _show(found: Trial, directory: Path) -> None:
    # Without `emoji=False`, rich prints line 100 of a file, `:100:`, as an emoji.
    console = Console(soft_wrap=True, highlight=False, emoji=False)
    if found.tallies:
        shown = table("line", "rule", "passed", "failed")
        for tally in found.tallies:
            failed = Text(str(tally.failed), style="red") if tally.failed else "0"
            passed = str(tally.passed) if tally.passed or tally.failed else Text("untried", style="yellow")
            shown.add_row(str(tally.line or ""), tally.rule, passed, failed)
        console.print(shown)
        decided = sum(1 for tally in found.tallies if tally.line and tally.passed + tally.failed)
        rules = sum(1 for tally in found.tallies if tally.line)
        console.print(f"{found.passed} cases pass, {found.failed} fail; they name {decided} of {rules} rules.")
    for what, complaints in (("untried", found.untried), ("warning", found.warnings), ("error", found.complaints)):
        for complaint in complaints:
            console.print(escape_markup(f"{what}: {_path_of(complaint, directory)}"))
    if found.good:
        passes = "passes its cases" if found.passed else "has no cases"
        console.print(f"The policy is valid: it can be read, keeps the laws and {passes}.")
    else:
        console.print("The policy would be rejected.")


def _path_of(complaint: Complaint, directory: Path) -> str:
    """The complaint with the path of its file."""
    return f"{directory}/{complaint}"
