"""`timewarden up`: everything on this machine, for development: servers, sign-in, API, keeper and demo people."""

from __future__ import annotations

import asyncio

import rich_click as click


@click.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="The API's port; the next free one if taken. By default the last one, at first 8080.",
)
@click.option("--console/--no-console", default=True, help="Whether to start the console, the pages in a browser.")
def up(port: int | None, *, console: bool) -> None:
    """Start embedded servers, a development authorization server, the API, the keeper and the console, until Ctrl-C."""
    from service.development.up import run  # noqa: PLC0415 — starts nothing until asked to

    asyncio.run(run(port, console=console))
