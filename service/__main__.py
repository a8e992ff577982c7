"""The command line, `timewarden`. Each command stands in service/commands and is loaded only when it is called.

`up`, `demo` and `token get` belong to development: where service/development is not installed, they are not there.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys

import rich_click as click

from service import VERSION
from service.errors import PolicyRejected, TimewardenError

# Command to the module that holds it under its own name.
COMMANDS = {
    "serve": "serve",
    "keep": "keep",
    "migrate": "database",
    "policy": "policy",
    "audit": "audit",
    "directory": "directory",
    "token": "token",
    "upload": "upload",
    "health": "health",
}
DEVELOPMENT = {"up": "up", "demo": "demo"}


class Door(click.RichGroup):
    """Loads a command when it is asked for: `token get` need not wait for a web framework."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands of this installation, in their order."""
        del ctx
        return list(commands())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by its name, or None."""
        del ctx
        module = commands().get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(importlib.import_module(f"service.commands.{module}"), cmd_name)
        return command


def commands() -> dict[str, str]:
    """What can be called here."""
    there = importlib.util.find_spec("service.development") is not None
    return {**DEVELOPMENT, **COMMANDS} if there else COMMANDS


@click.group(cls=Door, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION)
def timewarden() -> None:
    """A timesheet API in which a policy decides every request and a log remembers every decision."""


def main() -> None:
    """Run the command line; our own errors become one sentence on standard error and exit code 1."""
    try:
        timewarden()
    except PolicyRejected as error:
        sys.exit("\n  ".join([f"timewarden: {error.summary}", *map(str, error.complaints)]))
    except TimewardenError as error:
        detail = f" ({error.cause})" if error.cause else ""
        sys.exit(f"timewarden: {error.public}{detail}")


if __name__ == "__main__":
    main()
