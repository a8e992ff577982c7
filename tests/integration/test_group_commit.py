"""Group commit and its failures, one test for each."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import asyncpg
import pytest

from service.errors import LogUnavailable
from service.log import group_commit, insert
from service.log.log import Log
from service.log.packing import unpack_with_leaf
from service.log.record import Kind, Record
from service.values import replace
from tests.integration.log_database import LogDatabase, decision
from tests.until import PATIENCE_SECONDS, lock_is_waited_for, until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.database import Database

pytest_plugins = ["tests.integration.log_fixtures"]
# Around the sizes from which batches are copied, without and with kept plans.
COPIED, PLANNED = insert.MIN_ROWS_FOR_COPY, insert.MIN_ROWS_FOR_COPY_IF_PLANNED
COUNTS = [1, 2, COPIED - 1, COPIED, PLANNED - 1, PLANNED, 200]

# Rows in id order, each with its transaction.
WRITTEN = "SELECT uid, xid::text AS xid FROM audit_record WHERE kind <> 'system' ORDER BY id"


class WatchedLog:
    """A log and its stored rows; `flusher` is the server process of its connection."""

    def __init__(
        self, log_database: LogDatabase, database: Database, auditor: asyncpg.Connection[asyncpg.Record]
    ) -> None:
        self.log_database = log_database
        self.auditor = auditor
        self.database = database
        self.log = Log(database)

    async def list_uids(self) -> list[UUID]:
        return [row["uid"] for row in await self.auditor.fetch(WRITTEN)]

    async def commits(self) -> list[int]:
        """How many records each commit carried, in the order of the records."""
        counted: dict[str, int] = {}
        for row in await self.auditor.fetch(WRITTEN):
            counted[row["xid"]] = counted.get(row["xid"], 0) + 1
        return list(counted.values())

    async def flusher(self) -> int:
        pid: int = await self.connection.fetchval("SELECT pg_backend_pid()")
        return pid

    async def end_flusher(self, killer: asyncpg.Connection[asyncpg.Record]) -> None:
        """End the connection that flushes, from outside, and wait until it is known to be closed."""
        connection = self.connection
        await killer.execute("SELECT pg_terminate_backend($1, 5000)", await self.flusher())

        async def is_closed() -> bool:
            return connection.is_closed()

        await until(is_closed)

    @property
    def connection(self) -> asyncpg.Connection[asyncpg.Record]:
        assert self.log._commits._connection is not None
        return self.log._commits._connection

    async def superuser(self) -> asyncpg.Connection[asyncpg.Record]:
        connection = await asyncpg.connect(self.log_database.postgres.superuser_database_url(self.log_database.name))
        self.log_database.stack.push_async_callback(connection.close)
        return connection


@pytest.fixture
async def watched_log(log_database: LogDatabase) -> WatchedLog:
    found = WatchedLog(log_database, await log_database.open("app"), await log_database.connect("auditor"))
    log_database.stack.push_async_callback(found.log.close)
    return found


async def append_each(log: Log, records: Sequence[Record]) -> list[str]:
    """Append each record by itself. Returns for each `kept`, or the cause of the refusal."""

    async def append(record: Record) -> str:
        try:
            await log.append([record])
        except LogUnavailable as error:
            return str(error.cause)
        return "kept"

    return list(await asyncio.gather(*(append(record) for record in records)))


def bad_record() -> Record:
    """A record that Postgres refuses."""
    made = decision()
    return replace(made, columns={**made.columns, "outcome": "perhaps"})


def unencodable_record() -> Record:
    """A record that asyncpg cannot encode."""
    made = decision()
    return replace(made, columns={**made.columns, "policy_version": "seven"})


async def block_writes(watched_log: WatchedLog) -> asyncpg.transaction.Transaction:
    """Block writes to the log until this transaction ends."""
    owner = await watched_log.log_database.connect("owner")
    transaction = owner.transaction()
    await transaction.start()
    await owner.execute("LOCK TABLE audit_record IN SHARE MODE")
    return transaction


@pytest.mark.parametrize("count", COUNTS)
async def test_concurrent_appends_share_one_commit_in_order(watched_log: WatchedLog, count: int) -> None:
    records = [decision(returned=[uuid4()], rules=["a", "b"]) for _ in range(count)]
    assert await append_each(watched_log.log, records) == ["kept"] * count
    assert await watched_log.list_uids() == [record.uid for record in records]
    assert await watched_log.commits() == [count]


@pytest.mark.parametrize("count", COUNTS)
async def test_a_commit_does_not_wait_for_long_work(
    watched_log: WatchedLog, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait() -> None:
        raise AssertionError("all appends would wait for a slice of the event loop")

    monkeypatch.setattr(insert, "slices", wait)
    assert await append_each(watched_log.log, [decision() for _ in range(count)]) == ["kept"] * count


async def test_a_copied_row_is_the_same_as_an_inserted_one(watched_log: WatchedLog) -> None:
    record = decision(
        decision=uuid4(),
        principal={"kind": "user", "person": uuid4(), "client": "web"},
        resource={"kind": "timesheet", "id": str(uuid4()), "owner": uuid4()},
        applied=True,
        reason="allowed",
        rules=["r-1"],
        policy={"version": 7},
        request={"id": str(uuid4())},
        returned=[uuid4(), uuid4()],
    )
    await watched_log.log.append([record])
    twins = [replace(record, uid=uuid4()) for _ in range(insert.MIN_ROWS_FOR_COPY_IF_PLANNED)]
    await watched_log.log.append(twins)
    # As through a pooler that forgets plans, and as without one.
    packing = await insert.load_packing(watched_log.connection)
    for keeps_plans in (False, True):
        more = [replace(record, uid=uuid4()) for _ in range(insert.MIN_ROWS_FOR_COPY)]
        await insert.commit_records(watched_log.connection, more, packing, keeps_plans=keeps_plans)
        twins += more
    columns = ", ".join(name for name in insert.RECORD if name != "uid")
    rows = await watched_log.auditor.fetch(f"SELECT {columns}, stored_hash FROM audit_record WHERE kind <> 'system'")
    assert len(rows) == 1 + len(twins)
    assert {tuple(row.values()).__repr__() for row in rows} == {tuple(rows[0].values()).__repr__()}
    stored = dict(rows[0])
    assert unpack_with_leaf(stored.pop("body"), stored.pop("stored_hash")) == (record.body, record.leaf)
    assert stored == {**record.columns, "kind": "decision"}


@pytest.mark.parametrize("column", ["id", "xid", "at"])
async def test_copy_cannot_set_columns_of_the_database(watched_log: WatchedLog, column: str) -> None:
    await watched_log.log.append([decision()])
    with pytest.raises(asyncpg.PostgresError) as refused:
        await watched_log.connection.copy_records_to_table(
            "audit_record", records=[(uuid4(), "decision", b"{}", None)], columns=["uid", "kind", "body", column]
        )
    assert refused.value.sqlstate in {"42501", "428C9", "23502"}
    assert len(await watched_log.list_uids()) == 1


async def test_records_appended_during_a_flush_are_the_next_batch(watched_log: WatchedLog) -> None:
    lock = await block_writes(watched_log)
    first = asyncio.create_task(watched_log.log.append([decision()]))
    await lock_is_waited_for(watched_log.auditor)
    rest = [asyncio.create_task(watched_log.log.append([decision(), decision()])) for _ in range(10)]
    await asyncio.sleep(0)
    assert watched_log.log.state().waiting == 20
    await lock.rollback()
    await asyncio.gather(first, *rest)
    assert await watched_log.commits() == [1, 20]


async def test_texts_are_committed_with_their_records(watched_log: WatchedLog) -> None:
    records = [
        Record.make(Kind.DECISION, {"decided_at": "2026-03-02T09:30:00.000000Z"}, {"reason": f"why {number}"})
        for number in range(20)
    ]
    assert await append_each(watched_log.log, records) == ["kept"] * 20
    assert await watched_log.commits() == [20]
    kept = await watched_log.auditor.fetch("SELECT record_uid, value FROM audit_text")
    assert {(row["record_uid"], row["value"]) for row in kept} == {
        (record.uid, record.texts[0].value) for record in records
    }


@pytest.mark.parametrize("make", [bad_record, unencodable_record])
async def test_a_bad_record_is_refused_and_the_next_is_stored(
    watched_log: WatchedLog, make: Callable[[], Record]
) -> None:
    assert (await append_each(watched_log.log, [make()]))[0].startswith("append: ")
    assert await append_each(watched_log.log, [decision()]) == ["kept"]
    assert len(await watched_log.list_uids()) == 1
    assert watched_log.log.state().failing is None


@pytest.mark.parametrize("make", [bad_record, unencodable_record])
@pytest.mark.parametrize("count", [5, 60])
async def test_bad_records_among_many_fail_alone(
    watched_log: WatchedLog, make: Callable[[], Record], count: int
) -> None:
    records = [decision() for _ in range(count)]
    for place in (0, 3, count - 1):
        records[place] = make()
    outcomes = await append_each(watched_log.log, records)
    assert [place for place, outcome in enumerate(outcomes) if outcome != "kept"] == [0, 3, count - 1]
    assert await watched_log.list_uids() == [
        record.uid for record, outcome in zip(records, outcomes, strict=True) if outcome == "kept"
    ]


async def test_a_bad_record_fails_only_its_own_append(watched_log: WatchedLog) -> None:
    before, after = decision(), decision()
    results = await asyncio.gather(
        watched_log.log.append([before]),
        watched_log.log.append([decision(), bad_record(), decision()]),
        watched_log.log.append([after]),
        return_exceptions=True,
    )
    assert [isinstance(result, LogUnavailable) for result in results] == [False, True, False]
    assert await watched_log.list_uids() == [before.uid, after.uid]


async def test_a_connection_killed_while_idle_is_replaced(watched_log: WatchedLog) -> None:
    await watched_log.log.append([decision()])
    killer = await watched_log.superuser()
    await watched_log.end_flusher(killer)
    assert await append_each(watched_log.log, [decision() for _ in range(20)]) == ["kept"] * 20


async def test_a_connection_killed_during_a_flush_fails_only_that_batch(watched_log: WatchedLog) -> None:
    assert await append_each(watched_log.log, [decision(), decision()]) == ["kept", "kept"]
    pid = await watched_log.flusher()
    lock = await block_writes(watched_log)
    first = [asyncio.create_task(watched_log.log.append([decision()])) for _ in range(3)]
    await lock_is_waited_for(watched_log.auditor)
    later = asyncio.create_task(watched_log.log.append([decision()]))
    await (await watched_log.superuser()).execute("SELECT pg_terminate_backend($1)", pid)
    lost = await asyncio.gather(*first, return_exceptions=True)
    assert [type(error) for error in lost] == [LogUnavailable] * 3
    state = watched_log.log.state()
    assert state.failing is not None
    assert state.age < 5
    await lock.rollback()
    receipts = await later
    assert (await watched_log.list_uids())[2:] == [receipts[0].uid]
    assert watched_log.log.state().failing is None


async def test_an_idle_append_commits_in_its_own_task(watched_log: WatchedLog) -> None:
    await watched_log.log.append([decision()])
    lock = await block_writes(watched_log)
    tasks = asyncio.all_tasks()
    alone = asyncio.create_task(watched_log.log.append([decision()]))
    await lock_is_waited_for(watched_log.auditor)
    assert asyncio.all_tasks() - tasks == {alone}
    await lock.rollback()
    await alone
    assert len(await watched_log.list_uids()) == 2


async def test_other_work_is_done_while_an_idle_append_waits_and_not_while_others_wait(watched_log: WatchedLog) -> None:
    await watched_log.log.append([decision()])
    lock = await block_writes(watched_log)
    done: list[str] = []
    appended = [
        asyncio.create_task(watched_log.log.append([decision()], meanwhile=partial(done.append, name)))
        for name in ("alone", "second")
    ]
    await lock_is_waited_for(watched_log.auditor)
    assert done == ["alone"]
    assert not appended[0].done()
    await lock.rollback()
    await asyncio.gather(*appended)
    assert done == ["alone"]


async def test_appends_during_an_idle_one_are_the_next_batch(watched_log: WatchedLog) -> None:
    await watched_log.log.append([decision()])
    lock = await block_writes(watched_log)
    appended = [asyncio.create_task(watched_log.log.append([decision()])) for _ in range(9)]
    await lock_is_waited_for(watched_log.auditor)
    await lock.rollback()
    await asyncio.gather(*appended)
    # The first of the next nine waits for the others, because the batch before carried several.
    await append_each(watched_log.log, [decision() for _ in range(9)])
    assert await watched_log.commits() == [1, 1, 8, 9]


async def test_a_cancelled_idle_append_does_not_stop_the_next(watched_log: WatchedLog) -> None:
    await watched_log.log.append([decision()])
    lock = await block_writes(watched_log)
    cancelled = asyncio.create_task(watched_log.log.append([decision()]))
    await lock_is_waited_for(watched_log.auditor)
    later = asyncio.create_task(watched_log.log.append([decision()]))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await lock.rollback()
    receipts = await later
    assert (await watched_log.list_uids())[-1] == receipts[0].uid
    assert watched_log.log.state().failing is None


async def test_a_connection_killed_during_an_idle_append_fails_it_alone(watched_log: WatchedLog) -> None:
    await watched_log.log.append([decision()])
    pid = await watched_log.flusher()
    lock = await block_writes(watched_log)
    lost = asyncio.create_task(watched_log.log.append([decision()]))
    await lock_is_waited_for(watched_log.auditor)
    later = asyncio.create_task(watched_log.log.append([decision()]))
    await (await watched_log.superuser()).execute("SELECT pg_terminate_backend($1)", pid)
    with pytest.raises(LogUnavailable):
        await lost
    await lock.rollback()
    receipts = await later
    assert (await watched_log.list_uids())[1:] == [receipts[0].uid]


async def test_a_slow_idle_append_is_given_up_in_time(watched_log: WatchedLog) -> None:
    # Enough to connect on a busy machine, twice.
    log = Log(watched_log.database, patience=3.0)
    await log.append([decision()])
    lock = await block_writes(watched_log)
    # The lock is held throughout, so only the timeout ends this.
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(LogUnavailable):
            await log.append([decision()])
    await lock.rollback()
    receipts = await log.append([decision()])
    assert receipts[0].uid in await watched_log.list_uids()
    await log.close()


async def test_closing_waits_for_an_idle_append(watched_log: WatchedLog) -> None:
    await watched_log.log.append([decision()])
    lock = await block_writes(watched_log)
    appended = asyncio.create_task(watched_log.log.append([decision()]))
    await lock_is_waited_for(watched_log.auditor)
    queued = asyncio.create_task(watched_log.log.append([decision()]))
    await asyncio.sleep(0)
    closing = asyncio.create_task(watched_log.log.close())
    await asyncio.sleep(0)
    await lock.rollback()
    await asyncio.gather(appended, queued, closing)
    assert len(await watched_log.list_uids()) == 3


async def test_a_connection_lost_after_the_commit_raises_although_records_are_stored(watched_log: WatchedLog) -> None:
    """The connection breaks after the server committed and before it replied."""
    await watched_log.log.append([decision()])
    owner = await watched_log.log_database.connect("owner")
    # A deferred trigger runs inside COMMIT; it waits for a lock, so that the connection can be cut in the middle.
    await owner.execute(
        "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NULL; END $$"
    )
    await owner.execute(
        "CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON audit_record_0 DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION linger()"
    )
    await owner.execute("SELECT pg_advisory_lock(77)")
    record = decision()
    doubted = asyncio.create_task(watched_log.log.append([record]))
    await lock_is_waited_for(watched_log.auditor)
    watched_log.connection.terminate()
    with pytest.raises(LogUnavailable):
        await doubted
    await owner.execute("SELECT pg_advisory_unlock(77)")
    assert await append_each(watched_log.log, [decision()]) == ["kept"]
    for _ in range(200):
        if record.uid in await watched_log.list_uids():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the server had committed it")


async def test_appends_fail_fast_without_a_database_and_recover(watched_log: WatchedLog) -> None:
    killer = await watched_log.superuser()
    await watched_log.log.append([decision()])
    await killer.execute("ALTER ROLE timewarden_app NOLOGIN")
    try:
        await watched_log.end_flusher(killer)
        outcome = await append_each(watched_log.log, [decision() for _ in range(5)])
        assert outcome == ["append: test-app: InvalidAuthorizationSpecificationError"] * 5
    finally:
        await killer.execute("ALTER ROLE timewarden_app LOGIN")
    assert await append_each(watched_log.log, [decision()]) == ["kept"]


async def test_a_full_inbox_refuses_at_once(watched_log: WatchedLog) -> None:
    log = Log(watched_log.database, inbox=10)
    lock = await block_writes(watched_log)
    flushed = asyncio.create_task(log.append([decision()]))
    await lock_is_waited_for(watched_log.auditor)
    held = [asyncio.create_task(log.append([decision()])) for _ in range(10)]
    await asyncio.sleep(0)
    with pytest.raises(LogUnavailable) as refused:
        await log.append([decision()])
    assert refused.value.cause == "append: the inbox is full"
    assert refused.value.retry_after >= 1
    await lock.rollback()
    await asyncio.gather(flushed, *held)
    assert len(await watched_log.list_uids()) == 11
    await log.append([decision() for _ in range(11)])
    await log.close()


async def test_many_bytes_fill_the_inbox_too(watched_log: WatchedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MAX_INBOX_BYTES", 1_000)
    record = decision(note="x" * 900)
    results = await asyncio.gather(*(watched_log.log.append([record]) for _ in range(3)), return_exceptions=True)
    assert [isinstance(result, LogUnavailable) for result in results] == [False, True, True]


async def test_a_slow_flush_is_given_up_in_time(watched_log: WatchedLog) -> None:
    log = Log(watched_log.database, patience=2.0)
    lock = await block_writes(watched_log)
    # The lock is held throughout, so only the timeout ends this.
    async with asyncio.timeout(PATIENCE_SECONDS):
        outcome = await append_each(log, [decision() for _ in range(3)])
    assert all(outcome != "kept" for outcome in outcome)
    await lock.rollback()
    await asyncio.sleep(0.2)
    assert await watched_log.list_uids() == []
    assert await append_each(log, [decision()]) == ["kept"]
    await log.close()


async def test_a_cancelled_waiter_does_not_stop_a_flush(watched_log: WatchedLog) -> None:
    lock = await block_writes(watched_log)
    records = [decision() for _ in range(3)]
    tasks = [asyncio.create_task(watched_log.log.append([record])) for record in records]
    await lock_is_waited_for(watched_log.auditor)
    queued = [asyncio.create_task(watched_log.log.append([decision()])) for _ in range(2)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    queued[0].cancel()
    await lock.rollback()
    results = await asyncio.gather(*tasks, *queued, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in results] == [False, True, False, True, False]
    assert len(await watched_log.list_uids()) == 5


async def test_records_of_one_append_stay_together_and_in_order_among_many(watched_log: WatchedLog) -> None:
    groups = [[decision() for _ in range(size % 5 + 1)] for size in range(60)]
    await asyncio.gather(*(watched_log.log.append(group) for group in groups))
    assert await watched_log.list_uids() == [record.uid for group in groups for record in group]


async def test_an_append_larger_than_a_batch_is_one_commit(watched_log: WatchedLog) -> None:
    records = [decision() for _ in range(group_commit.MAX_RECORDS_PER_BATCH + 500)]
    await asyncio.gather(
        watched_log.log.append([decision()]), watched_log.log.append(records), watched_log.log.append([decision()])
    )
    assert await watched_log.commits() == [1, len(records), 1]


async def test_closing_flushes_waiting_appends_and_refuses_new_ones(watched_log: WatchedLog) -> None:
    pending = asyncio.create_task(watched_log.log.append([decision()]))
    await asyncio.sleep(0)
    closing = asyncio.create_task(watched_log.log.close())
    await asyncio.sleep(0)
    with pytest.raises(LogUnavailable) as refused:
        await watched_log.log.append([decision()])
    assert refused.value.cause == "append: the log is closed"
    await closing
    await pending
    assert len(await watched_log.list_uids()) == 1


async def test_closing_waits_for_a_stuck_flush_only_for_its_patience(watched_log: WatchedLog) -> None:
    # Enough to connect on a busy machine, and to be seen waiting.
    log = Log(watched_log.database, patience=3.0)
    lock = await block_writes(watched_log)
    stuck = asyncio.create_task(log.append([decision()]))
    await lock_is_waited_for(watched_log.auditor)
    queued = asyncio.create_task(log.append([decision()]))
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await log.close()
    results = await asyncio.gather(stuck, queued, return_exceptions=True)
    assert [type(result) for result in results] == [LogUnavailable, LogUnavailable]
    await lock.rollback()
