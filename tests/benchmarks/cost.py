"""What requests cost: processor time of a server and of Postgres, and statements. Owns nothing.

Processor time is that of whole process trees, so it holds the worker, its supervisor, and the backends of Postgres with
all that they leave to others.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.benchmarks.ground import Ground

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_STATEMENT = re.compile(rb" LOG:  (?:execute|statement|fastpath)")


def processor_seconds(pid: int) -> float:
    """The processor time of a process and of all its descendants, those that ended included."""
    children: dict[int, list[int]] = defaultdict(list)
    ticks: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_bytes().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        number = int(entry.parent.name)
        children[int(fields[1])].append(number)
        # utime, stime, and those of children that were waited for.
        ticks[number] = sum(map(int, fields[11:15]))
    found, waiting = 0, [pid]
    while waiting:
        number = waiting.pop()
        found += ticks.get(number, 0)
        waiting += children[number]
    return found / TICKS_PER_SECOND


async def count_statements(ground: Ground, work: Callable[[], Awaitable[int]]) -> float:
    """Statements that Postgres executes for each request; `work` sends requests and returns how many. BEGIN and COMMIT
    count, too."""
    # Settings of the whole server, in force in all sessions once they were read.
    await _set_log_statement(ground, "all")
    before = ground.postgres_log.stat().st_size
    try:
        requests = await work()
    finally:
        after = ground.postgres_log.stat().st_size
        await _set_log_statement(ground, "none")
    with ground.postgres_log.open("rb") as log:
        log.seek(before)
        return len(_STATEMENT.findall(log.read(after - before))) / requests


async def _set_log_statement(ground: Ground, value: str) -> None:
    superuser = await asyncpg.connect(ground.superuser_url)
    await superuser.execute(f"ALTER SYSTEM SET log_statement = '{value}'")
    await superuser.execute("SELECT pg_reload_conf()")
    await superuser.close()
    # A session reads it before its next statement.
    await asyncio.sleep(0.3)
