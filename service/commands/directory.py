"""`timewarden directory`: the organisation from a file, through the API. Owns no state."""

from __future__ import annotations

import json
from pathlib import Path

import rich_click as click

from service.commands.api_client import connect
from service.commands.groups import as_person


@click.group()
def directory() -> None:
    """People, teams, projects and groups."""


@directory.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@as_person
def import_file(file: Path, *, dry_run: bool, as_json: bool, person: str | None) -> None:
    """Import people, teams, projects, groups, and who belongs to them or leads them, from the CSV FILE: all or none.

    Importing the same file again changes nothing.
    """
    query = {"dry_run": "true"} if dry_run else None
    answer = connect(person).call("POST", "/v1/directory/import", query=query, csv=file.read_bytes())
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    for row in answer["rows"]:
        if row["outcome"] != "unchanged":
            print(f"line {row['line']}: {row['record']} {row['outcome']}")
    counts = ", ".join(f"{answer[word]} {word}" for word in ("created", "updated", "unchanged"))
    print(f"{counts}{' (dry run: nothing was changed)' if dry_run else ''}")
