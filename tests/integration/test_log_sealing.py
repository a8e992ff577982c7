"""Sealing: every committed record gets one position, without gaps, even if processes are killed meanwhile."""

from __future__ import annotations

import asyncio
import random
import sys
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from service.database import Database
from service.log import sealing
from service.log.feed import ChangeFeed
from service.log.keeper_status import KeeperStatus, read_status
from service.log.log import Log
from service.log.record import read_body
from service.log.sealing import Sealer
from tests.integration.log_database import SHEET, LogDatabase, change, decision
from tests.integration.log_trees import as_superuser
from tests.until import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg

    from service.database import Connection

pytest_plugins = ["tests.integration.log_fixtures"]

# Every committed record with its position, in order.
SEALED = "SELECT p.position, r.id, r.uid, r.body FROM audit_record r LEFT JOIN audit_position p ON p.record_id = r.id"

SEALER_PROCESS = """
import asyncio, sys
from service.log.sealing import Sealer
from service.database import Database

async def main():
    database = Database(sys.argv[1], size=2, name="killed")
    await database.open()
    print("ready", flush=True)
    await Sealer(database, batch=7).run(asyncio.Event(), 0.001)

asyncio.run(main())
"""


async def assert_whole(log_database: LogDatabase) -> int:
    """Check that all committed records are sealed, gapless from 0, and counted in log_head. Returns how many there
    are."""
    auditor = await log_database.connect("auditor")
    rows = await auditor.fetch(SEALED)
    assert sorted(row["position"] for row in rows) == list(range(len(rows)))
    assert await auditor.fetchval("SELECT size FROM log_head") == len(rows)
    assert await auditor.fetchval("SELECT count(*) FROM audit_position") == len(rows)
    return len(rows)


async def seal_all(sealer: Sealer) -> None:
    while await sealer.seal():
        pass


async def test_the_opening_record_gets_position_0(log_database: LogDatabase) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    await Log(app).append([decision()])
    assert await Sealer(keeper).seal() == 2
    async with keeper.connection() as connection:
        row = await connection.fetchrow(f"{SEALED} WHERE p.position = 0")
    assert row is not None
    assert read_body(row["body"])["event"] == "log.opened"


async def test_records_left_by_a_step_are_sealed_by_the_next(log_database: LogDatabase) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    for _ in range(9):
        await Log(app).append([decision()])
    sealer = Sealer(keeper)
    assert [await sealer.seal(4) for _ in range(4)] == [4, 4, 2, 0]
    assert await assert_whole(log_database) == 10


async def test_an_open_transaction_is_sealed_after_commit_and_blocks_nothing(log_database: LogDatabase) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    log, sealer = Log(app), Sealer(keeper)
    async with app.transaction() as slow:
        await log.append([decision(reason="slow")], slow)
        for _ in range(3):
            await log.append([decision()])
        assert await sealer.seal() == 4
        assert await sealer.seal() == 0
    assert await sealer.seal() == 1
    assert await assert_whole(log_database) == 5


async def test_changes_of_a_sheet_keep_their_order(log_database: LogDatabase) -> None:
    """A gets its xid first, by another row; B changes the sheet and commits; then A changes it: 8 to 9, 9 to 10."""
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    log, sealer = Log(app), Sealer(keeper)
    async with app.transaction() as first:
        await first.execute("SELECT pg_current_xact_id()")
        async with app.transaction() as second:
            await log.append([change(version=9)], second)
        await log.append([change(version=10)], first)
    await seal_all(sealer)
    assert await versions(keeper, SHEET) == [9, 10]


async def test_concurrent_writers_and_sealers_leave_no_gap_no_duplicate_and_no_inversion(
    log_database: LogDatabase,
) -> None:
    app, keeper = await log_database.open("app", size=10), await log_database.open("keeper", size=4)
    log, stop = Log(app), asyncio.Event()
    sheets = [uuid4() for _ in range(3)]
    await make_counters(log_database, sheets)
    sealers = [asyncio.create_task(Sealer(keeper, batch=11).run(stop, 0.002)) for _ in range(2)]
    written = await asyncio.gather(*(write(app, log, sheets, n) for n in range(8)))
    acknowledged = [uid for uids in written for uid in uids]
    stop.set()
    await asyncio.gather(*sealers)
    await seal_all(Sealer(keeper))
    await assert_whole(log_database)
    await assert_nothing_lost(log_database, keeper, acknowledged, sheets)


