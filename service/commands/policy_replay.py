"""`timewarden policy replay`: what a version would have said to recorded requests, before it decides anything."""

from __future__ import annotations

import json

import rich_click as click

from service.commands.caller import caller
from service.commands.doors import as_json, as_person
from service.commands.replay_report import Moment, followed, show


@click.command()
@click.argument("version", type=click.IntRange(min=1))
@click.option("--since", type=Moment(), help="From when on, such as 30d, 12h or an RFC 3339 time; default: all.")
@click.option("--until", type=Moment(), help="Until when; default: now.")
@click.option("--action", help="Only requests for this action.")
@click.option("--kind", help="Only requests about this kind of thing.")
@as_json
@as_person
def replay(
    version: int,
    since: str | None,
    until: str | None,
    action: str | None,
    kind: str | None,
    *,
    as_json: bool,
    person: str | None,
) -> None:
    """Decide recorded requests again under VERSION, and show what it would change."""
    filters = {"since": since, "until": until, "action": action, "kind": kind}
    job = followed(caller(person), f"/v1/policies/versions/{version}/replay", filters, quiet=as_json)
    if as_json:
        print(json.dumps(job, indent=2))
    else:
        show(job)
