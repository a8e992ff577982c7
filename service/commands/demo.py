"""`timewarden demo`: the whole story over HTTP, with real tokens, against the running service. Development."""

from __future__ import annotations

import asyncio
import sys

import rich_click as click

from service.commands.running import state_directory


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document at the end.")
def demo(*, as_json: bool) -> None:
    """Play the story and print it; start the service first if it does not run. Exit with 1 if a step goes otherwise."""
    from service.development.demo.cast import DemoFailed  # noqa: PLC0415
    from service.development.demo.service_for_story import running_service  # noqa: PLC0415 — only when it is played
    from service.development.demo.story import play  # noqa: PLC0415
    from service.development.demo.transcript import Transcript  # noqa: PLC0415

    with running_service() as house:
        try:
            asyncio.run(play(house, state_directory(), Transcript(as_json=as_json)))
        except DemoFailed as error:
            sys.exit(f"timewarden: {error.public}")
    sys.stdout.flush()