async def test_killed_sealers_leave_the_log_complete(log_database: LogDatabase) -> None:
    app, keeper = await log_database.open("app", size=6), await log_database.open("keeper")
    log, sheets = Log(app), [uuid4()]
    await make_counters(log_database, sheets)
    writers = [asyncio.create_task(write(app, log, sheets, n, rounds=40)) for n in range(4)]
    for pause in (0.0, 0.02, 0.1, 0.3):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SEALER_PROCESS, log_database.url("keeper"), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        await asyncio.sleep(pause)
        process.kill()
        await process.wait()
    acknowledged = [uid for uids in await asyncio.gather(*writers) for uid in uids]
    await seal_all(Sealer(keeper))
    await assert_whole(log_database)
    await assert_nothing_lost(log_database, keeper, acknowledged, sheets)


async def test_the_feed_finds_the_previous_change_across_many_decisions(log_database: LogDatabase) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    log, feed = Log(app), ChangeFeed(keeper)
    await log.append([change(version=1), *(decision() for _ in range(20)), change(version=2), decision()])
    await seal_all(Sealer(keeper))
    first, second = await feed.read_changes(-1, 10)
    assert (first.position, first.previous, second.position, second.previous) == (1, None, 22, 1)
    assert await feed.read_changes(22, 10) == await feed.read_changes(22, 10) == []
    await log.append([decision(), change(version=3)])
    await seal_all(Sealer(keeper))
    (third,) = await feed.read_changes(22, 10)
    assert (third.position, third.previous) == (25, 22)
    assert await feed.read_change(22) == replace(second, previous=None)
    assert (await feed.read_change(23), await feed.read_change(99)) == (None, None)
    assert (await feed.head()).size == 26
    assert [change.position for change in await feed.read_changes(-1, 2)] == [1, 22]


