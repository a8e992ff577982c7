"""`timewarden audit`: the log. Each subcommand stands in a module of its own and is loaded only when it is called."""

from __future__ import annotations

import importlib

import rich_click as click

# Subcommand to the module that holds it under its own name.
COMMANDS = {
    "search": "audit_search",
    "history": "audit_search",
    "redecide": "audit_redecide",
    "export": "audit_export",
    "verify": "audit_verify",
    "verifier": "audit_verify",
    "erase": "audit_erase",
    "partition": "audit_retention",
    "retain": "audit_retention",
    "key": "audit_key",
    "new_epoch": "audit_epoch",
}


class AuditDoor(click.RichGroup):
    """Loads a subcommand when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The subcommands, in their order."""
        del ctx
        return [name.replace("_", "-") for name in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A subcommand by its name, or None."""
        del ctx
        name = cmd_name.replace("-", "_")
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"service.commands.{COMMANDS[name]}"), name)
        return command


@click.group(cls=AuditDoor)
def audit() -> None:
    """Keys, proofs and records of the log."""
