"""Command groups that load a subcommand when it is called, and options that commands share.

Without the web framework the command line starts in a fifth of a second. Owns no state.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_AS = "Use the token of this demo person or client of `make run`."
as_person = click.option("--as", "person", help=_AS)
# For commands in which `person` is the subject of the command.
as_who = click.option("--as", "who", help=_AS)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
directory = click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=Path("policies"),
    envvar="TIMEWARDEN_POLICIES_DIRECTORY",
    help="The directory of the policy files; default: TIMEWARDEN_POLICIES_DIRECTORY, or `policies` here.",
)


# The exit code of errors, such as wrong usage. Exit code 1 is a result: a difference, a failed case or a refusal.
ERROR = 2
# As of a program that the signal of Ctrl-C, or of a reader that ended, has ended.
INTERRUPTED, UNREAD = 130, 141


class LazyGroup(click.RichGroup):
    """A group whose subcommands lie in modules of service/commands. `modules` maps command to module; the function has
    the name of the command, with underscores for hyphens."""

    def __init__(self, *given: Any, modules: Callable[[], Mapping[str, str]] | None = None, **named: Any) -> None:
        super().__init__(*given, **named)
        self._modules = modules or dict

    def invoke(self, ctx: click.Context) -> Any:
        """As any group, but every error has the same exit code, and only usage errors have a frame: other errors may
        name places in files, which people and tools copy as whole lines. Ctrl-C and a reader that ended have exit codes
        of their own: there is no result."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupted:
            click.echo("Aborted.", err=True)
            raise SystemExit(INTERRUPTED) from interrupted
        except BrokenPipeError as unread:
            raise SystemExit(UNREAD) from unread
        except click.UsageError:
            raise
        except click.ClickException as error:
            click.echo(f"timewarden: {error.format_message()}", err=True)
            raise SystemExit(ERROR) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands of the group's own module, then those of `modules`."""
        return [*super().list_commands(ctx), *self._modules()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by its name, or None."""
        module = self._modules().get(cmd_name)
        if module is None:
            return super().get_command(ctx, cmd_name)
        found = importlib.import_module(f"service.commands.{module}")
        command: click.Command = getattr(found, cmd_name.replace("-", "_"))
        return command
