"""`timewarden serve`: the API, in as many worker processes as asked. Everything durable is in Postgres."""

from __future__ import annotations

import asyncio
import socket
import sys

import rich_click as click
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from service import app
from service import settings as configuration
from service.audit.opening import check_role
from service.authorization import policy_check, policy_versions
from service.commands.policy_files import differ, other_files
from service.database import Database
from service.errors import Misconfigured, PolicyRejected, PolicyUnavailable
from service.log_lines import GRANIAN_LOGGING, configure_log_lines
from service.standard_error import guard_standard_error


@click.command()
def serve() -> None:
    """Serve the API on TIMEWARDEN_HOST and TIMEWARDEN_PORT with TIMEWARDEN_WORKERS processes."""
    guard_standard_error()
    settings = configuration.load()
    settings.need("database_url", "cursor_key", *settings.names_of_issuer())
    # Nothing connects yet: what cannot be wired is told once, here, and not by every worker again and again.
    app.build(settings)
    asyncio.run(look_at_database(settings))
    need_port(settings.host, settings.port)
    configure_log_lines(settings.log_level)
    Granian(
        "service.app:create",
        factory=True,
        interface=Interfaces.ASGI,
        address=settings.host,
        port=settings.port,
        workers=settings.workers,
        respawn_failed_workers=True,
        log_level=LogLevels.warning,
        log_dictconfig=GRANIAN_LOGGING,
        websockets=False,
        backlog=1024,
        workers_kill_timeout=10,
    ).serve()


def need_port(host: str, port: int) -> None:
    """Refuse a port on which somebody listens: two that serve there would share the requests, each with settings of
    its own. Raises Misconfigured."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        raise Misconfigured(f"Nobody can listen on {host}, port {port}: {error.strerror}") from error


async def look_at_database(settings: configuration.Settings) -> None:
    """Refuse a role that could rewrite the log and a policy that cannot be read, and tell of policy files that differ.
    Raises Misconfigured, PolicyUnavailable."""
    database = Database(settings.database_url, size=1, timeout=settings.database_timeout, name="start")
    await database.open()
    try:
        async with database.connection() as connection:
            await check_role(connection, "serve")
            # Which version is active.
            active = await connection.fetchval("SELECT active FROM policy_head")
            if active is None:
                raise PolicyUnavailable("No policy was ever activated: run `timewarden policy bootstrap`")
            text = await policy_versions.text_of(connection, active)
    finally:
        await database.close()
    try:
        policy_check.build(text, active)
    except PolicyRejected as error:
        reason = f"The active policy version {active} cannot be read by this version of the service"
        raise Misconfigured(f"{reason}: {error.complaints[0]}") from error
    if differ(settings.policies_directory, text.digest()):
        print(other_files(settings.policies_directory, active), file=sys.stderr)
