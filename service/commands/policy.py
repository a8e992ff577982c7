"""`timewarden policy`: the first version from files, as the database's owner; everything after that through the API."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import rich_click as click
from rich.console import Console

from service import settings as configuration
from service.audit.log import Log
from service.authorization import policy_check
from service.authorization.policy_administration import bootstrap as make_first
from service.authorization.policy_file import PolicyText
from service.commands.caller import caller
from service.commands.doors import Door, as_person, directory
from service.commands.tables import table, when
from service.database import Database
from service.errors import Conflict

if TYPE_CHECKING:
    from pathlib import Path

# Subcommands that stand in modules of their own, loaded when they are called: command to module.
FURTHER = {
    "test": "policy_trial",
    "diff": "policy_diff",
    "replay": "policy_replay",
    "simulate": "policy_simulate",
    "rollback": "policy_life",
    "status": "policy_life",
}


@click.group(cls=Door, further=lambda: FURTHER)
def policy() -> None:
    """Read, try, propose and activate policy versions."""


@policy.command()
def bootstrap() -> None:
    """Make TIMEWARDEN_POLICIES_DIRECTORY version 1, as the database's owner. Does nothing when there is a version."""
    settings = configuration.load()
    settings.need("database_url")
    try:
        print(f"Version {asyncio.run(bootstrapped(settings.database_url, settings.policies_directory))} decides now.")
    except Conflict:
        print("There is a policy already; nothing was changed.")


async def bootstrapped(owner_url: str, files: Path) -> int:
    """Load the first version and make it active. Raises Conflict when there is one, PolicyRejected."""
    text = PolicyText.read(files)
    database = Database(owner_url, size=1, timeout=30, name="bootstrap")
    await database.open()
    try:
        async with database.transaction() as connection:
            version = await make_first(connection, Log(database), text, policy_check.admit, datetime.now(UTC))
    finally:
        await database.close()
    return version.number


@policy.command()
@click.option("-m", "--message", required=True, help="Why.")
@directory
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@as_person
def propose(message: str, directory: Path, *, as_json: bool, person: str | None) -> None:
    """Put the files forward as a new version. It decides nothing until it is activated."""
    text = PolicyText.read(directory)
    body = {
        "message": message,
        "model": text.model,
        "rules": text.rules,
        "vocabulary": text.vocabulary,
        "cases": dict(text.cases),
    }
    version = caller(person).call("POST", "/v1/policies/versions", body)
    if as_json:
        print(json.dumps(version, indent=2))
        return
    for one in version["warnings"]:
        print(f"warning: {directory}/{one['file']}:{one['line']}: {one['message']}")
    print(f"Proposed as version {version['number']}; `timewarden policy activate {version['number']}` makes it decide.")


@policy.command()
@click.argument("number", type=click.IntRange(min=1))
@click.option(
    "--expected", type=click.IntRange(min=1), help="The version that must be active now; default: the one that is."
)
@as_person
def activate(number: int, expected: int | None, person: str | None) -> None:
    """Let version NUMBER decide, from the next request on; it may be an older one."""
    api = caller(person)
    if expected is None:
        expected = int(api.call("GET", "/v1/me")["policy_version"])
    path = f"/v1/policies/versions/{number}/activate"
    version = api.call("POST", path, {"expected_active": expected})
    print(f"Version {version['number']} decides now; before it was {expected}.")


@policy.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@as_person
def list_versions(*, as_json: bool, person: str | None) -> None:
    """Show the versions, newest first."""
    versions = caller(person).call("GET", "/v1/policies/versions", query={"limit": "200"})["items"]
    if as_json:
        print(json.dumps(versions, indent=2))
        return
    shown = table("version", "state", "parent", "proposed at", "activated at", "message")
    for one in versions:
        times = when(one["proposed_at"]), when(one["activated_at"])
        shown.add_row(str(one["number"]), one["state"], str(one["parent"] or ""), *times, one["message"])
    Console().print(shown)
