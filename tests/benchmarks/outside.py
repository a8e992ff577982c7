"""What a standby takes off the primary, and what archiving costs: `python -m tests.benchmarks.outside`.

Figures only, no verdicts. The generated log has 300,000 records; both servers are embedded ones on this machine.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from service.audit.sealed_rows import sealed_rows
from service.audit.search import search_records
from service.database import Database, ReadReplica
from service.development.local_servers import free_port, start_postgres
from service.log.anchor import Anchor
from service.log.archive import ArchiveFolder, Archiver
from service.log.checkpoint import Signer
from service.log.epochs import open_log
from service.log.sealing import Sealer
from service.log.signing import CheckpointSigner
from service.standalone.verify.findings import Report
from service.standalone.verify.live import LiveLog
from service.standalone.verify.notes import read_keys
from tests.benchmarks.cost import processor_seconds
from tests.benchmarks.search import fill, prepare
from tests.generated_log import PEOPLE
from tests.integration.log_database import PASSWORDS
from tests.log_queries import example_queries
from tests.standby import copy_server, start_server
from tests.until import until

if TYPE_CHECKING:
    from service.development.local_servers import LocalPostgres

ORIGIN = "bench.example/log"
SIGNER = Signer(ORIGIN, b"b" * 32)
SEARCHES = 100
# "everything, newest first", "every access to a sheet" and "the history of a sheet".
QUERIES = (0, 1, 3)


async def main(records: int = 300_000) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with start_postgres(folder / "primary", preferred_port=0, durable=False) as primary:
            owner = await prepare(primary, "log", "head")
            await open_log(owner)
            await fill(owner, records)
            await owner.execute("ANALYZE")
            await owner.close()
            await measure_archive(primary, folder)
            copy_server(primary, folder / "standby")
            with start_server(folder / "standby", free_port(0)) as standby:
                await measure_standby(primary, standby)


async def measure_archive(primary: LocalPostgres, folder: Path) -> None:
    keeper = Database(primary.url("timewarden_keeper", PASSWORDS["keeper"], "log"), size=3, timeout=60, name="bench")
    await keeper.open()
    while await Sealer(keeper).seal():
        pass
    await CheckpointSigner(keeper, [SIGNER], Anchor(folder / "anchor")).sign()
    archive = folder / "archive"
    before, started, count = (time.process_time(), processor_seconds(primary.pid)), time.perf_counter(), 0
    archiver = Archiver(keeper, ArchiveFolder(archive), ORIGIN)
    while archived := await archiver.archive():
        count = archived.size
    spent = (time.process_time() - before[0], processor_seconds(primary.pid) - before[1])
    size = sum(file.stat().st_size for file in archive.rglob("*") if file.is_file())
    passed = time.perf_counter() - started
    await keeper.close()
    microseconds = " + ".join(f"{seconds / count * 1e6:.0f}" for seconds in spent)
    print(
        f"archived {count / passed:,.0f} records/s, {microseconds} µs of keeper and Postgres, {size / count:,.0f} bytes"
    )
    started, report = time.perf_counter(), Report(quiet=True)
    log = LiveLog(str(archive), read_keys([SIGNER.verifier.vkey]), report)
    found = sum(1 for _ in log.read_records())
    print(
        f"verified {found / (time.perf_counter() - started):,.0f} records/s from files; {len(report.findings)} findings"
    )


async def measure_standby(primary: LocalPostgres, standby: LocalPostgres) -> None:
    url = primary.url("timewarden_app", PASSWORDS["app"], "log")
    direct = Database(url, size=2, timeout=60)
    await direct.open()
    replica = ReadReplica(
        url.replace(f":{primary.port}/", f":{standby.port}/"), direct, size=2, timeout=60, lock_timeout=3
    )
    watching = asyncio.create_task(replica.watch())

    async def usable() -> bool:
        return replica.problem is None

    await until(usable)
    for name, database in (("the primary", direct), ("a standby", replica)):
        await search(database, 5)
        for what, work in (("a search", search), ("an export, a batch of 256", export)):
            before, started = (processor_seconds(primary.pid), processor_seconds(standby.pid)), time.perf_counter()
            done = await work(database, SEARCHES)
            passed = (time.perf_counter() - started) / done * 1e3
            spent = [
                (processor_seconds(server.pid) - earlier) / done * 1e6
                for server, earlier in zip((primary, standby), before, strict=True)
            ]
            print(
                f"{what} on {name}: {passed:.1f} ms, {spent[0]:,.0f} µs of the primary, {spent[1]:,.0f} of the standby"
            )
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await replica.close()
    await direct.close()


async def search(database: Database, count: int) -> int:
    """Some pages of 50 of several queries, each of them on a connection of its own."""
    chance = random.Random(count)  # noqa: S311 - no secret
    for number in range(count):
        asked = example_queries(chance.randrange(PEOPLE))[QUERIES[number % len(QUERIES)]]
        async with database.connection() as connection:
            await search_records(connection, asked.filters, kinds=asked.kinds, limit=50)
    return count


async def export(database: Database, count: int) -> int:
    """Some batches of an export."""
    async for _ in sealed_rows(database, 0, count * 256, texts=True):
        pass
    return count


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 300_000))
