"""`timewarden policy diff` and `pull`: what differs between versions or the policy files; a version as files."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.console import Console

from service.administration.checks.diff import compare_policies
from service.commands.api_client import active_number, connect
from service.commands.groups import as_json, as_person, directory
from service.commands.policy_files import read_files
from service.commands.tables import escape_markup
from service.commands.version_numbers import VersionNumber, call_about_versions, resolve_version
from service.policy.policy_file import PolicyText, parse

if TYPE_CHECKING:
    from pathlib import Path

    from service.commands.api_client import ApiClient

VERSIONS = "/v1/policies/versions"


@click.command()
@click.argument("version", type=VersionNumber(), required=False)
@click.argument("other", type=VersionNumber(), required=False)
@click.option("--against", type=VersionNumber(), help="The version to compare with; default: the one that decides.")
@directory
@as_json
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything differs.")
@as_person
def diff(
    version: int | str | None,
    other: int | str | None,
    against: int | str | None,
    directory: Path,
    *,
    as_json: bool,
    exit_code: bool,
    person: str | None,
) -> None:
    """Show which rows and verdicts differ between the active version and the policy files, or VERSION, a number or
    `latest`. With two versions, what differs from VERSION to OTHER."""
    if other is not None:
        if against is not None:
            raise click.UsageError("Give two versions, or one and --against")
        version, against = other, version
    api = connect(person)
    version, against = resolve_version(api, version), resolve_version(api, against)
    if version is None:
        found = _of_files(api, directory, against or active_number(api))
    else:
        query = {} if against is None else {"against": str(against)}
        path = f"{VERSIONS}/{version}/diff"
        found = call_about_versions(api, "GET", path, version, against, query=query, long="the versions are compared")
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _show(found)
    if exit_code and not found["same"]:
        raise SystemExit(1)


@click.command()
@click.argument("version", type=VersionNumber(), required=False)
@directory
@click.option("--force", is_flag=True, help="Replace files that differ.")
@as_person
def pull(version: int | str | None, directory: Path, *, force: bool, person: str | None) -> None:
    """Write the active version, or VERSION, a number or `latest`, as policy files."""
    api = connect(person)
    number = resolve_version(api, version) or active_number(api)
    text = _load(api, number)
    if (replaced := text.differing_files(directory)) and not force:
        raise click.ClickException(
            f"{directory}/ has other files than version {number}: {', '.join(replaced)}. Save them, for example by a"
            " commit, and use --force"
        )
    text.write(directory)
    print(f"Version {number} is in {directory}/.")


def _of_files(api: ApiClient, directory: Path, against: int) -> dict[str, Any]:
    """Compare the policy files with a stored version, in this process. Raises PolicyRejected for unreadable files."""
    after = parse(read_files(directory))
    found = json.loads(json.dumps(asdict(compare_policies(parse(_load(api, against)), after))))
    return {"number": None, "against": against, **found}


def _load(api: ApiClient, number: int) -> PolicyText:
    """The texts of a stored version."""
    stored = call_about_versions(api, "GET", f"{VERSIONS}/{number}", number)
    text = PolicyText(**{name: stored[name] for name in ("model", "rules", "vocabulary", "cases")})
    if text.digest() != stored["digest"]:
        raise click.ClickException(f"The texts of version {number} are not those of its digest: tell the operators")
    return text


def _show(found: dict[str, Any]) -> None:
    console = Console(soft_wrap=True, highlight=False, emoji=False)
    compared = f"version {found['number']}" if found["number"] else "the files"
    if found["same"]:
        console.print(f"Version {found['against']} and {compared} are the same.")
        return
    console.print(f"From version {found['against']} to {compared}:")
    for row in found["rows"]:
        line = f"{row['line']}: " if row["line"] else ""
        if row["before"] is not None:
            console.print(f"[red]  - {escape_markup(row['before'])}[/red]")
        if row["after"] is not None:
            console.print(f"[green]  + {line}{escape_markup(row['after'])}[/green]")
    for word in found["words"]:
        console.print(f"  words: {escape_markup(word)}")
    for case in found["cases"]:
        what = f"case {case['change']}: {case['name']}" if case["name"] else f"defaults of cases {case['change']}"
        console.print(f"  {escape_markup(what)} ({escape_markup(case['file'])}:{case['line']})")
    console.print(f"Files that differ: {escape_markup(', '.join(found['files']))}")
    if not found["verdicts"]:
        console.print("No verdict changes." if not found["cut_short"] else "No change of verdicts was found so far.")
    else:
        console.print("Verdicts that change:")
    for verdict in found["verdicts"]:
        console.print(f"  {escape_markup(verdict['sentence'])}")
    for action in found["cut_short"]:
        console.print(f"  Not compared to the end, there is too much, so more may change: {escape_markup(action)}")
