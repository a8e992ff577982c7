"""`timewarden audit hold`: legal holds, which keep records and texts from being pruned and erased."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import rich_click as click

from service.commands.api_client import connect
from service.commands.groups import as_json, as_person
from service.commands.tables import ID_CHARACTERS, print_rows, when

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID


@click.group()
def hold() -> None:
    """Legal holds: nothing under a hold is pruned or erased. Another auditor must lift it."""


@hold.command("set")
@click.argument("what", type=click.Choice(["all", "person", "resource"]))
@click.argument("about", metavar="[ID]", required=False)
@click.option("--reason", required=True, help="The reason, for example the case number.")
@as_json
@as_person
def set_command(*, what: str, about: str | None, reason: str, as_json: bool, person: str | None) -> None:
    """Keep everything, the data of the person ID, which may be an e-mail address, or the records of the resource ID."""
    if (what == "all") is (about is not None):
        raise click.UsageError("Name the ID of the person or resource; `all` has none")
    body = {"what": what, "reason": reason, **({"about": about} if about else {})}
    found = connect(person).call("POST", "/v1/audit/holds", body)
    print(json.dumps(found, ensure_ascii=False) if as_json else f"The hold {found['id']} is in force.")


@hold.command()
@click.argument("hold_id", metavar="HOLD", type=click.UUID)
@as_json
@as_person
def lift(*, hold_id: UUID, as_json: bool, person: str | None) -> None:
    """Lift the hold HOLD."""
    found = connect(person).call("POST", f"/v1/audit/holds/{hold_id}/lift")
    print(json.dumps(found, ensure_ascii=False) if as_json else f"The hold {found['id']} is lifted.")


@hold.command("list")
@as_json
@as_person
def list_command(*, as_json: bool, person: str | None) -> None:
    """List the latest 200 holds, newest first."""
    found = connect(person).call("GET", "/v1/audit/holds", query={"names": "true"})["items"]
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return
    widths = {"hold": ID_CHARACTERS, "about": ID_CHARACTERS}
    print_rows(("hold", "what", "about", "since", "lifted", "reason"), map(_cells, found), ids=widths)


def _cells(item: Mapping[str, Any]) -> tuple[str, ...]:
    about = item["about"] or ""
    named = " ".join([item["names"][about], about]) if about in item["names"] else about
    return item["id"], item["what"], named, when(item["since"]), when(item["until"]), item["reason"]
