"""`timewarden audit key`: make the key that signs checkpoints, and show its public half to auditors."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from service import settings as configuration
from service.commands.running import DEVELOPMENT_KEY, state_directory
from service.errors import Misconfigured
from service.log.key_files import make_key, read_key
from service.settings import variable

files = click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False))


@click.group()
def key() -> None:
    """The key that signs checkpoints of the log."""


@key.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--origin", help=f"The log's name; default: {variable('log_origin')}.")
@click.option("--unless-there", is_flag=True, help="If FILE exists, only print its public line.")
def new(file: Path, origin: str | None, *, unless_there: bool) -> None:
    """Create a key in FILE, which must not exist, and print the public line for auditors."""
    if unless_there and file.exists():
        print(read_key(file).verifier.vkey)
        return
    origin = origin or configuration.load().log_origin
    if not origin:
        raise Misconfigured(f"Name the log: --origin or {variable('log_origin')}")
    print(make_key(file, origin).verifier.vkey)


@key.command()
@files
def show(files: tuple[Path, ...]) -> None:
    """Print the public line of each key in FILES, for auditors. The default is TIMEWARDEN_LOG_KEY_FILE, or the key of
    `make run`."""
    named = files or tuple(Path(path) for path in configuration.load().split("log_key_file"))
    ours = state_directory() / DEVELOPMENT_KEY
    if not named and ours.is_file():
        named = (ours,)
    if not named:
        raise Misconfigured(f"Name a key file, or set {variable('log_key_file')}")
    for file in named:
        print(read_key(file).verifier.vkey)
