"""A second server beside an embedded Postgres, made by the commands of docs/backup.md: a standby, or a restored backup.

It is an embedded server of a state directory of its own, and its owner is the caller.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from service.development.local_postgres import clean_environment, postgres_binaries, start_postgres
from service.development.processes import last_words, spawn
from service.development.server_directory import remember_port, secret
from service.development.server_user import account_for
from tests.until import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.development.local_servers import LocalPostgres

# Of the Postgres that tests share: services that tests of a file share keep their pools open beside those of the test.
# A standby of it needs as many.
MANY_CONNECTIONS = {"max_connections": "300"}
PAGE = (Path(__file__).parents[1] / "docs" / "backup.md").read_text(encoding="utf-8")


def commands(heading: str) -> list[str]:
    """The blocks of commands below a heading of the page."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def paste(block: str, server: LocalPostgres, state: Path, backup: Path | None = None) -> None:
    """Run a block of the page, with the superuser's URL of `server`, for the data directory of another state directory,
    as the account that owns it. `backup` stands for /backup."""
    home, log = state / "postgres", state / "logs" / "tools.log"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    (state / "secrets").mkdir(exist_ok=True, mode=0o700)
    (state / "secrets" / "postgres").write_text(secret(server.state, "postgres"))
    environment = clean_environment()
    # Without a flush to disk: no power cut is played.
    quick = block.replace("pg_basebackup ", "pg_basebackup --no-sync ")
    process = spawn(
        ["bash", "-e", "-c", quick.replace("/backup", str(backup))],
        log=log,
        directory=home,
        environment={
            **environment,
            "PATH": f"{postgres_binaries()}:{environment['PATH']}",
            "ADMIN": f"{server.superuser_url}?application_name=standby",
            "PGDATA": str(home / "data"),
        },
        account=account_for(home, postgres_binaries()),
    )
    assert process.wait(PATIENCE_SECONDS) == 0, f"{block}{last_words(log, 0)}"


def copy_server(primary: LocalPostgres, state: Path) -> None:
    """Make the data directory of a standby of `primary`."""
    paste(commands("Fail over")[0], primary, state)


def start_server(state: Path, port: int = 0, settings: Mapping[str, str] | None = None) -> LocalPostgres:
    """Start the server of a state directory, at this port if it is free."""
    if port:
        remember_port(state, "postgres", port)
    return start_postgres(state, preferred_port=port, settings=settings or {})


async def follow_synchronously(primary: LocalPostgres, state: Path) -> None:
    """From now on a commit waits for a standby. Returns when one follows."""
    paste(commands("Fail over")[1], primary, state)
    connection = await asyncpg.connect(primary.superuser_url)
    try:
        # Whether a standby follows that commits wait for.
        query = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'quorum')"
        await until(lambda: connection.fetchval(query))
    finally:
        await connection.close()


def promote(standby: LocalPostgres) -> None:
    """Make the standby the primary. Returns when it takes writes."""
    paste(commands("Fail over")[2], standby, standby.state)
