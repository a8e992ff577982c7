"""A database URL with several hosts: the one that takes writes is found, whatever the others do."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import asyncpg
import pytest

from service.connectivity import Hosts
from service.database import Database
from service.errors import DatabaseUnavailable
from service.migrations.run import migrate
from tests.ports import unused_port
from tests.standby import MANY_CONNECTIONS, copy_server, start_server

if TYPE_CHECKING:
    from pathlib import Path

    from service.development.local_servers import LocalPostgres

pytest_plugins = ["tests.integration.log_fixtures"]


def with_hosts(url: str, *ports: int) -> str:
    head, _, name = url.rpartition("/")
    return f"{head.rpartition('@')[0]}@{','.join(f'127.0.0.1:{port}' for port in ports)}/{name}"


async def test_a_silent_host_does_not_use_up_the_time_of_the_next(postgres: LocalPostgres) -> None:
    # The system accepts the connection, and nobody ever answers on it.
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        hosts = Hosts(with_hosts(postgres.superuser_url, silent.getsockname()[1], postgres.port))
        silent.setblocking(False)
        connection = await hosts.connect(timeout=4)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
        silent.accept()[0].close()
        # Now the host that answered is asked first, so nobody connects to the silent one again.
        again = await hosts.connect(timeout=30)
        await again.close()
        with pytest.raises(BlockingIOError):
            silent.accept()


async def test_a_standby_is_passed_over_and_refused_when_it_is_alone(postgres: LocalPostgres, tmp_path: Path) -> None:
    copy_server(postgres, tmp_path)
    with start_server(tmp_path, unused_port(), MANY_CONNECTIONS) as standby:
        database = Database(with_hosts(postgres.superuser_url, standby.port, postgres.port), size=2)
        await database.open()
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT NOT pg_is_in_recovery()")
        await database.close()

        only = Database(with_hosts(postgres.superuser_url, standby.port, unused_port()), size=2)
        with pytest.raises(DatabaseUnavailable, match="does not answer at any of 127"):
            await only.open()

        # For a reader that says so, a standby will do.
        reader = Hosts(with_hosts(postgres.superuser_url, standby.port, unused_port()) + "?target_session_attrs=any")
        connection = await reader.connect(timeout=30)
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connection.execute("CREATE TABLE anything ()")
        await connection.close()


async def test_a_database_of_several_hosts_is_migrated(postgres: LocalPostgres, unmigrated: str) -> None:
    url = with_hosts(unmigrated, unused_port(), postgres.port)
    assert await migrate(url, "0001")
