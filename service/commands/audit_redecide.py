"""`timewarden audit redecide`: is every recorded verdict what its version really says?"""

from __future__ import annotations

import json
import sys

import rich_click as click

from service.commands.caller import caller
from service.commands.doors import as_person
from service.commands.replay_report import DIFFERENCES, Moment, followed, show


@click.command()
@click.option("--since", type=Moment(), help="From when on, such as 30d, 12h or an RFC 3339 time; default: all.")
@click.option("--until", type=Moment(), help="Until when; default: now.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@as_person
def redecide(since: str | None, until: str | None, *, as_json: bool, person: str | None) -> None:
    """Decide each record again under the version that decided it; exit code 1 when one comes out otherwise."""
    job = followed(caller(person), "/v1/audit/redecisions", {"since": since, "until": until}, quiet=as_json)
    if as_json:
        print(json.dumps(job, indent=2))
    else:
        show(job)
    result = job["result"]
    if any(result[name] for name in DIFFERENCES):
        sys.exit(1)
    if not as_json:
        print("Every verdict, reason and rule is reproduced.")
