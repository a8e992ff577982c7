"""Times appends to the log: `python -m tests.benchmarks.appends`. Figures only, no verdicts.

`single` inserts and commits each record by itself on a pool of eight connections, as a service without group commit
would; `group` is our log. Both take turns with the same records at each number of waiters; the figure is the median of
the rounds. CPU is that of this process.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

from service.database import Database
from service.log.insert import insert_records
from service.log.log import Log
from tests.benchmarks.ground import ground
from tests.integration.log_database import decision

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.log.record import Record

ROUNDS = 5
SECONDS = 0.6


async def main() -> None:
    async with ground() as stores:
        database = Database(stores.app_url, size=8)
        await database.open()
        log = Log(database)

        async def single(record: Record) -> None:
            async with database.connection() as connection:
                await insert_records(connection, [record])

        async def group(record: Record) -> None:
            await log.append([record])

        print("waiters  single/s   group/s   ratio   single us CPU   group us CPU   records a commit")
        for waiters in (1, 8, 32, 64):
            figures: dict[str, list[tuple[float, float]]] = {"single": [], "group": []}
            carried = []
            for _ in range(ROUNDS):
                figures["single"].append(await time_appends(single, waiters))
                before = await commits(database)
                figures["group"].append(await time_appends(group, waiters))
                after = await commits(database)
                carried.append((after[0] - before[0]) / max(1, after[1] - before[1]))
            rate = {name: statistics.median(pair[0] for pair in found) for name, found in figures.items()}
            cpu = {name: statistics.median(pair[1] for pair in found) * 1e6 for name, found in figures.items()}
            print(
                f"{waiters:>7} {rate['single']:>9.0f} {rate['group']:>9.0f} {rate['group'] / rate['single']:>7.2f}"
                f" {cpu['single']:>15.0f} {cpu['group']:>14.0f} {statistics.median(carried):>18.1f}"
            )
        await log.close()
        await database.close()


async def time_appends(work: Callable[[Record], Awaitable[None]], waiters: int) -> tuple[float, float]:
    """Appends a second by so many waiters, each with the next as soon as it was answered, and CPU seconds of one."""
    made = [decision(reason="allowed", returned=[]) for _ in range(200)]
    done = 0
    until = time.perf_counter() + SECONDS

    async def waiter() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await work(made[done % len(made)])
            done += 1

    started, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(waiter() for _ in range(waiters)))
    return done / (time.perf_counter() - started), (time.process_time() - used) / done


async def commits(database: Database) -> tuple[int, int]:
    """Records, and transactions that wrote them."""
    async with database.connection() as connection:
        row = await connection.fetchrow("SELECT count(*) AS records, count(DISTINCT xid) AS commits FROM audit_record")
    assert row is not None
    return row["records"], row["commits"]


if __name__ == "__main__":
    asyncio.run(main())
