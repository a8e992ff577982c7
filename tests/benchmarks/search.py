"""Times auditors' questions over a generated log of ten million: `python -m tests.benchmarks.search [RECORDS]`.

Figures only, no verdicts. First what the indexes of migration 0006 cost an insert, beside those of 0001 in one run;
then p50 and p99 of a page of 50 for each question, the first page and one from somewhere in the year, each time about
another person. It wants half an hour and some 16 GB of disk in the temporary directory for ten million records.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING

import asyncpg

import service.migrations
from service.audit.search import search_records
from service.development.local_servers import run_psql_script, start_postgres
from service.migrations.run import migrate
from tests.generated_log import PEOPLE, generate
from tests.integration.log_database import PASSWORDS
from tests.log_queries import JUNE, example_queries

if TYPE_CHECKING:
    from service.audit.search import Place
    from service.development.local_servers import LocalPostgres

# Of `make bench` only when it is named.
LONG = True
SAMPLES = 60
COMPARED = 200_000


def main() -> None:
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    with (
        tempfile.TemporaryDirectory() as folder,
        start_postgres(Path(folder), preferred_port=0, durable=False) as server,
    ):
        asyncio.run(measure(server, total))


async def measure(server: LocalPostgres, total: int) -> None:
    """Print all figures."""
    before = await prepare(server, "before", "0005")
    ground = await fill(before, COMPARED)
    await before.close()
    small = await prepare(server, "small", "head")
    whole = await fill(small, COMPARED)
    await small.close()
    print(f"inserting {COMPARED:,}: {ground:.1f} s with the indexes of 0001, {whole:.1f} s with those of 0006")
    connection = await prepare(server, "log", "head")
    print(f"{total:,} records in {await fill(connection, total):.0f} s", flush=True)
    size = await connection.fetchval(
        "SELECT pg_size_pretty(sum(pg_total_relation_size(relid))) || ', of which indexes '"
        " || pg_size_pretty(sum(pg_indexes_size(relid))) FROM pg_partition_tree('audit_record')"
    )
    print(size, flush=True)
    print(f"{'question':<42}{'first p50':>10}{'p99':>8}{'deep p50':>10}{'p99':>8}  ms")
    for place, asked in enumerate(example_queries()):
        first = await time_pages(connection, place, deep=False)
        deep = await time_pages(connection, place, deep=True)
        print(f"{asked.words:<42}{first[0]:>10.1f}{first[1]:>8.1f}{deep[0]:>10.1f}{deep[1]:>8.1f}", flush=True)
    await connection.close()


async def prepare(server: LocalPostgres, name: str, upto: str) -> asyncpg.Connection[asyncpg.Record]:
    """An owner's connection to a new database with the schema up to a step."""
    script = Path(service.migrations.__file__).parent / "roles.sql"
    environment = {f"TIMEWARDEN_{role.upper()}_PASSWORD": word for role, word in PASSWORDS.items()}
    run_psql_script(server.superuser_url, script, {**environment, "TIMEWARDEN_DATABASE": name})
    url = server.url("timewarden_owner", PASSWORDS["owner"], name)
    await migrate(url, upto)
    return await asyncpg.connect(url)


async def fill(connection: asyncpg.Connection[asyncpg.Record], total: int) -> float:
    """Generate; returns seconds."""
    started = time.perf_counter()
    await generate(connection, total)
    return time.perf_counter() - started


async def time_pages(connection: asyncpg.Connection[asyncpg.Record], place: int, *, deep: bool) -> tuple[float, float]:
    """p50 and p99 in milliseconds, as Postgres and one connection need them."""
    chance = random.Random(place)  # noqa: S311 - no secret
    taken = []
    for _ in range(SAMPLES):
        asked = example_queries(chance.randrange(PEOPLE))[place]
        somewhere: Place = ((JUNE - (JUNE - JUNE.replace(month=1)) * chance.random()).isoformat(), 0)
        started = time.perf_counter()
        await search_records(connection, asked.filters, kinds=asked.kinds, after=somewhere if deep else None, limit=50)
        taken.append((time.perf_counter() - started) * 1e3)
    cut = quantiles(taken, n=100)
    return cut[49], cut[98]


if __name__ == "__main__":
    main()
