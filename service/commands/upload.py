"""`timewarden upload`: a file of hours to the API, as an importing job would send it, with progress and a report."""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from service.commands.api_client import connect, to_click_error
from service.commands.groups import ERROR, as_person
from service.commands.tables import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = {".csv": "text/csv", ".ndjson": "application/x-ndjson", ".jsonl": "application/x-ndjson"}
PIECE = 65_536
# The API reads, decides and writes a large file before it answers.
TIMEOUT_SECONDS = 600.0
MAX_ROWS_SHOWN = 20
# Besides errors of the server: the file was not read.
UNTRIED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS}


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Show what would happen, and change nothing.")
@click.option("--per-row", is_flag=True, help="Import every valid row; without it, all rows or none.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
@as_person
def upload(file: Path, *, dry_run: bool, per_row: bool, as_json: bool, person: str | None) -> None:
    """Upload the hours in FILE: CSV (.csv), or a JSON object a line (.ndjson, .jsonl).

    TIMEWARDEN_TOKEN must hold a token of a client that acts for itself, with the scope batch:upload. Exit code 1: the
    file or a row was refused. Exit code 2: an error, such as a token that is not valid or a service that cannot answer.
    """
    kind = KINDS.get(file.suffix.lower())
    if kind is None:
        raise click.ClickException(f"{file.name}: the name must end with {', '.join(KINDS)}")
    if file.stat().st_size == 0:
        raise click.ClickException(f"{file.name} is empty")
    answer = _send(file, kind, person, dry_run=dry_run, per_row=per_row, quiet=as_json)
    body = _body(answer)
    is_tried = answer.status_code not in UNTRIED and answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
    if as_json:
        print(json.dumps(body, indent=2))
    elif answer.is_success:
        _show(body)
    elif is_tried:
        _show_problem(answer, body)
    else:
        raise to_click_error(answer)
    if not is_tried:
        raise SystemExit(ERROR)
    if not answer.is_success or body["counts"]["refused"]:
        raise SystemExit(1)


def _send(file: Path, kind: str, person: str | None, *, dry_run: bool, per_row: bool, quiet: bool) -> httpx2.Response:
    client = connect(person)
    query = {"mode": "per-row" if per_row else "together", "dry_run": str(dry_run).lower()}
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    headers = {
        "Authorization": f"Bearer {client.token}",
        "Content-Type": kind,
        "Content-Length": str(file.stat().st_size),
    }
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as progress:
        task = progress.add_task("sending", total=file.stat().st_size)

        def pieces() -> Iterator[bytes]:
            with file.open("rb") as opened:
                while piece := opened.read(PIECE):
                    yield piece
                    progress.advance(task, len(piece))
            progress.update(task, description="deciding")

        try:
            return httpx2.post(
                client.api + "/v1/uploads",
                params=query,
                content=pieces(),
                headers=headers,
                timeout=TIMEOUT_SECONDS,
                trust_env=client.trust_environment,
            )
        except httpx2.HTTPError as error:
            message = f"{client.api} does not answer ({type(error).__name__}); the same file can be sent again"
            raise click.ClickException(message) from error


def _body(answer: httpx2.Response) -> Any:
    try:
        body = answer.json()
        # Every answer of this API has one of these.
        _ = body["counts"] if answer.is_success else body["detail"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise click.ClickException(f"{answer.status_code}: {plain(answer.text[:300])}") from error
    return body


def _show(body: dict[str, Any]) -> None:
    counts = ", ".join(f"{number} {outcome}" for outcome, number in body["counts"].items() if number)
    print(f"{'A dry run: ' if body['dry_run'] else ''}{sum(body['counts'].values())} rows: {counts}")
    refused = [(row, problem) for row in body["rows"] for problem in row.get("problems", [])]
    _show_rows([{**row, **problem} for row, problem in refused[:MAX_ROWS_SHOWN]], body["counts"]["refused"])


def _show_problem(answer: httpx2.Response, body: dict[str, Any]) -> None:
    print(f"{answer.status_code}: {body.get('title', '')}; nothing was imported")
    if rows := body.get("rows"):
        _show_rows(rows[:MAX_ROWS_SHOWN], body.get("refused", len(rows)))
    else:
        fields = [f"  {field['field']}: {field['message']}" for field in body.get("fields", ())]
        print("\n".join(fields) or f"  {body['detail']}")


def _show_rows(rows: list[dict[str, Any]], number: int) -> None:
    for row in rows:
        field = f"{row['field']}: " if row.get("field") else ""
        print(f"  line {row.get('line', row['row'])}: {field}{row['reason']}")
    if number > len({row["row"] for row in rows}):
        print(f"  ... {number} refused rows in all")
