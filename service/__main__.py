"""The command line, `timewarden`. Each command is a module of service/commands and is loaded only when it is called.

`up`, `demo` and `token get` are for development: they exist only if service/development is installed.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from contextlib import suppress
from typing import NoReturn

import rich_click as click

from service import VERSION
from service.commands.groups import ERROR, UNREAD, LazyGroup
from service.commands.output import discard_output, install_output
from service.errors import PolicyRejected, TimewardenError
from service.variables import refuse_unknown_variables

# Commands, and the modules that hold them under the same name.
COMMANDS = {
    "serve": "serve",
    "keep": "keep",
    "console": "console",
    "migrate": "database",
    "policy": "policy",
    "audit": "audit",
    "events": "events",
    "directory": "directory",
    "token": "token",
    "upload": "upload",
    "health": "health",
    "doctor": "doctor",
    "tenants": "tenants",
}
DEVELOPMENT = {"up": "up", "demo": "demo"}


def commands() -> dict[str, str]:
    """The commands of this installation, with their modules."""
    development = importlib.util.find_spec("service.development") is not None
    return {**DEVELOPMENT, **COMMANDS} if development else COMMANDS


@click.group(cls=LazyGroup, modules=commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION)
@click.pass_context
def timewarden(context: click.Context) -> None:
    """A timesheet API in which a policy decides every request and a log remembers every decision."""
    # The doctor lists unknown variables among its findings.
    if context.invoked_subcommand != "doctor":
        refuse_unknown_variables(os.environ, _settings)


def _settings() -> frozenset[str]:
    from service.settings import variables  # noqa: PLC0415 — slow to load

    return variables()


def main() -> None:
    """Run the command line. Our own errors, a missing package of an extra, and a file or standard output that cannot be
    used, become one line on standard error."""
    install_output()
    try:
        timewarden()
    except PolicyRejected as error:
        _end("\n  ".join([f"timewarden: {error.summary}", *map(str, error.complaints)]))
    except TimewardenError as error:
        detail = f" ({error.cause})" if error.cause else ""
        _end(f"timewarden: {error.public}{detail}")
    except ModuleNotFoundError as error:
        package = (error.name or "service").partition(".")[0]
        if package in {"service", "events"}:
            raise
        _end(
            f"timewarden: {package} is not installed. `up` and `demo` run in a checkout: `make run`. Other commands"
            " need an extra: docs/production.md, section Extras"
        )
    except OSError as error:
        if error.filename is not None:
            _end(f"timewarden: {error.filename}: {error.strerror}")
        # Standard output, or a defect of ours, whose traceback is needed. Without a buffer, only another attempt tells.
        _end_if_unwritable(attempt="\n")
        raise
    except SystemExit:
        _end_if_unwritable()
        raise


def _end_if_unwritable(attempt: str = "") -> None:
    """Write the rest of standard output, then `attempt`, and end with a sentence if that fails. Without one if nobody
    reads any more."""
    failure = _flush_output(attempt)
    if isinstance(failure, BrokenPipeError):
        sys.exit(UNREAD)
    if failure is not None:
        _end(f"timewarden: standard output cannot be written: {failure.strerror}")


def _flush_output(attempt: str = "") -> OSError | None:
    """Write the rest of standard output, then `attempt`. Returns why that fails."""
    # It is None if its descriptor was closed when the process began.
    if sys.stdout is None or sys.stdout.closed:
        return None
    try:
        if attempt:
            sys.stdout.write(attempt)
        sys.stdout.flush()
    except OSError as error:
        discard_output()
        return error
    except SystemExit:
        # Of CommandOutput.
        return BrokenPipeError()
    return None


def _end(sentence: str) -> NoReturn:
    # So that it does not fail at exit, with lines of its own.
    _flush_output()
    # If standard error cannot be written, the exit code still tells.
    with suppress(OSError):
        click.echo(sentence, err=True)
    sys.exit(ERROR)


if __name__ == "__main__":
    main()
