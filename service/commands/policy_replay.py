"""`timewarden policy replay` and `replays`: what a version would have decided on recorded requests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import rich_click as click

from service.commands.api_client import connect
from service.commands.groups import as_json as for_machines
from service.commands.groups import as_person
from service.commands.replay_report import DIFFERENCES, REPLAYS, Moment, attach_to, show, start_and_follow
from service.commands.tables import ID_CHARACTERS, print_rows, when
from service.commands.version_numbers import VersionNumber, resolve_version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


@click.command()
@click.argument("version", type=VersionNumber(), required=False)
@click.option(
    "--since", type=Moment(), help="Start of the period: 30d, 12h or an RFC 3339 time; default: the whole log."
)
@click.option("--until", type=Moment(), help="End of the period; default: now.")
@click.option("--action", help="Only requests for this action.")
@click.option("--kind", help="Only requests for this kind of resource.")
@click.option("--attach", type=click.UUID, help="Wait for a replay that was started before; see `policy replays`.")
@click.option(
    "--fail-on",
    type=click.Choice(DIFFERENCES),
    multiple=True,
    help="Exit with 1 if any record has this result; may be repeated.",
)
@for_machines
@as_person
def replay(
    *,
    version: int | str | None,
    attach: str | None,
    fail_on: Sequence[str],
    as_json: bool,
    person: str | None,
    **filters: str | None,
) -> None:
    """Evaluate recorded requests under VERSION, a number or `latest`, and show what it would change. Ctrl-C cancels
    the replay, unless --attach was given."""
    if (version is None) == (attach is None):
        raise click.UsageError("Give a VERSION, or --attach a replay")
    if attach is not None and any(filters.values()):
        raise click.UsageError("--attach takes no filters: the replay has its own")
    api = connect(person)
    if attach is not None:
        job = attach_to(api, attach, quiet=as_json)
    else:
        job = start_and_follow(api, {"version": resolve_version(api, version), **filters}, quiet=as_json)
    if as_json:
        print(json.dumps(job, indent=2))
    else:
        show(job)
    if any(job["result"][name] for name in fail_on):
        raise SystemExit(1)


@click.command()
@for_machines
@as_person
def replays(*, as_json: bool, person: str | None) -> None:
    """List the replays of the last 30 days, newest first."""
    found = connect(person).call("GET", REPLAYS, query={"limit": "200"})["items"]
    if as_json:
        print(json.dumps(found, indent=2))
        return
    heads = ("replay", "version", "state", "progress", "asked at", "ended at", "of", "problem")
    print_rows(heads, map(_cells, found), ids={"replay": ID_CHARACTERS})


def _cells(job: dict[str, Any]) -> tuple[str, ...]:
    times = when(job["asked_at"]), when(job["ended_at"])
    progress = f"{100 * job['progress']:.0f} %"
    about = job["id"], str(job["version"] or "as decided"), job["state"], progress, *times
    return *about, _filters(job["filters"]), job["problem"] or ""


def _filters(given: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in given.items() if value) or "everything"
