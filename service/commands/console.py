"""`timewarden console`: the pages in a browser, as a process of its own. It needs the extra `console`."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import httpx2
import rich_click as click

from events.stream import open_redis
from service import settings as configuration
from service.listeners import inherit, listen, serving
from service.log_lines import configure_log_lines
from service.standard_error import guard_standard_error

if TYPE_CHECKING:
    import socket

TIMEOUT_SECONDS = 10.0
REDIS_TIMEOUT_SECONDS = 2.0


@click.command()
@click.option("--fd", type=int, help="A listening socket that was inherited, instead of TIMEWARDEN_CONSOLE_ADDRESS.")
def console(*, fd: int | None) -> None:
    """Serve the console on TIMEWARDEN_CONSOLE_ADDRESS. Everything durable is in Redis; any number may run."""
    guard_standard_error()
    settings = configuration.load()
    settings.need("issuer", "audience", "public_url", "redis_url", "console_url", "console_client", "console_keys")
    host, port = configuration.split_address(settings.console_address)
    listener = inherit(fd) if fd is not None else listen(host, port, setting="TIMEWARDEN_CONSOLE_ADDRESS")
    configure_log_lines(settings.log_level)
    asyncio.run(_run_until_signal(settings, listener))


async def _run_until_signal(settings: configuration.Settings, listener: socket.socket) -> None:
    from service.console.application import connect, create  # noqa: PLC0415 — an extra

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    redis = open_redis(settings.redis_url, timeout=REDIS_TIMEOUT_SECONDS)
    # The proxy of the environment is for the internet, not for a development service on this machine.
    outside = settings.environment == "production"
    async with httpx2.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=outside, follow_redirects=False) as http:
        application = create(
            connect(
                url=settings.console_url,
                api=settings.public_url,
                issuer=settings.issuer,
                audience=settings.audience,
                audience_parameter=settings.console_audience_parameter.removesuffix("none"),
                client=settings.console_client,
                secret=settings.console_client_secret,
                scopes=settings.console_scopes.split(),
                keys=settings.split("console_keys"),
                redis=redis,
                http=http,
            )
        )
        async with serving(application, listener):
            await stop.wait()
    await redis.aclose()
