"""A replay on a terminal: its progress as a bar, its result as tables. Owns no state."""

from __future__ import annotations

import re
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from service.commands.groups import INTERRUPTED
from service.commands.tables import table
from service.commands.version_numbers import call_about_versions

if TYPE_CHECKING:
    from service.commands.api_client import ApiClient

REPLAYS = "/v1/replays"
# Pauses between two requests for the state of a replay. Each request is decided and recorded, so the pauses grow.
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.3, 3.0
DIFFERENCES = ("allow_to_deny", "deny_to_allow", "other_reason", "other_rules", "other_approvals", "undecidable")
COUNTS = {
    "same": "as they were",
    "allow_to_deny": "allowed, would be denied",
    "deny_to_allow": "denied, would be allowed",
    "other_reason": "same verdict for another reason",
    "other_rules": "same reason by other rules",
    "other_approvals": "approval that is enough only then, or only now",
    "undecidable": "undecidable from the record",
}
_AGO = re.compile(r"([0-9]{1,12})([mhdw])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class Moment(click.ParamType[str]):
    """`30d`, `12h`, `2w` ago, or an RFC 3339 time with its offset."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The moment as RFC 3339 in UTC."""
        try:
            found = _moment(str(value))
        except OverflowError:
            self.fail(f"{value!r} is further away than any time can be", param, ctx)
        if found is None:
            self.fail(f"{value!r} is neither like 30d, 12h or 2w nor a time like 2026-11-01T00:00:00Z", param, ctx)
        return found.isoformat()


def _moment(text: str) -> datetime | None:
    """The moment in UTC, or None if the text is no time. Raises OverflowError beyond the range of datetime."""
    if ago := _AGO.fullmatch(text):
        return datetime.now(UTC) - int(ago[1]) * _UNITS[ago[2]]
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if found.tzinfo is None else found.astimezone(UTC)


def start_and_follow(api: ApiClient, request: dict[str, str | int | None], *, quiet: bool) -> dict[str, Any]:
    """Start a replay and wait for its end; a bar shows its progress. Ctrl-C cancels it."""
    body = {name: value for name, value in request.items() if value is not None}
    job: dict[str, Any] = call_about_versions(api, "POST", REPLAYS, request.get("version"), body=body)
    where = f"{REPLAYS}/{job['id']}"
    try:
        return _follow(api, where, job, quiet=quiet)
    except KeyboardInterrupt:
        _cancel(api, where)


def attach_to(api: ApiClient, job_id: str, *, quiet: bool) -> dict[str, Any]:
    """Wait for the end of a replay that was started before. Ctrl-C leaves it running."""
    where = f"{REPLAYS}/{job_id}"
    try:
        return _follow(api, where, api.call("GET", where), quiet=quiet)
    except KeyboardInterrupt:
        print("The replay continues", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _follow(api: ApiClient, where: str, job: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[records]:,} evaluated"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=quiet,
    )
    try:
        with bar:
            job = _wait_for_end(api, where, job, bar)
    except click.ClickException as error:
        # Only the waiting came to an end, such as with the token.
        again = f": `timewarden policy replay --attach {job['id']}` waits for it"
        raise click.ClickException(f"{error.message}\nThe replay continues{again}") from error
    if job["state"] == "cancelled":
        raise click.ClickException(f"The replay was cancelled after {job['result']['decided']:,} decisions")
    if job["state"] != "done":
        raise click.ClickException(f"The replay {job['state']}: {job['problem'] or 'nothing more is known'}")
    return job


def _wait_for_end(api: ApiClient, where: str, job: dict[str, Any], bar: Progress) -> dict[str, Any]:
    task = bar.add_task("", total=1.0, records=0)
    pause = FIRST_PAUSE_SECONDS
    while True:
        words = "waiting for a keeper" if job["state"] == "queued" else "evaluating"
        bar.update(task, completed=job["progress"], records=job["result"]["decided"], description=words)
        if job["state"] not in {"queued", "running"}:
            return job
        time.sleep(pause)
        pause = min(MAX_PAUSE_SECONDS, pause * 1.1)
        job = api.call("GET", where)


def _cancel(api: ApiClient, where: str) -> NoReturn:
    """Ask for the job's end and say so; the exit code is that of a command that Ctrl-C ended."""
    print("Cancelling it ...", file=sys.stderr)
    try:
        job = api.call("POST", f"{where}/cancel")
    except click.ClickException as error:
        print(f"It could not be cancelled: {error.message}", file=sys.stderr)
    else:
        print(f"Cancelled after {job['result']['decided']:,} decisions", file=sys.stderr)
    sys.exit(INTERRUPTED)


def show(job: dict[str, Any]) -> None:
    """The counts, what lies behind each difference, and examples."""
    console, result = Console(), job["result"]
    under = "the version that decided" if job["version"] is None else f"version {job['version']}"
    console.print(f"{result['decided'] + result['undecidable']:,} recorded decisions, again under {under}")
    counts = Table("records", "", show_header=False)
    for name, words in COUNTS.items():
        if result.get(name) or name == "same":
            counts.add_row(f"{result[name]:,}", words)
    console.print(counts)
    for change in (name for name in COUNTS if any(group["change"] == name for group in result["groups"])):
        groups = table("by", "", "records", title=COUNTS[change])
        for group in result["groups"]:
            if group["change"] == change:
                groups.add_row(group["by"], group["word"], f"{group['count']:,}")
        console.print(groups)
    if result["examples"]:
        examples = table("decision", "who", "action", "was", "now", title="Examples")
        for example in result["examples"]:
            asked = f"{example['action']} {example['kind']}"
            examples.add_row(
                example["decision"],
                example["subject"],
                asked,
                example["was"],
                example["now"],
                style=_style(example["change"]),
            )
        console.print(examples)


def _style(change: str) -> str:
    return {"allow_to_deny": "red", "deny_to_allow": "yellow"}.get(change, "")
