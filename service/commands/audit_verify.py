"""`timewarden audit verify` and `verifier`: the standalone verifier, run here or written to one file to take away."""

from __future__ import annotations

import zipapp
from pathlib import Path

import rich_click as click

from service.standalone import verify as package
from service.standalone.verify.command import main

BESIDE = Path(package.__file__).parent


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def verify(arguments: tuple[str, ...]) -> None:
    """Run timewarden-verify with ARGUMENTS, for example `bundle march.jsonl --key VKEY`, or `--help`.

    Its exit codes are its own: 0 intact, 1 tampered, 2 incomplete, 3 untrusted, 4 usage.
    """
    main(list(arguments))


@click.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("timewarden-verify.pyz"),
    help="Where the file goes.",
)
def verifier(output: Path) -> None:
    """Write the verifier as one file, which runs wherever Python 3.11 and `cryptography` are: `python FILE --help`."""
    zipapp.create_archive(
        BESIDE.parent,
        output,
        main="verify.command:main",
        filter=lambda path: path.parts[0] == BESIDE.name and path.suffix == ".py",
    )
    print(f"{output}: run it with `python {output} --help`")
