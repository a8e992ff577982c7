"""`timewarden demo`: the whole story over HTTP, with real tokens, against the running service. Development."""

from __future__ import annotations

import rich_click as click


@click.command()
def demo() -> None:
    """Play the story and print it."""
    raise click.ClickException("the story is being written")