async def test_a_backlog_beyond_the_statement_timeout_is_sealed(
    log_database: LogDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Log(await log_database.open("app")).append([decision() for _ in range(9)])
    # As slow as with millions of unsealed records.
    monkeypatch.setattr(sealing, "CLAIM", sealing.CLAIM + ", pg_sleep(1.5)")
    hurried = Database(log_database.url("keeper"), size=2, timeout=1.0, name="hurried")
    await hurried.open()
    stop = asyncio.Event()
    running = asyncio.create_task(Sealer(hurried, batch=5, longest_pause=0.01).run(stop, 0.001))
    auditor = await log_database.connect("auditor")

    async def all_sealed() -> bool:
        return bool(await auditor.fetchval("SELECT size FROM log_head") == 10)

    await until(all_sealed)
    stop.set()
    await running
    await hurried.close()
    assert await assert_whole(log_database) == 10


async def test_the_sealer_reports_its_status(log_database: LogDatabase) -> None:
    keeper = await log_database.open("keeper")
    stop = asyncio.Event()
    running = asyncio.create_task(Sealer(keeper).run(stop, 0.01))
    await KeeperStatus(keeper, "relay").report(False, "Redis is away")
    app = await log_database.open("app")

    async def both_said() -> dict[str, tuple[bool, str]] | None:
        async with app.connection() as connection:
            said = {status.part: (status.ready, status.detail) for status in await read_status(connection)}
        return said if len(said) > 1 else None

    status = await until(both_said)
    stop.set()
    await running
    assert status == {"sealer": (True, "sealing"), "relay": (False, "Redis is away")}


async def test_a_new_record_is_sealed_long_before_the_next_interval(log_database: LogDatabase) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    # The opening record.
    assert await Sealer(keeper).seal() == 1
    stop, sealed = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(Sealer(keeper, sealed=sealed).run(stop, 3_600))
    log = Log(app)
    for _ in range(3):
        await log.append([decision()])
        await asyncio.wait_for(sealed.wait(), PATIENCE_SECONDS)
        sealed.clear()
    stop.set()
    await running
    assert await assert_whole(log_database) == 4


@pytest.mark.parametrize(
    ("cluster", "bound", "batch"),
    [("cluster", 1_000_000, 20_000), ("1", 1_000_000, 4), ("1", 3, 3), ("NULL", 3, 20_000)],
)
async def test_a_dump_restored_into_another_cluster_is_sealed(
    log_database: LogDatabase, cluster: str, bound: int, batch: int
) -> None:
    """There, new transactions have smaller ids than those that are stored."""
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    log, sealer = Log(app), Sealer(keeper, batch=batch)
    await log.append([decision() for _ in range(5)])
    await seal_all(sealer)
    await log.append([decision() for _ in range(5)])
    last = await (await log_database.connect("auditor")).fetchval("SELECT max(id) FROM audit_record")
    await as_superuser(
        log_database,
        f"UPDATE audit_record SET xid = (id + {bound})::text::xid8",
        f"UPDATE log_head SET cluster = {cluster}, low_xid = '{bound}'",
    )
    for _ in range(3):
        await log.append([decision() for _ in range(3)])
        await seal_all(sealer)
    assert await assert_whole(log_database) == 20
    head = await (await log_database.connect("auditor")).fetchrow(
        "SELECT low_xid::text::bigint AS low, cluster, settled FROM log_head"
    )
    assert head is not None
    # From now on only new records are scanned.
    assert head["settled"] == (last + 1 if bound > 3 else 0)
    assert head["low"] < 1_000_000
    assert head["cluster"] == await (await log_database.connect("owner")).fetchval("SELECT this_cluster()")


async def make_counters(log_database: LogDatabase, sheets: list[UUID]) -> None:
    """A row to lock for each sheet, like real sheets."""
    owner = await log_database.connect("owner")
    await owner.execute("CREATE TABLE counter (sheet uuid PRIMARY KEY, version integer NOT NULL)")
    await owner.execute("GRANT SELECT, UPDATE ON counter TO timewarden_app")
    await owner.executemany("INSERT INTO counter VALUES ($1, 0)", [(sheet,) for sheet in sheets])


async def write(app: Database, log: Log, sheets: list[UUID], seed: int, rounds: int = 25) -> list[UUID]:
    """Write reads, denials, changes, rollbacks and stalls in random order. Returns the acknowledged uids."""
    chance = random.Random(seed)  # noqa: S311 - the same mixture every time
    acknowledged = []
    for _ in range(rounds):
        if chance.random() < 0.4:
            acknowledged += [item.uid for item in await log.append([decision()])]
            continue
        receipts = []
        try:
            async with app.transaction() as connection:
                await connection.execute("SELECT pg_current_xact_id()")
                await asyncio.sleep(chance.random() * 0.01)
                version = await count(connection, chance.choice(sheets))
                receipts = await log.append([decision(), change(*version)], connection)
                await asyncio.sleep(chance.random() * 0.01)
                if chance.random() < 0.2:
                    raise asyncio.InvalidStateError
        except asyncio.InvalidStateError:
            continue
        acknowledged += [receipt.uid for receipt in receipts]
    return acknowledged


async def count(connection: Connection, sheet: UUID) -> tuple[UUID, int]:
    version = await connection.fetchval(
        "UPDATE counter SET version = version + 1 WHERE sheet = $1 RETURNING version", sheet
    )
    return sheet, int(version)


async def versions(database: Database, sheet: UUID) -> list[int]:
    """The versions of a sheet in the order of the sealed log."""
    found: list[int] = []
    for published in await ChangeFeed(database).read_changes(-1, 10_000):
        resource = published.data["resource"]
        assert isinstance(resource, dict)
        if published.subject == str(sheet):
            found.append(resource["version"])
    return found


async def assert_nothing_lost(
    log_database: LogDatabase, keeper: Database, acknowledged: list[UUID], sheets: list[UUID]
) -> None:
    auditor: asyncpg.Connection[asyncpg.Record] = await log_database.connect("auditor")
    sealed = {row["uid"] for row in await auditor.fetch(f"{SEALED} WHERE p.position IS NOT NULL")}
    assert set(acknowledged) <= sealed
    for sheet in sheets:
        held = await versions(keeper, sheet)
        assert held == list(range(1, len(held) + 1))
        assert held
