"""Paging over many partitions gives the same records in the same order as over one, and reads few partitions."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest

from service.audit.search import NewestRecords, page_statement, search_records
from service.audit.summary import summarize_decisions
from service.database import Database, ReservedConnection
from service.errors import QueryTooBroad
from service.log.log import Log
from service.log.partitions import add_partition
from service.log.record_query import RecordFilters
from service.log.windows import find_windows
from tests.integration.log_database import decision

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg

    from service.log.record import Record
    from tests.integration.log_database import LogDatabase

pytest_plugins = ["tests.integration.log_fixtures"]
JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
MONTHS, EACH = 7, 12


async def half_a_year(log_database: LogDatabase) -> list[Record]:
    """Records of seven months. Around each cut some were decided before records of an older partition."""
    chance = Random(5)  # noqa: S311 - no secret
    log, owner = Log(await log_database.open("app")), await log_database.connect("owner")
    made = []
    for month in range(MONTHS):
        moments = [JANUARY + timedelta(days=30 * month, hours=chance.randrange(-100, 800)) for _ in range(EACH)]
        batch = [decision(decided_at=moment, action="read" if n % 5 else "approve") for n, moment in enumerate(moments)]
        await log.append(batch)
        made += batch
        if month < MONTHS - 1:
            await add_partition(owner, date(2026, month + 1, 1))
    return made


def moment(record: Record) -> datetime:
    found = record.columns["decided_at"]
    assert isinstance(found, datetime)
    return found


async def read_all_pages(
    connection: asyncpg.Connection[asyncpg.Record], filters: RecordFilters, *, size: int, oldest_first: bool
) -> list[UUID]:
    seen: list[UUID] = []
    after = None
    while found := await search_records(connection, filters, after=after, limit=size, oldest_first=oldest_first):
        seen += [record.uid for record in found]
        after = found[-1].place
    return seen


@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize("size", [1, 7, 50])
async def test_pages_over_partitions_equal_those_of_one_table(
    log_database: LogDatabase, *, size: int, oldest_first: bool
) -> None:
    made = await half_a_year(log_database)
    auditor = await log_database.connect("auditor")
    for filters in (
        RecordFilters(until=JANUARY + timedelta(days=300)),
        RecordFilters(action="approve"),
        RecordFilters(since=JANUARY + timedelta(days=61), until=JANUARY + timedelta(days=95)),
    ):
        since, until = filters.since or JANUARY - timedelta(days=30), filters.until or JANUARY + timedelta(days=300)
        # Records with the same time are ordered by id, which is the order of appending.
        wanted = [
            record.uid
            for _, record in sorted(enumerate(made), key=lambda pair: (moment(pair[1]), pair[0]))
            if since <= moment(record) < until and filters.action in {None, record.columns["action"]}
        ]
        found = await read_all_pages(auditor, filters, size=size, oldest_first=oldest_first)
        assert found == (wanted if oldest_first else wanted[::-1])
        assert found


async def test_newest_records_are_the_same_pages_while_partitions_are_closed(log_database: LogDatabase) -> None:
    database, auditor = await log_database.open("app"), await log_database.connect("auditor")
    begun_before = NewestRecords(database, timeout=5)
    assert await begun_before.read((), None, 50) is not None
    await half_a_year(log_database)
    later = datetime.now(UTC) + timedelta(days=1)
    await Log(database).append([decision(decided_at=later) for _ in range(17)])
    begun_after = NewestRecords(database, timeout=5)
    read = {begun_before: 0, begun_after: 0}
    after = None
    while wanted := await search_records(auditor, RecordFilters(), after=after, limit=7):
        for newest in read:
            found = await newest.read((), after, 7)
            assert found in (None, wanted)
            read[newest] += found is not None
        after = wanted[-1].place
    # The earlier one still reads all partitions as one. Other pages may reach into closed partitions.
    assert read == {begun_before: 15, begun_after: 2}


async def test_requests_for_a_page_share_only_a_statement_that_starts_after_they_came(
    log_database: LogDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, auditor = await log_database.open("app"), await log_database.connect("auditor")
    log, newest = Log(database), NewestRecords(database, timeout=5)
    await log.append([decision() for _ in range(9)])
    before = await search_records(auditor, RecordFilters(), limit=5)
    assert await newest.read((), None, 5) == before
    fetch, has_read, may_answer, statements = ReservedConnection.fetch, asyncio.Event(), asyncio.Event(), list[object]()

    async def fetch_and_wait(self: ReservedConnection, statement: str, *parameters: object) -> list[asyncpg.Record]:
        rows = await fetch(self, statement, *parameters)
        statements.append(parameters)
        has_read.set()
        await may_answer.wait()
        return rows

    monkeypatch.setattr(ReservedConnection, "fetch", fetch_and_wait)
    early = asyncio.create_task(newest.read((), None, 5))
    await has_read.wait()
    # The first statement has read its page; its answer is on its way.
    [receipt] = await log.append([decision()])
    places = [None, *(record.place for record in before[:3])]
    late = [(place, asyncio.create_task(newest.read((), place, 5))) for place in places for _ in range(4)]
    await asyncio.sleep(0)
    may_answer.set()
    assert await early == before
    for place, asked in late:
        assert await asked == await search_records(auditor, RecordFilters(), after=place, limit=5)
    newest_page = await late[0][1]
    assert newest_page is not None
    assert newest_page[0].uid == receipt.uid
    assert len(statements) == 1 + len(places)


async def test_a_request_that_ends_does_not_end_the_read_of_others(log_database: LogDatabase) -> None:
    database = await log_database.open("app")
    newest = NewestRecords(database, timeout=5)
    await Log(database).append([decision() for _ in range(9)])
    for _ in range(10):
        asked = [asyncio.create_task(newest.read((), None, 5)) for _ in range(4)]
        await asyncio.sleep(0)
        asked[0].cancel()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(page) for page in found] == [asyncio.CancelledError, list, list, list]


async def test_requests_that_share_a_statement_that_fails_get_errors_of_their_own(log_database: LogDatabase) -> None:
    owner, database = await log_database.connect("owner"), Database(log_database.url("app"), size=1, timeout=1.5)
    await database.open()
    log_database.stack.push_async_callback(database.close)
    newest = NewestRecords(database, timeout=5)
    page = await newest.read((), None, 5)
    async with owner.transaction():
        # Reads of the log wait for this lock until the statement timeout.
        await owner.execute("LOCK TABLE audit_position IN ACCESS EXCLUSIVE MODE")
        errors = await asyncio.gather(*(newest.read((), None, 5) for _ in range(4)), return_exceptions=True)
    assert [type(error) for error in errors] == [QueryTooBroad] * 4
    # Each names the decision of its request.
    assert len(set(map(id, errors))) == 4
    assert await newest.read((), None, 5) == page


async def test_only_partitions_of_the_period_are_read(log_database: LogDatabase) -> None:
    await half_a_year(log_database)
    auditor = await log_database.connect("auditor")
    since, until = JANUARY + timedelta(days=66), JANUARY + timedelta(days=85)
    opened, *closed = await find_windows(auditor, since.isoformat(), until.isoformat())
    assert opened.upper is None
    assert 1 <= len(closed) <= 2
    statement, values = page_statement(RecordFilters(since=since, until=until), (), None, 50, window=closed[0])
    plan = "\n".join(row[0] for row in await auditor.fetch(f"EXPLAIN {statement}", *values))
    assert plan.count("audit_record_y2026") == plan.count("audit_record_y2026m02") > 0


async def test_counts_over_partitions_equal_those_of_one_table(log_database: LogDatabase) -> None:
    made = await half_a_year(log_database)
    auditor = await log_database.connect("auditor")
    since, until = JANUARY + timedelta(days=66), JANUARY + timedelta(days=130)
    counted = await summarize_decisions(auditor, RecordFilters(since=since, until=until))
    assert counted.total == len([record for record in made if since <= moment(record) < until])
