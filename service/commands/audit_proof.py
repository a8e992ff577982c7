"""`timewarden audit proof` and `consistency`: proofs as files for `timewarden-verify`.

`proof` writes one record's exact bytes and its proof that the log holds it, `consistency` the proof that the log only
grew. Durable: the files. The bytes come from the export, whose lines hold them as they are stored. Nothing parses them
on the way: a record that is serialized again has another hash.
"""

from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from service.commands.api_client import connect, to_click_error
from service.commands.groups import as_json, as_person

if TYPE_CHECKING:
    from uuid import UUID

    import httpx2

    from service.commands.api_client import ApiClient

# A line of an export around the bytes of one record.
LINE = re.compile(rb'\{"position":(\d+),"leaf":"[0-9a-f]*","record":(\{.*\})\}\n', re.DOTALL)
SECONDS_BETWEEN_ATTEMPTS = 1.0


@click.command()
@click.argument("record", metavar="ID", type=click.UUID)
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    help="Where the two files go.",
)
@click.option(
    "--wait",
    type=click.IntRange(min=0),
    default=60,
    show_default=True,
    help="How many seconds to wait for a record that is not sealed yet.",
)
@as_json
@as_person
def proof(*, record: UUID, directory: Path, wait: int, as_json: bool, person: str | None) -> None:
    """Write the record ID, or the record of the decision ID, and the proof that it is in the log.

    ID.record holds the record's exact bytes and ID.tlog-proof its C2SP proof: timewarden-verify checks them, anywhere.
    """
    bytes_file, proof_file = (directory / f"{record}{suffix}" for suffix in (".record", ".tlog-proof"))
    for file in (bytes_file, proof_file):
        if file.exists():
            raise click.UsageError(f"{file} exists; move it away, or use --directory")
    api = connect(person)
    proved = _wait_for_proof(api, record, wait)
    position = int(proved.split("\n", 2)[1].removeprefix("index "))
    body = _exact_bytes(api, position)
    proof_file.write_text(proved, encoding="utf-8", newline="")
    if body is None:
        raise click.ClickException(
            f"The record at position {position} was pruned or erased. {proof_file} is its proof;"
            " check it with a copy of the bytes"
        )
    bytes_file.write_bytes(body)
    check = f"timewarden-verify proof {proof_file} --record {bytes_file} --key VKEY"
    if as_json:
        print(json.dumps({"record": str(bytes_file), "proof": str(proof_file), "position": position, "check": check}))
        return
    print(f"{bytes_file}: the exact bytes of the record at position {position}")
    print(f"{proof_file}: the proof that it is in the log")
    print(f"Check them, with the log's public line for VKEY:\n    {check}")


@click.command()
@click.option(
    "--from", "old", type=click.IntRange(min=1), required=True, help="The size of the checkpoint that you know."
)
@click.option(
    "--to", "size", type=click.IntRange(min=1), help="The size of a later signed checkpoint; default: the newest."
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file.")
@as_person
def consistency(*, old: int, size: int | None, output: Path, person: str | None) -> None:
    """Write the proof that the log only grew between two checkpoints, with the later checkpoint, to a file."""
    if output.exists():
        raise click.UsageError(f"{output} exists; name another file")
    query = {"from": str(old)} | ({"to": str(size)} if size else {})
    proof = connect(person).call("GET", "/v1/audit/consistency", query=query)
    output.write_text(json.dumps(proof) + "\n", encoding="utf-8")
    print(f"{output}: from {proof['from']} to {proof['to']}; check it with timewarden-verify consistency")


def _wait_for_proof(api: ApiClient, record: UUID, wait: int) -> str:
    """Wait until the record is sealed; return the text of its proof."""
    until, told = time.monotonic() + wait, False
    while True:
        answer = api.response("GET", f"/v1/audit/records/{record}/proof")
        if answer.is_success:
            return answer.text
        if not _is_not_sealed(answer):
            raise to_click_error(answer)
        if time.monotonic() >= until:
            raise click.ClickException(
                f"The record is still not sealed after {wait} seconds."
                " A keeper seals within seconds; check that one runs"
            )
        if not told:
            click.echo(f"The record is not sealed yet; waiting up to {wait} seconds.", err=True)
            told = True
        time.sleep(SECONDS_BETWEEN_ATTEMPTS)


def _is_not_sealed(answer: httpx2.Response) -> bool:
    try:
        return str(answer.json()["type"]).endswith(":not-sealed")
    except (ValueError, KeyError, TypeError):
        return False


def _exact_bytes(api: ApiClient, position: int) -> bytes | None:
    """The record's bytes as they are stored, or None if they were pruned or erased."""
    span = {"format": "jsonl", "from": str(position), "to": str(position + 1)}
    answer = api.response("GET", "/v1/audit/export", span)
    if not answer.is_success:
        raise to_click_error(answer)
    line = answer.content
    found = LINE.fullmatch(line)
    if found:
        return found[2]
    # Bytes that are not a record of ours come in base64. A pruned record has no line, an erased one has no bytes.
    stored = json.loads(line).get("bytes") if line.strip() else None
    return None if stored is None else base64.b64decode(stored)
