"""Numbers of policy versions on the command line, where `latest` stands for the newest. Owns no state.

Another author may have proposed meanwhile, so whatever activates the newest says whose it is, and asks where that is
not the caller's own.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from service.commands.tables import plain, when

if TYPE_CHECKING:
    from service.commands.api_client import ApiClient

LATEST: Final = "latest"


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
    """The number that is meant."""
    return int(newest_version(api)["number"]) if given == LATEST else None if given is None else int(given)


def newest_version(api: ApiClient) -> dict[str, Any]:
    """The newest version that the caller may read."""
    versions: list[dict[str, Any]] = api.call("GET", "/v1/policies/versions", query={"limit": "1"})["items"]
    if not versions:
        raise click.ClickException("There is no policy version that you may read")
    return versions[0]


def choose_latest_proposal(api: ApiClient, active: int, *, yes: bool) -> int:
    """The newest version, to be activated in place of `active`: told on standard error with its author and message.

    It must wait, so that nothing that was left is turned on again by accident. Unless `yes` was said, a version of
    somebody else, or one that was proposed beside another active version, is asked about on a terminal and refused
    without one. Raises ClickException.
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


def _is_own(api: ApiClient, version: dict[str, Any]) -> bool:
    """Whether the caller proposed it: the same person, whatever app they used, or the same client for itself. Whom the
    policy does not tell who they are counts as somebody else."""
    answer = api.response("GET", "/v1/me")
    if not answer.is_success:
        return False
    me = answer.json()
    if version["author"] is not None:
        return bool(version["author"] == me["person"])
    return me["person"] is None and version["author_client"] == me["client"]
