"""`timewarden keep`: the sealer, the signer, the heartbeat, the relay of events, and replays; see `keeper`."""

from __future__ import annotations

import asyncio
import signal

import rich_click as click

from service import keeper
from service import settings as configuration
from service.log_lines import configure_log_lines
from service.standard_error import guard_standard_error


@click.command()
def keep() -> None:
    """Seal the log and publish events. Any number may run: one leads, the others wait."""
    guard_standard_error()
    asyncio.run(_run_until_signal())


async def _run_until_signal() -> None:
    settings = configuration.load()
    configure_log_lines(settings.log_level)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await keeper.keep(settings, stop)
