"""Statements of sealing, signing and serving use an index, however long the tables are."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from service.audit import published_log
from service.log import signing, tree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.log_database import LogDatabase

pytest_plugins = ["tests.integration.log_fixtures"]

# A long log: records, positions, tiles and checkpoints with arbitrary contents.
FILL = """
    SET session_replication_role = replica;
    INSERT INTO audit_record (uid, kind, body)
        SELECT gen_random_uuid(), 'system', convert_to('{"n":' || n || '}', 'UTF8') FROM generate_series(1, 40000) n;
    INSERT INTO audit_position SELECT id - 1, id FROM audit_record;
    INSERT INTO tile SELECT 0, n, 256, decode(repeat('00', 8192), 'hex') FROM generate_series(0, 20000) n;
    INSERT INTO checkpoint SELECT n, sha256(n::text::bytea), repeat('note ', 50) FROM generate_series(1, 40000) n;
    ANALYZE audit_record, audit_position, tile, checkpoint;
"""
LARGE = ("audit_record_0", "audit_position", "tile", "checkpoint")


@pytest.fixture
async def long_log(log_database: LogDatabase) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(log_database.postgres.superuser_database_url(log_database.name))
    await connection.execute(FILL)
    yield connection
    await connection.close()


async def test_no_statement_about_the_tree_scans_a_table(
    long_log: asyncpg.Connection[asyncpg.Record],
) -> None:
    asked: list[tuple[str, list[object]]] = [
        (tree.LEAVES, [39_000, 39_200]),
        (tree.TILES, [[0, 1, 2], [156, 0, 0]]),
        (tree.TILES, [[0, 0, 1], [100, 156, 0]]),
        (signing.HEAD, []),
        (published_log.NEWEST, []),
        (tree.HASHES, [0, 156, 8192]),
        (published_log.BODIES, [39_000, 39_256]),
        (published_log.POSITION, [uuid7()]),
    ]
    for statement, values in asked:
        plan = "\n".join(row[0] for row in await long_log.fetch(f"EXPLAIN {statement}", *values))
        assert not [table for table in LARGE if f"Seq Scan on {table} " in f"{plan} "], f"{statement}\n{plan}"
    # A heartbeat reads only the newest record, inside its function.
    before = await long_log.fetchval(
        "SELECT sum(seq_tup_read) FROM pg_stat_xact_user_tables WHERE relname = $1", LARGE[0]
    )
    async with long_log.transaction():
        assert not await long_log.fetchval("SELECT write_heartbeat($1, $2)", timedelta(hours=1), uuid7())
        after = await long_log.fetchval(
            "SELECT sum(seq_tup_read) FROM pg_stat_xact_user_tables WHERE relname = $1", LARGE[0]
        )
    assert (after or 0) - (before or 0) == 0
