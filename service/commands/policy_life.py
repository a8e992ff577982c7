"""`timewarden policy rollback` and `policy status`: go back to the previous version; show what replicas use."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import rich_click as click
from rich.console import Console

from service.commands.api_client import active_number, connect
from service.commands.groups import as_json, as_person, directory
from service.commands.policy_files import compare_files
from service.commands.tables import plain, table, when

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from rich.table import Table


@click.command()
@click.option(
    "--expected", type=click.IntRange(min=1), help="The version that must be active now; default: the one that is."
)
@as_json
@as_person
def rollback(expected: int | None, *, as_json: bool, person: str | None) -> None:
    """Activate the version that decided before the active one. A second rollback goes back one more."""
    api = connect(person)
    if expected is None:
        expected = active_number(api)
    version = api.call(
        "POST", "/v1/policies/rollback", {"expected_active": expected}, long="the version is checked again"
    )
    if as_json:
        print(json.dumps(version, indent=2))
        return
    print(f"Version {version['number']} decides again; before it was {expected}.")


@click.command()
@directory
@as_json
@as_person
def status(directory: Path, *, as_json: bool, person: str | None) -> None:
    """Show the active version, the version of each replica, and whether the policy files differ from it."""
    api = connect(person)
    active = api.call("GET", "/v1/policies/active")
    replicas = api.call("GET", "/v1/policies/replicas")["items"]
    files = compare_files(directory, active["digest"])
    if as_json:
        about = {name: active[name] for name in ("number", "digest", "message", "activated_at", "activated_by")}
        print(json.dumps({"active": about, "files": files, "replicas": replicas}, indent=2))
        return
    since = when(active["activated_at"])
    print(f"Version {active['number']} decides, since {since}: {plain(active['message'])}")
    print(f"{directory}/ {_SAID[files]}")
    Console().print(_table(replicas))


_SAID = {
    "same": "has the same files.",
    "different": "differs from it; `timewarden policy propose` proposes the files.",
    "unreadable": "cannot be read as a policy; `timewarden policy test` says why.",
    "absent": "is no directory, so nothing was compared.",
}


def _table(replicas: list[dict[str, Any]]) -> Table:
    shown = table("replica", "decides by", "started", "last seen")
    for replica in replicas:
        version = str(replica["policy_version"] or "starting") if replica["alive"] else "gone"
        shown.add_row(replica["id"], version, when(replica["started_at"]), when(replica["seen_at"]))
    return shown
