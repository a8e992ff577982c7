"""Numbers of policy versions on the command line, where `latest` stands for the newest. Owns no state.

Another author may propose a version at any time, and a proposal of the caller may have been refused. So `activate
latest` names the author, and asks for confirmation if the newest version is not the caller's own, or not the files.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import httpx2
import rich_click as click

from service.commands.policy_files import files_differ
from service.commands.tables import plain, when
from service.errors import NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from service.commands.api_client import ApiClient

LATEST: Final = "latest"
NOT_FOUND: Final = f'"urn:timewarden:problem:{NotFound.slug}"'


class VersionNumber(click.ParamType[int | str]):
    """A number from 1, or `latest`."""

    name = "version"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == LATEST:
            return LATEST
        try:
            return int(click.IntRange(min=1).convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"'{value}' is no version: give its number, or {LATEST}", param, ctx)


def resolve_version(api: ApiClient, given: int | str | None) -> int | None:
    """The number of a version; `latest` is looked up."""
    return int(newest_version(api)["number"]) if given == LATEST else None if given is None else int(given)


def newest_version(api: ApiClient) -> dict[str, Any]:
    """The newest version that the caller may read."""
    versions: list[dict[str, Any]] = api.call("GET", "/v1/policies/versions", query={"limit": "1"})["items"]
    if not versions:
        raise click.ClickException("There is no policy version that you may read")
    return versions[0]


def choose_latest_proposal(api: ApiClient, active: int, directory: Path, *, yes: bool) -> int:
    """Choose the newest version for activation in place of `active`; print its author and message on standard error.

    It must be a proposal, so that no retired version is activated by accident. Without `yes`, a version of another
    author, a version that differs from the policy files, or one proposed under another active version, needs
    confirmation; without a terminal it is refused. Without a `directory`, nothing is compared. Raises ClickException.
    """
    version = newest_version(api)
    number, message = version["number"], plain(version["message"])
    if version["state"] != "proposed":
        left = "decides already" if version["active"] else "decided before and was left"
        raise click.ClickException(
            f"The newest version, {number}, {left} ({message}), and there is no newer proposal; to activate an older"
            " version, give its number"
        )
    own = _is_own(api, version)
    by = f"person {version['author']}" if version["author"] else f"the client {plain(version['author_client'])}"
    click.echo(
        f"Version {number}, proposed by {'you' if own else by} at {when(version['proposed_at'])}: {message}", err=True
    )
    doubts = [] if own else ["It is not your own proposal."]
    if files_differ(directory, version["digest"]):
        doubts.append(
            f"It differs from the files in {directory}/, so it may be an older proposal: `timewarden policy diff"
            f" --against {number}` shows the differences, `timewarden policy propose` proposes the files."
        )
    if version["parent"] != active:
        doubts.append(
            f"It was proposed while version {version['parent']} decided, and version {active} decides now:"
            f" `timewarden policy diff {number}` shows what it would change."
        )
    if doubts and not yes:
        for doubt in doubts:
            click.echo(doubt, err=True)
        if not sys.stdin.isatty():
            raise click.ClickException(
                f"Nothing was activated; use --yes, or give the number: policy activate {number}"
            )
        if not click.confirm(f"Let version {number} decide?", err=True):
            click.echo("Nothing was activated.", err=True)
            raise SystemExit(1)
    return int(number)


def call_about_versions(
    api: ApiClient,
    method: str,
    path: str,
    *numbers: int | str | None,
    query: dict[str, str] | None = None,
    body: object = None,
    long: str = "",
) -> Any:
    """As `ApiClient.call`, for a request that names these versions. Raises ClickException also if one is missing."""
    answer = api.response(method, path, query=query, body=body, long=long)
    _check_version_found(api, answer, *numbers)
    return api.decode(answer)


def _check_version_found(api: ApiClient, answer: httpx2.Response, *numbers: int | str | None) -> None:
    """Raise ClickException, with the number, if the API has no such version for the caller. `numbers`: the versions
    that the request named, of which at least one is missing then.

    A 404 of another server, at a wrong address, has another type. A simulation answers 422, because the version is a
    field of its request.
    """
    named = [int(number) for number in numbers if number is not None]
    absent = answer.status_code == httpx2.codes.NOT_FOUND and NOT_FOUND in answer.text
    if not named or not (absent or _is_about_version(answer)):
        return
    newest = _newest_number(api)
    missing = [number for number in named if newest is not None and number > newest] or named
    known = "" if newest is None else f"the newest is {newest}, and "
    raise click.ClickException(
        f"There is no version {' or '.join(map(str, missing))} that you may read; {known}`timewarden policy list` shows"
        " the versions"
    )


def _is_about_version(answer: httpx2.Response) -> bool:
    """Whether a request was refused for the field `version` alone."""
    if answer.status_code != httpx2.codes.UNPROCESSABLE_CONTENT:
        return False
    try:
        return [field["field"] for field in answer.json()["fields"]] == ["version"]
    except (ValueError, KeyError, TypeError):
        return False


def _newest_number(api: ApiClient) -> int | None:
    """The number of the newest version; None if the caller may not list them."""
    try:
        return int(newest_version(api)["number"])
    except click.ClickException:
        return None


def _is_own(api: ApiClient, version: dict[str, Any]) -> bool:
    """Whether the caller proposed it: the same person through any client, or the same client for itself. A caller who
    may not read /v1/me counts as another author."""
    answer = api.response("GET", "/v1/me")
    if not answer.is_success:
        return False
    me = answer.json()
    if version["author"] is not None:
        return bool(version["author"] == me["person"])
    return me["person"] is None and version["author_client"] == me["client"]
