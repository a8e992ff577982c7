"""The command line, `timewarden`. Every group stands in service/commands; this module only puts them on the door.

`up`, `demo` and `token get` belong to development: where service/development is not installed, they are not there.
"""

from __future__ import annotations

import importlib.util
import sys

import rich_click as click

from service.commands.database import migrate
from service.commands.health import health
from service.commands.keep import keep
from service.commands.policy import policy
from service.commands.serve import serve
from service.errors import TimewardenError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="timewarden")
def timewarden() -> None:
    """A timesheet API in which a policy decides every request and a log remembers every decision."""


for command in (serve, keep, migrate, health, policy):
    timewarden.add_command(command)

if importlib.util.find_spec("service.development") is not None:
    from service.commands.demo import demo
    from service.commands.token import token
    from service.commands.up import up

    for command in (up, demo, token):
        timewarden.add_command(command)


def main() -> None:
    """Run the command line; our own errors become one sentence on standard error and exit code 1."""
    try:
        timewarden()
    except TimewardenError as error:
        detail = f" ({error.cause})" if error.cause else ""
        sys.exit(f"timewarden: {error.public}{detail}")


if __name__ == "__main__":
    main()
