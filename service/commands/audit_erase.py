"""`timewarden audit erase`: erase a person through the API, with a token, like everybody else."""

from __future__ import annotations

import rich_click as click

from service.commands.api_client import connect
from service.commands.groups import as_who


@click.command()
@click.argument("person", type=click.UUID)
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, and delete nothing.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@as_who
def erase(*, person: str, dry_run: bool, yes: bool, who: str | None) -> None:
    """Erase PERSON: links, name, address, drafts and rejected sheets, and the texts about them.
    Their tokens are revoked. Records and proofs stay. Cannot be undone."""
    api = connect(who)
    path = f"/v1/people/{person}/erase"
    would = api.call("POST", path, {"dry_run": True})
    told = "{links} links, {texts} texts beside the log, {notes} notes and {sheets} open timesheets"
    print("Would erase: " + told.format(**would) + ".")
    if would["hold"]:
        raise click.ClickException(f"The legal hold {would['hold']} forbids erasing this person's data")
    if would["waiting"]:
        raise click.ClickException(
            f"{len(would['waiting'])} timesheets of this person wait for approval: have them approved or rejected first"
        )
    if dry_run:
        return
    if not yes:
        click.confirm("Erase them for good?", abort=True)
    print("Erased: " + told.format(**api.call("POST", path, {"dry_run": False})) + ".")
