"""`timewarden doctor`: checks an installation, line by line, with the settings of the process that it is run for.

Owns no state and changes nothing. `doctor_checks` has the checks.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict

import rich_click as click
import structlog
from rich.console import Console
from rich.text import Text

from service.commands.doctor_checks import Finding, Grade, check_installation
from service.commands.groups import as_json
from service.commands.tables import table

STYLES = {Grade.GOOD: "green", Grade.WARNING: "yellow", Grade.BAD: "bold red"}


@click.command()
@as_json
def doctor(*, as_json: bool) -> None:
    """Check settings, database, policy, issuers, Redis, keys, anchor and proxies, and say what to do.

    Run it with the environment of `serve` or of `keep`. Exits with 0 if nothing is bad, with 1 if something is.
    """
    # Standard output is for findings alone.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))
    findings = asyncio.run(_collect())
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    sys.exit(1 if any(finding.grade is Grade.BAD for finding in findings) else 0)


async def _collect() -> list[Finding]:
    return [finding async for finding in check_installation()]


def _print(findings: list[Finding]) -> None:
    shown = table("", "part", "what was found", "what to do")
    for finding in findings:
        shown.add_row(Text(finding.grade, STYLES[finding.grade]), finding.part, finding.found, finding.remedy)
    console = Console()
    console.print(shown)
    counts = {grade: sum(finding.grade is grade for finding in findings) for grade in Grade}
    console.print(", ".join(f"{count} {grade}" for grade, count in counts.items()))
