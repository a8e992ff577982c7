"""`timewarden serve`: the API with its worker processes. Everything durable is in Postgres."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import rich_click as click
import structlog

from service import app
from service import settings as configuration
from service.administration.checks import examination
from service.authorization.active.versions import load_texts
from service.commands.policy_files import describe_absence, describe_difference, files_differ, is_named_in_vain
from service.database import Database
from service.errors import Misconfigured, PolicyRejected, PolicyUnavailable
from service.listeners import inherit, listen
from service.log.roles import check_role, check_server
from service.log_lines import configure_log_lines
from service.standard_error import guard_standard_error
from service.supervisor import Supervisor

if TYPE_CHECKING:
    import socket

# Files of a process beside the connections of its clients: databases, Redis, issuers, and what Python has open.
OTHER_FILES: Final = 256


@click.command()
@click.option("--fd", type=int, help="A listening socket that was inherited, instead of TIMEWARDEN_HOST and _PORT.")
@click.option("--management-fd", type=int, help="The same, instead of TIMEWARDEN_MANAGEMENT_ADDRESS.")
def serve(*, fd: int | None, management_fd: int | None) -> None:
    """Serve the API on TIMEWARDEN_HOST and TIMEWARDEN_PORT with TIMEWARDEN_WORKERS processes."""
    guard_standard_error()
    settings = configuration.load()
    settings.need("database_url", "cursor_key", *settings.names_of_issuer())
    # Nothing connects yet. A wrong setting is reported once, here, instead of by every worker.
    app.wire(settings)
    listener = (
        inherit(fd)
        if fd is not None
        else listen(settings.host, settings.port, setting="TIMEWARDEN_HOST or TIMEWARDEN_PORT")
    )
    management = (
        inherit(management_fd)
        if management_fd is not None
        else listen(*settings.management(), setting="TIMEWARDEN_MANAGEMENT_ADDRESS")
    )
    configure_log_lines(settings.log_level)
    asyncio.run(_run_until_signal(settings, listener, management, inherited=fd is not None))


async def _run_until_signal(
    settings: configuration.Settings, listener: socket.socket, management: socket.socket, *, inherited: bool
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    supervisor = Supervisor(
        listener,
        inherited=inherited,
        workers=settings.workers,
        bounds=(str(allowed_connections(settings.connections)), str(settings.idle_timeout)),
        check=partial(look_at_database, settings),
        instance=settings.instance,
    )
    await supervisor.run(management, stop)


def allowed_connections(wanted: int) -> int:
    """The connections of a worker: as many as wanted, or, with a warning, as many as the limit of open files allows.
    Granian raises the soft limit to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + OTHER_FILES
    if hard == resource.RLIM_INFINITY or hard >= needed:
        return wanted
    allowed = max(hard - OTHER_FILES, hard // 2)
    structlog.get_logger(__name__).warning("too_few_open_files", limit=hard, needed=needed, connections=allowed)
    return allowed


async def look_at_database(settings: configuration.Settings) -> None:
    """Check the database role and the active policy, and warn of policy files that differ.

    Raises Misconfigured for a server that only looks like Postgres, for a role that could rewrite the log and for a
    policy that this release cannot read, and PolicyUnavailable."""
    database = Database(settings.database_url, size=1, timeout=settings.database_timeout, name="start")
    await database.open()
    try:
        await check_server(database)
        async with database.connection() as connection:
            await check_role(connection, "serve")
            # Which version is active.
            active = await connection.fetchval("SELECT active FROM policy_head")
            if active is None:
                raise PolicyUnavailable("No policy was ever activated: run `timewarden policy bootstrap` as the owner")
            text = await load_texts(connection, active)
    finally:
        await database.close()
    try:
        examination.build(text, active)
    except PolicyRejected as error:
        reason = f"The active policy version {active} cannot be read by this release: {error.complaints[0]}"
        raise Misconfigured(
            f"{reason}. Start the release that activated it, activate a version that both releases can read, and then"
            " start this release"
        ) from error
    files = settings.policies_directory
    if is_named_in_vain(settings):
        print(f"{describe_absence(files)}: correct TIMEWARDEN_POLICIES_DIRECTORY, or leave it out", file=sys.stderr)
    elif files_differ(files, text.digest()):
        print(describe_difference(files, active), file=sys.stderr)
