"""A streaming standby of an embedded Postgres: made by pg_basebackup, followed synchronously, promoted.

The standby is an embedded server of its own state directory, whose owner is the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from service.development.local_postgres import clean_environment, postgres_binaries, start_postgres
from service.development.processes import last_words, spawn
from service.development.server_directory import remember_port, secret
from service.development.server_user import account_for
from tests.until import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from service.development.local_servers import LocalPostgres


def copy_server(primary: LocalPostgres, state: Path) -> None:
    """Make the data directory of a standby of `primary` in another state directory."""
    copy_secret(primary, state)
    url = f"{primary.superuser_url}?application_name=standby"
    run_server_tool(state, "pg_basebackup", ["-D", "data", "-d", url, "-R", "-X", "stream", "-c", "fast", "--no-sync"])


def copy_secret(server: LocalPostgres, state: Path) -> None:
    """Give a state directory the superuser's password of `server`."""
    (state / "secrets").mkdir(parents=True, exist_ok=True, mode=0o700)
    (state / "secrets" / "postgres").write_text(secret(server.state, "postgres"))


def run_server_tool(state: Path, tool: str, arguments: Sequence[str]) -> None:
    """Run a program of Postgres in the server's folder, as the account that owns its data."""
    home = state / "postgres"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = state / "logs" / "tools.log"
    process = spawn(
        [str(postgres_binaries() / tool), *arguments],
        log=log,
        directory=home,
        environment=clean_environment(),
        account=account_for(home, postgres_binaries()),
    )
    assert process.wait(PATIENCE_SECONDS) == 0, last_words(log, 0)


def start_server(state: Path, port: int, settings: Mapping[str, str] | None = None) -> LocalPostgres:
    """Start the server of a state directory that was copied; no power cut is played."""
    remember_port(state, "postgres", port)
    return start_postgres(state, preferred_port=port, durable=False, settings=settings)


async def follow_synchronously(primary: LocalPostgres) -> None:
    """From now on a commit waits for a standby. Returns when one follows."""
    connection = await asyncpg.connect(primary.superuser_url)
    try:
        await connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'")
        await connection.execute("SELECT pg_reload_conf()")
        # Whether a standby follows that commits wait for.
        query = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'quorum')"
        await until(lambda: connection.fetchval(query))
    finally:
        await connection.close()


async def promote(standby: LocalPostgres) -> None:
    """Make the standby the primary. Returns when it takes writes."""
    connection = await asyncpg.connect(standby.superuser_url)
    try:
        assert await connection.fetchval("SELECT pg_promote(true, 30)")
    finally:
        await connection.close()
