"""`timewarden audit export`: a part of the log into a file, with progress; a failed download can be resumed.

Durable: the file. Resuming first removes a last line that is incomplete.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import httpx2
import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from service.commands.api_client import ApiClient, connect, to_click_error
from service.commands.groups import as_person
from service.standalone.verify.bundle import FORMAT
from service.standalone.verify.records import MEMBERS

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMATS = ("jsonl", "csv", "ocsf", "parquet")
# The download has failed when no byte arrives for so long.
READ_TIMEOUT_SECONDS = 60.0
TAIL_BYTES = 8 << 20
# The first bytes of a file of each kind that can be resumed.
BEGINNINGS = {
    "bundle": b'{"format":"%b",' % FORMAT.encode(),
    "csv": b"\xef\xbb\xbfposition,uid,kind,",
    "jsonl": b'{"position":',
    "ocsf": b'{"activity_id":',
}
# The members of a line that holds a record. In JSON Lines, a record that is missing or damaged has one more.
LINE_MEMBERS = {
    "bundle": MEMBERS,
    "jsonl": {"position", "leaf", "record"},
}
MORE_MEMBERS = {"bundle": set[str](), "jsonl": {"missing", "bytes"}}


@click.command()
@click.option("--since", metavar="TIME", help="Decided at or after this RFC 3339 time.")
@click.option("--until", metavar="TIME", help="Decided before this RFC 3339 time.")
@click.option("--from", "start", type=click.IntRange(min=0), help="The first position.")
@click.option("--to", "end", type=click.IntRange(min=1), help="The position behind the last.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="jsonl", show_default=True)
@click.option("--bundle", is_flag=True, help="A proof bundle, for timewarden-verify, instead of an export.")
@click.option(
    "--seen", type=click.IntRange(min=1), help="Size of a checkpoint that the bundle must be shown to extend."
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file.")
@click.option("--resume", is_flag=True, help="Resume at the end of the file.")
@as_person
def export(
    *,
    since: str | None,
    until: str | None,
    start: int | None,
    end: int | None,
    form: str,
    bundle: bool,
    seen: int | None,
    output: Path,
    resume: bool,
    person: str | None,
) -> None:
    """Write records, or with --bundle their proof, to a file."""
    if seen and not bundle:
        raise click.UsageError("--seen requires --bundle")
    if resume and form == "parquet" and not bundle:
        raise click.UsageError(
            "A Parquet download cannot be resumed; start again, or export parts with --from and --to"
        )
    if output.exists() and not resume:
        raise click.UsageError(f"{output} exists; use --resume, or name another file")
    kind = "bundle" if bundle else form
    query: dict[str, Any] = {"from": start, "to": end, "since": since, "until": until}
    query |= {"seen": seen} if bundle else {"format": form}
    if resume and output.exists():
        position, header = _last_position(output, kind)
        if position is not None:
            query["from"] = position + 1
        if header:
            # The positions of the period were found when the file was begun.
            query |= {"to": header["to"], "since": None, "until": None}
        if position is not None and query["from"] == query["to"]:
            print(f"{output} is complete.")
            return
    path = "/v1/audit/bundle" if bundle else "/v1/audit/export"
    asked = {name: str(value) for name, value in query.items() if value is not None}
    told = _download(connect(person), path, asked, output, kind)
    print(f"{output}: {_span(told)}")


def _download(api: ApiClient, path: str, query: dict[str, str], output: Path, kind: str) -> str:
    """Append the answer to the file and return its positions. A file that is not empty gets no second heading."""
    headers = {"Authorization": f"Bearer {api.token}"}
    timeout = httpx2.Timeout(30, read=READ_TIMEOUT_SECONDS)
    # Without a buffer, whose rest could not be written either when the file is closed.
    with _remove_useless_file(output, kind), output.open("ab", buffering=0) as file:
        heading = file.tell() > 0 and kind in {"bundle", "csv"}
        try:
            with httpx2.stream(
                "GET",
                api.api + path,
                params=query,
                headers=headers,
                timeout=timeout,
                trust_env=api.trust_environment,
            ) as got:
                if not got.is_success:
                    got.read()
                    raise to_click_error(got)
                _write(got.iter_bytes(), file, got.headers["Audit-Positions"], kind, without_heading=heading)
                told: str = got.headers["Audit-Positions"]
        except httpx2.HTTPError as error:
            message = f"The download failed ({type(error).__name__}); {_next_step(file, kind)}"
            raise click.ClickException(message) from error
    return told


def _next_step(file: IO[bytes], kind: str) -> str:
    return "start again" if kind == "parquet" or not file.tell() else "continue it with --resume"


def _span(told: str) -> str:
    """Half-open positions such as `7-157`, for people, as the verifier names them."""
    first, _, end = told.partition("-")
    return f"positions {first} to {int(end) - 1}" if int(first) < int(end) else "no positions"


@contextmanager
def _remove_useless_file(output: Path, kind: str) -> Iterator[None]:
    """Remove a new file that is empty or cannot be resumed when the download fails."""
    new = not output.exists()
    try:
        yield
    except click.ClickException:
        if new and (kind == "parquet" or not output.stat().st_size):
            output.unlink()
        raise


def _write(pieces: Iterator[bytes], file: IO[bytes], told: str, kind: str, *, without_heading: bool) -> None:
    first, _, last = told.partition("-")
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    # Elsewhere it would only print an empty line.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(f"positions {told}", total=max(1, int(last) - int(first)))
        held = b""
        for piece in pieces:
            data = piece
            if without_heading:
                held += piece
                _, line_end, data = held.partition(b"\n")
                if not line_end:
                    continue
                without_heading = False
            _write_whole(data, file, kind)
            if kind != "parquet":
                # Every line is a position; those that a period leaves out are made good at the end.
                progress.advance(bar, data.count(b"\n"))
        with _name_file(file, kind):
            os.fsync(file.fileno())


def _write_whole(data: bytes, file: IO[bytes], kind: str) -> None:
    """Write all of `data`: a file without a buffer takes as much as fits."""
    with _name_file(file, kind):
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]


@contextmanager
def _name_file(file: IO[bytes], kind: str) -> Iterator[None]:
    """Turn an error of writing, such as a full disk, into a ClickException that names the file and the next step."""
    try:
        yield
    except OSError as error:
        message = f"{file.name} cannot be written: {error.strerror}; {_next_step(file, kind)}"
        raise click.ClickException(message) from error


def _last_position(output: Path, kind: str) -> tuple[int | None, dict[str, Any]]:
    """The last whole line's position, None before the first, and a bundle's header. Cuts off what follows that line.
    Raises ClickException, and leaves the file as it is, if it is not of this kind."""
    with output.open("r+b") as file:
        beginning = file.read(len(BEGINNINGS[kind]))
        if not BEGINNINGS[kind].startswith(beginning):
            raise click.ClickException(f"{output} is not a file of this format ({kind}); name another file")
        file.seek(0)
        header = _header(file) if kind == "bundle" else {}
        size = file.seek(0, os.SEEK_END)
        begin = max(0, size - TAIL_BYTES)
        file.seek(begin)
        tail = file.read()
        whole = tail.rfind(b"\n") + 1
        lines = tail[:whole].split(b"\n")
        if begin == 0 and len(lines) <= (2 if kind in {"bundle", "csv"} else 1):
            # No line, or only a heading.
            position = header["from"] - 1 if header else None
        else:
            position = _position(lines[-2] if whole else b"", kind)
        file.truncate(begin + whole)
        return position, header


def _header(file: IO[bytes]) -> dict[str, Any]:
    """A bundle's header; empty if it is not whole."""
    line = file.readline()
    if not line.endswith(b"\n"):
        return {}
    try:
        found: dict[str, Any] = json.loads(line)
        header = {"from": int(found["from"]), "to": int(found["to"])}
    except (ValueError, KeyError, TypeError) as error:
        raise click.ClickException("The file does not begin with the header of a bundle") from error
    return header


def _position(line: bytes, kind: str) -> int:
    try:
        if kind == "csv":
            return int(line.partition(b",")[0])
        found = json.loads(line)
        if kind != "ocsf" and set(found) - MORE_MEMBERS[kind] != LINE_MEMBERS[kind]:
            raise KeyError(kind)
        return int(found["metadata"]["sequence"] if kind == "ocsf" else found["position"])
    except (ValueError, KeyError, TypeError) as error:
        raise click.ClickException("The file does not end with a record of this format") from error
