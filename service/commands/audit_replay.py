"""`timewarden audit replay`: checks that every recorded verdict is what its version says."""

from __future__ import annotations

import json
import sys

import rich_click as click

from service.commands.api_client import connect
from service.commands.groups import as_person
from service.commands.replay_report import DIFFERENCES, Moment, show, start_and_follow


@click.command()
@click.option(
    "--since", type=Moment(), help="Start of the period: 30d, 12h or an RFC 3339 time; default: the whole log."
)
@click.option("--until", type=Moment(), help="End of the period; default: now.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@as_person
def replay(since: str | None, until: str | None, *, as_json: bool, person: str | None) -> None:
    """Evaluate each recorded request again under the version that decided it; exit code 1 if a verdict differs."""
    job = start_and_follow(connect(person), {"since": since, "until": until}, quiet=as_json)
    if as_json:
        print(json.dumps(job, indent=2))
    else:
        show(job)
    result = job["result"]
    if any(result[name] for name in DIFFERENCES):
        sys.exit(1)
    if not as_json:
        print("Every verdict, reason and rule is reproduced.")
