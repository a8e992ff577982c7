"""`timewarden audit`: the decision log for auditors. Each command stands in a module of its own."""

from __future__ import annotations

import importlib

import rich_click as click

# Command to the module of service/commands that holds it.
COMMANDS = {"redecide": "audit_redecide"}


class AuditDoor(click.RichGroup):
    """Loads a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in their order."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by its name, or None."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"service.commands.{COMMANDS[cmd_name]}"), cmd_name)
        return command


@click.group(cls=AuditDoor)
def audit() -> None:
    """Prove the decision log: decide every record again."""
