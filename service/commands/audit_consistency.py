"""`timewarden audit consistency`: the proof that the log only grew, into a file for `timewarden-verify consistency`."""

from __future__ import annotations

import json
from pathlib import Path

import rich_click as click

from service.commands.api_client import connect
from service.commands.groups import as_person


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
