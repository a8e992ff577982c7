"""`timewarden policy`: versions through the API. The first comes from files, as the database's owner."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx2
import rich_click as click
from rich.console import Console

from service.commands.api_client import active_number, connect
from service.commands.groups import LazyGroup, as_json, as_person, directory
from service.commands.policy_files import read_files
from service.commands.tables import plain, table, when
from service.commands.version_numbers import LATEST, VersionNumber, call_about_versions, choose_latest_proposal
from service.places import Complaint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from service.commands.api_client import ApiClient

# Subcommands that stand in modules of their own, loaded when they are called: command to module.
FURTHER = {
    "bootstrap": "policy_bootstrap",
    "test": "policy_trial",
    "diff": "policy_diff",
    "pull": "policy_diff",
    "replay": "policy_replay",
    "replays": "policy_replay",
    "simulate": "policy_simulate",
    "rollback": "policy_life",
    "status": "policy_life",
}


@click.group(cls=LazyGroup, modules=lambda: FURTHER)
def policy() -> None:
    """Read, test, propose and activate policy versions."""


@policy.command()
@click.option("-m", "--message", required=True, help="Why.")
@directory
@as_json
@as_person
def propose(message: str, directory: Path, *, as_json: bool, person: str | None) -> None:
    """Propose the files as a new version. It decides nothing until it is activated."""
    text = read_files(directory)
    body = {
        "message": message,
        "model": text.model,
        "rules": text.rules,
        "vocabulary": text.vocabulary,
        "cases": dict(text.cases),
    }
    api = connect(person)
    answer = api.response("POST", "/v1/policies/versions", body=body, long="the policy is checked")
    version = api.decode(answer)
    if as_json:
        print(json.dumps(version, indent=2))
        return
    for what, complaints in (("untried", version["untried"]), ("warning", version["warnings"])):
        for complaint in complaints:
            print(plain(f"{what}: {directory}/{Complaint(**complaint)}"))
    number = version["number"]
    known = "Proposed" if answer.status_code == httpx2.codes.CREATED else "These files are already proposed"
    print(f"{known} as version {number}; `timewarden policy activate {number}` makes it decide.")


@policy.command()
@click.argument("number", type=VersionNumber())
@click.option(
    "--expected", type=click.IntRange(min=1), help="The version that must be active now; default: the one that is."
)
@click.option("--yes", is_flag=True, help="With latest: activate without asking, even another author's version.")
@directory
@as_json
@as_person
def activate(
    number: int | str, expected: int | None, directory: Path, *, yes: bool, as_json: bool, person: str | None
) -> None:
    """Activate version NUMBER, which may be an older one. `latest` is the newest proposal; if it differs from the
    policy files, the command asks first."""
    api = connect(person)
    if expected is None:
        expected = active_number(api)
    if number == LATEST:
        number = choose_latest_proposal(api, expected, directory, yes=yes)
    path = f"/v1/policies/versions/{number}/activate"
    body = {"expected_active": expected}
    version = call_about_versions(api, "POST", path, number, body=body, long="the version is checked again")
    if as_json:
        print(json.dumps(version, indent=2))
        return
    print(f"Version {version['number']} decides now; before it was {expected}.")


@policy.command(name="list")
@click.option("--all", "everything", is_flag=True, help="List every version instead of the newest 200.")
@as_json
@as_person
def list_versions(*, everything: bool, as_json: bool, person: str | None) -> None:
    """Show the versions, newest first."""
    versions = list(_versions(connect(person), everything=everything))
    if as_json:
        print(json.dumps(versions, indent=2))
        return
    shown = table("version", "state", "parent", "proposed at", "activated at", "message")
    for version in versions:
        times = when(version["proposed_at"]), when(version["activated_at"])
        shown.add_row(
            str(version["number"]), version["state"], str(version["parent"] or ""), *times, version["message"]
        )
    Console().print(shown)


def _versions(api: ApiClient, *, everything: bool) -> Iterator[dict[str, Any]]:
    """The versions of the newest page, or of all pages one after the other."""
    more: dict[str, str] = {}
    while True:
        page = api.call("GET", "/v1/policies/versions", query={"limit": "200", **more})
        yield from page["items"]
        if not everything or page["next_cursor"] is None:
            return
        more = {"cursor": page["next_cursor"]}
