"""A tick of the keeper reads no more pages of a long log than of a short one, whichever tables have statistics."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import asyncpg
import pytest

from service.api_process import check_keeper
from service.database import Database
from service.ids import make_id
from service.log import epochs, feed, sealing
from service.log.keeper_status import BEHIND
from tests.integration.log_database import copy_database
from tests.integration.test_log_plans import blocks

if TYPE_CHECKING:
    from service.development.local_servers import LocalPostgres
    from tests.integration.log_database import LogDatabase

pytest_plugins = ["tests.integration.log_fixtures"]

# Sealed records `{first}` to `{last}` of a log in which each fiftieth is a change, and ten records behind them in
# another transaction.
SEALED = """
    SET session_replication_role = replica;
    INSERT INTO audit_record (uid, kind, body)
        SELECT gen_random_uuid(), CASE n % 50 WHEN 0 THEN 'change' ELSE 'decision' END,
               convert_to('{{"n":' || n || '}}', 'UTF8')
        FROM generate_series({first}, {last}) n;
    INSERT INTO audit_position SELECT row_number() OVER (ORDER BY id) - 1, id FROM audit_record
        ON CONFLICT DO NOTHING;
"""
UNSEALED = """
    INSERT INTO audit_record (uid, kind, body)
        SELECT gen_random_uuid(), 'decision', convert_to('{"n":' || n || '}', 'UTF8') FROM generate_series(1, 10) n
"""
SHORT, LONG = 1_000, 200_000
MAX_MORE_PAGES = 30


async def pages(connection: asyncpg.Connection[asyncpg.Record], size: int, analyzed: str) -> dict[str, int]:
    """How many pages each statement of a tick reads in a log of `size` records. When it had half of them, the tables
    `analyzed` were analyzed."""
    await connection.execute(epochs.OPEN, make_id())
    await connection.execute(SEALED.format(first=1, last=size // 2))
    if analyzed:
        await connection.execute(f"ANALYZE {analyzed}")
    await connection.execute(SEALED.format(first=size // 2 + 1, last=size))
    last_change = await connection.fetchval(
        "SELECT max(p.position) FROM audit_position p JOIN audit_record r ON r.id = p.record_id WHERE r.kind = 'change'"
    )
    bound = int(await connection.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"))
    await connection.execute(UNSEALED)
    statements: dict[str, tuple[str, list[int]]] = {
        "claim": (sealing.CLAIM, [bound, 20_000, 0]),
        "head": (feed.HEAD, [size - 2]),
        "changes": (feed.CHANGES, [size - 20, size - 1, 100]),
        "previous": (feed.PREVIOUS, [last_change, size]),
        "behind": (BEHIND, [-1]),
    }
    read = {}
    for name, (statement, values) in statements.items():
        plan = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *values))
        read[name] = blocks(plan[0]["Plan"])
    return read


@pytest.mark.parametrize("analyzed", ["", "audit_record", "audit_position", "audit_record, audit_position"])
async def test_a_tick_reads_as_few_pages_of_a_long_log_as_of_a_short_one(
    postgres: LocalPostgres,
    superuser: asyncpg.Connection[asyncpg.Record],
    log_template: str,
    analyzed: str,
) -> None:
    read = {}
    for size in (SHORT, LONG):
        async with copy_database(postgres, superuser, log_template) as database:
            connection = await asyncpg.connect(postgres.superuser_database_url(database.name))
            read[size] = await pages(connection, size, analyzed)
            await connection.close()
    assert {name for name, count in read[LONG].items() if count > read[SHORT][name] + MAX_MORE_PAGES} == set(), read


async def test_a_keeper_plans_its_statements_anew(log_database: LogDatabase) -> None:
    database = Database(log_database.url("keeper"), size=1, name="keeper", fresh_plans=True)
    await database.open()
    async with database.connection() as connection:
        assert await connection.fetchval("SHOW plan_cache_mode") == "force_custom_plan"
    await database.close()


async def test_a_readiness_check_plans_anew_how_far_the_log_is_behind(log_database: LogDatabase) -> None:
    """A plan that was made while the log was empty reads all of it: half a core for 200,000 records."""
    database = await log_database.open("app", size=1)
    async with database.connection() as connection:
        for _ in range(7):
            await check_keeper(connection)
        plans = await connection.fetchrow(
            "SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE statement = $1", BEHIND
        )
    assert plans is not None
    assert tuple(plans) == (7, 0)
