"""`timewarden audit search` and `audit history`: log queries, printed as a table or as JSON lines."""

from __future__ import annotations

import json
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import rich_click as click

from service.commands.api_client import connect
from service.commands.audit_show import describe_change, format_value, read_member
from service.commands.groups import as_who
from service.commands.tables import ID_CHARACTERS, plain, print_rows, when

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from uuid import UUID

    from service.commands.api_client import ApiClient

    Command = Callable[..., None]

PAGE = 200
# The longest kind, such as access_request, and an id.
RESOURCE_CHARACTERS = 15 + ID_CHARACTERS
# The filters by option name, with their help.
FILTERS = {
    "person": "Who called: an id, an e-mail address, me, or a name.",
    "email": "A person's e-mail address.",
    "issuer": "With --subject: the exact issuer of a person's tokens.",
    "subject": "With --issuer: the subject of a person's tokens.",
    "client": "A client.",
    "actor": "A client that acted for the caller; '*' for any.",
    "action": "An action, such as approve.",
    "resource": "A resource's id; matches lists that returned it too.",
    "resource-kind": "A kind, such as timesheet.",
    "owner": "The owner of the resource, likewise.",
    "week": "With --owner: only their timesheet of the week with this day.",
    "on-behalf-of": "The delegator, likewise.",
    "outcome": "allow or deny.",
    "reason": "A reason, such as no-rule.",
    "rule": "A rule that decided.",
    "policy-version": "A version's number.",
    "request-id": "A request's id.",
    "since": "At or after this RFC 3339 time.",
    "until": "Before this RFC 3339 time.",
    "kind": "decision, change, policy, directory, access or system.",
}

# The filters for which the API does not refuse an unknown value.
UNCHECKED = {"resource", "request_id"}

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON record per line.")
everything = click.option("--all", "everything", is_flag=True, help="Print every page instead of the first.")
limit = click.option("--limit", type=click.IntRange(1, PAGE), default=50, help="Records on a page.")


def filters(command: Command) -> Command:
    """One option for each filter."""
    for name, text in reversed(FILTERS.items()):
        command = click.option(f"--{name}", help=text)(command)
    return command


@click.command()
@filters
@click.option(
    "--applied/--not-applied", default=None, help="Only changes that were applied, or only those that were not."
)
@click.option("--after-approval", is_flag=True, help="Only changes of timesheets that had been approved before.")
@limit
@everything
@as_json
@as_who
def search(
    *,
    applied: bool | None,
    after_approval: bool,
    limit: int,
    everything: bool,
    as_json: bool,
    who: str | None,
    **asked: str | None,
) -> None:
    """Search the log, newest first. The search is recorded in the log."""
    query = {name: value for name, value in asked.items() if value is not None}
    if applied is not None:
        query["applied"] = str(applied).lower()
    if after_approval:
        query["after_approval"] = "true"
    found = _records(connect(who), "/v1/audit/records", query, limit, everything=everything)
    first = list(islice(found, 1))
    if not first and query.keys() & UNCHECKED:
        click.echo("Resource and request ids are not checked: an empty answer may mean a mistyped id.", err=True)
    _show(chain(first, found), as_json=as_json)


@click.command()
@click.argument("sheet", type=click.UUID, required=False)
@click.option("--owner", help="In place of SHEET, with --week: its owner, by id, e-mail address or name.")
@click.option("--week", help="In place of SHEET, with --owner: a day of its week.")
@click.option("--newest", is_flag=True, help="Newest first instead of oldest first.")
@click.option("--kind", help="decision or change.")
@limit
@everything
@as_json
@as_who
def history(
    *,
    sheet: UUID | None,
    owner: str | None,
    week: str | None,
    newest: bool,
    kind: str | None,
    limit: int,
    everything: bool,
    as_json: bool,
    who: str | None,
) -> None:
    """Print the history of timesheet SHEET, or of the one of a person for a week, even if it was deleted."""
    api = connect(who)
    if sheet is not None and owner is None and week is None:
        wanted = str(sheet)
    elif sheet is None and owner is not None and week is not None:
        wanted = _find_sheet(api, owner, week)
    else:
        raise click.UsageError("Name the SHEET, or --owner and --week")
    query = {"order": "newest" if newest else "oldest", **({"kind": kind} if kind else {})}
    found = _records(api, f"/v1/timesheets/{wanted}/history", query, limit, everything=everything)
    _show(found, as_json=as_json)


