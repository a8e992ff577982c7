"""What groups of commands share: subcommands that are loaded when they are called, and the options that all have.

A command line that need not wait for a web framework answers in a fifth of a second. Owns no state.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_AS = "A demo person or client whose token is used, where `make run` runs."
as_person = click.option("--as", "person", help=_AS)
# Where `person` is somebody who is asked about.
as_who = click.option("--as", "who", help=_AS)
as_json = click.option("--json", "as_json", is_flag=True, help="For machines.")
directory = click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("policies"),
    help="Where the files are.",
)


# Something went wrong, such as a wrong use of the command. 1 is an answer: something differs, fails or was refused.
ERROR = 2


class Door(click.RichGroup):
    """A group with subcommands in modules of service/commands: `further` gives command to module, under its own name
    there, with a line below for a hyphen."""

    def __init__(self, *given: Any, further: Callable[[], Mapping[str, str]] | None = None, **named: Any) -> None:
        super().__init__(*given, **named)
        self._further = further or dict

    def invoke(self, ctx: click.Context) -> Any:
        """As any group, but every error has the same exit code, and only a wrong use of the command is framed: other
        errors may name places in files, which are copied, and found by tools, as whole lines."""
        try:
            return super().invoke(ctx)
        except click.UsageError:
            raise
        except click.ClickException as error:
            click.echo(f"timewarden: {error.format_message()}", err=True)
            raise SystemExit(ERROR) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Those of the group's own module, then the further ones, in their order."""
        return [*super().list_commands(ctx), *self._further()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by its name, or None."""
        module = self._further().get(cmd_name)
        if module is None:
            return super().get_command(ctx, cmd_name)
        found = importlib.import_module(f"service.commands.{module}")
        command: click.Command = getattr(found, cmd_name.replace("-", "_"))
        return command