def _find_sheet(api: ApiClient, owner: str, week: str) -> str:
    """The timesheet of the owner for the week. Raises ClickException if there are several, because one was deleted."""
    query = {"owner": owner, "week": week, "kind": "change"}
    found = _records(api, "/v1/audit/records", query, PAGE, everything=False)
    sheets = list(dict.fromkeys(str(read_member(record["record"], "resource").get("id")) for record in found))
    if len(sheets) != 1:
        raise click.ClickException(f"There are {len(sheets)} such timesheets: {', '.join(sheets) or 'none'}")
    return sheets[0]


def _records(
    api: ApiClient, path: str, query: dict[str, str], limit: int, *, everything: bool
) -> Iterator[dict[str, Any]]:
    """The records of a page, or of all pages one after the other."""
    cursor: str | None = ""
    while cursor is not None:
        more = {"cursor": cursor} if cursor else {}
        page = api.call("GET", path, query={**query, "names": "true", "limit": str(limit), **more})
        yield from page["items"]
        cursor = page["next_cursor"] if everything else None


def _show(found: Iterator[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        for record in found:
            print(json.dumps(record, ensure_ascii=False, separators=(",", ":")))
        return
    heads = ("when", "kind", "who", "client", "action", "resource", "outcome", "rule, reason or change", "record")
    print_rows(heads, map(_cells, found), ids={"resource": RESOURCE_CHARACTERS, "record": ID_CHARACTERS})


def _cells(found: dict[str, Any]) -> list[str]:
    record = found["record"]
    principal, resource, change = (read_member(record, name) for name in ("principal", "resource", "change"))
    who = str(principal.get("person") or "")
    names = found["names"]
    owner = names.get(str(resource.get("owner")))
    # On a line of its own, so that the id is not folded.
    of_owner = f"of {plain(owner)}\n" if owner and resource.get("owner") != who else ""
    thing = f"{plain(str(resource.get('kind') or ''))} {of_owner}{plain(str(resource.get('id') or ''))}".strip()
    texts = [plain(str(text)) for text in (found.get("texts") or {}).values()]
    why = ", ".join([*_list_words(record, "rules"), *texts])
    changed = [plain(line) for line in describe_change(change, names)]
    outcome = format_value(record.get("outcome") or _step(change))
    return [
        when(str(record.get("decided_at", found["at"]))),
        found["kind"],
        names.get(who, who),
        " for ".join(dict.fromkeys([*_list_words(principal, "actors"), str(principal.get("client") or "")])),
        format_value(record.get("action") or record.get("event") or ""),
        thing,
        outcome + (" (not applied)" if record.get("applied") is False and outcome == "allow" else ""),
        "\n".join([*([why] if why else []), *changed]) or format_value(record.get("reason") or ""),
        found["id"],
    ]


def _list_words(record: Mapping[str, Any], name: str) -> list[str]:
    """The texts of a list. Another value, which only a forged record has, as one text."""
    found = record.get(name) or []
    return [format_value(item) for item in found] if isinstance(found, list) else [format_value(found)]


def _step(change: Mapping[str, Any]) -> str:
    """The states before and after; for a change within one state, the new version."""
    states = [str(read_member(change, side).get("state") or "-") for side in ("from", "to")]
    if states == ["-", "-"]:
        return ""
    if states[0] == states[1]:
        version = read_member(change, "to").get("version")
        return states[1] if version is None else f"{states[1]}, version {version}"
    return " → ".join(states)
