"""Shared statements of facts: each request gets its own row, and one at fault or a lost connection harms no other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from service.authorization.enforcement import fact_reader
from service.authorization.enforcement.directory_memory import DirectoryMemory
from service.authorization.enforcement.fact_reader import FactReader, Question
from service.authorization.enforcement.fact_statements import FactStatements, remembering_statements, row_statement
from service.authorization.enforcement.relationships import Relationships
from service.database import Database
from service.errors import DatabaseUnavailable, Overloaded
from service.timesheets.relations import TIMESHEET_FACTS

if TYPE_CHECKING:
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

# Twice the number; waits while another session holds the advisory lock 7; fails for a text that is no number.
STATEMENT = """
    SELECT asked.place, asked.number::integer * 2 AS twice, pg_backend_pid() AS pid, locked.held
    FROM unnest($1::text[]) WITH ORDINALITY AS asked (number, place)
    CROSS JOIN (SELECT pg_advisory_xact_lock_shared(7)::text AS held) AS locked ORDER BY asked.place DESC
"""
ALONE = STATEMENT.replace(
    "unnest($1::text[]) WITH ORDINALITY AS asked (number, place)", "(SELECT $1, 1) AS asked (number, place)"
)
WHOLE = FactStatements(STATEMENT, ALONE, 1)
# Returns the text itself.
SHORT = FactStatements(
    "SELECT asked.* FROM unnest($1::text[]) WITH ORDINALITY AS asked (twice, place)",
    "SELECT $1 AS twice, 1 AS place",
    1,
)


def question(text: str, *, is_short: bool = False) -> Question:
    return Question((text, "only for a longer statement"), is_short)


class Reader(FactReader):
    """Counts the statements and the lost connections."""

    def __init__(self, house: House, timeout: float = 5.0) -> None:
        super().__init__(house.requests, WHOLE, SHORT, timeout=timeout, lost=self.forget)
        self.sizes: list[int] = []
        self.losses = 0

    def forget(self) -> None:
        self.losses += 1

    async def _run(self, questions: Any) -> Any:
        self.sizes.append(len(questions))
        return await super()._run(questions)


async def test_requests_that_wait_share_a_statement_and_each_gets_its_row(house: House) -> None:
    reader = Reader(house)
    rows = await asyncio.gather(*(reader.read(question(str(number))) for number in range(70)))
    assert [row["twice"] for row in rows] == [number * 2 for number in range(70)]
    assert reader.sizes == [1, 32, 32, 5]
    assert (await reader.read(question("4")))["twice"] == 8


async def test_short_statements_answer_only_where_they_suffice_for_all_that_wait(house: House) -> None:
    for short, expected in (((True, True), ["1", "2"]), ((True, False), [2, 4]), ((True,), ["1"]), ((False,), [2])):
        reader = Reader(house)
        asked = [question(str(number), is_short=is_short) for number, is_short in enumerate(short, start=1)]
        # The first is asked alone; the others wait for it and share a statement.
        first, *rows = await asyncio.gather(*map(reader.read, [question("0"), *asked]))
        assert first["twice"] == 0
        assert [row["twice"] for row in rows] == expected


async def test_a_question_at_fault_fails_alone(house: House) -> None:
    reader = Reader(house)
    asked = ["1", "2", "no number", "4"]
    results = await asyncio.gather(*(reader.read(question(text)) for text in asked), return_exceptions=True)
    assert isinstance(results[2], asyncpg.DataError)
    assert [row["twice"] for row in results if isinstance(row, asyncpg.Record)] == [2, 4, 8]


async def test_a_lost_connection_is_reported_and_replaced(house: House) -> None:
    reader = Reader(house)
    pid = (await reader.read(question("1")))["pid"]
    await house.owner.execute("SELECT pg_advisory_lock(7)")
    first, second = (asyncio.create_task(reader.read(question(text))) for text in "12")
    await asyncio.sleep(0.05)
    app = await house.log_database.connect("app")
    await app.execute("SELECT pg_terminate_backend($1)", pid)
    with pytest.raises(DatabaseUnavailable):
        await first
    assert reader.losses == 1
    await house.owner.execute("SELECT pg_advisory_unlock(7)")
    assert (await second)["twice"] == 4


async def test_lookups_wait_for_another_as_long_as_a_statement_may_take(house: House) -> None:
    """Longer than the default: an operator with a slow database sets TIMEWARDEN_DATABASE_TIMEOUT."""
    patient = Database(house.log_database.url("app"), size=2, timeout=30.0, lock_timeout=30.0, name="test-patient")
    await patient.open()
    house.log_database.stack.push_async_callback(patient.close)
    relationships, mia = Relationships([TIMESHEET_FACTS], DirectoryMemory(), patient), house.caller("mia").principal
    await relationships.ambient(None, mia)
    async with house.owner.transaction():
        await house.owner.execute("LOCK TABLE policy_head IN ACCESS EXCLUSIVE MODE")
        asked = [asyncio.create_task(relationships.ambient(None, mia)) for _ in range(2)]
        await asyncio.sleep(5.5)
    assert [lookup.version for lookup in await asyncio.gather(*asked)] == [1, 1]


async def test_a_request_that_waits_too_long_is_refused_and_later_ones_are_answered(house: House) -> None:
    reader = Reader(house, timeout=0.1)
    await house.owner.execute("SELECT pg_advisory_lock(7)")
    first = asyncio.create_task(reader.read(question("1")))
    await asyncio.sleep(0)
    with pytest.raises(DatabaseUnavailable):
        await reader.read(question("2"))
    await house.owner.execute("SELECT pg_advisory_unlock(7)")
    assert (await first)["twice"] == 2
    await asyncio.sleep(0.05)
    assert (await reader.read(question("3")))["twice"] == 6
    # Nothing was asked for the request that had ended.
    assert reader.sizes == [1, 1]


async def test_a_request_that_ends_while_it_is_read_harms_no_other(house: House) -> None:
    reader = Reader(house)
    await house.owner.execute("SELECT pg_advisory_lock(7)")
    first, second = (asyncio.create_task(reader.read(question(text))) for text in "12")
    await asyncio.sleep(0.05)
    first.cancel()
    await house.owner.execute("SELECT pg_advisory_unlock(7)")
    assert (await second)["twice"] == 4


async def test_only_so_many_may_wait(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fact_reader, "MAX_WAITING", 2)
    reader = Reader(house)
    results = await asyncio.gather(*(reader.read(question(str(number))) for number in range(4)), return_exceptions=True)
    assert [type(result) for result in results] == [asyncpg.Record, asyncpg.Record, asyncpg.Record, Overloaded]


async def test_the_whole_statement_of_a_row_stays_prepared(house: House) -> None:
    """It is longer than what asyncpg keeps as shipped, and planning it takes longer than running it."""
    sheet = await house.submit_week("ana")
    lookups = Relationships([TIMESHEET_FACTS])
    async with house.requests.connection() as connection:
        for _ in range(3):
            await lookups.of_row(connection, house.caller("mia").principal, TIMESHEET_FACTS, sheet.id)
        statement = row_statement(TIMESHEET_FACTS)
        assert len(statement) > 15 * 1024
        kept = await connection.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE statement = $1", statement)
    assert kept == 1


async def test_postgres_keeps_the_plan_of_the_statement_for_one_remembered_request(house: House) -> None:
    sheet = await house.submit_week("ana")
    lookups = Relationships([TIMESHEET_FACTS], DirectoryMemory())
    async with house.requests.connection() as connection:
        # The first is not remembered yet, and the second looks the token up. Of five plans Postgres learns that one
        # will do.
        for _ in range(9):
            await lookups.of_row(connection, house.caller("mia").principal, TIMESHEET_FACTS, sheet.id)
        plans = await connection.fetchrow(
            "SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE statement = $1",
            remembering_statements(TIMESHEET_FACTS, short=True).alone,
        )
    assert plans is not None
    assert (plans["custom_plans"], plans["generic_plans"] > 0) == (5, True)


async def test_a_closed_reader_gives_its_connection_back_and_still_answers(house: House) -> None:
    reader, reserved = Reader(house), house.requests._reserved
    before = len(reserved)
    assert (await reader.read(question("1")))["twice"] == 2
    assert len(reserved) == before + 1
    reader.close()
    assert len(reserved) == before
    # Requests under the earlier version may still be under way.
    rows = await asyncio.gather(*(reader.read(question(str(number))) for number in range(40)))
    assert [row["twice"] for row in rows] == [number * 2 for number in range(40)]
    assert len(reserved) == before
    assert reader.losses == 0


async def test_a_reader_that_is_closed_while_it_reads_answers_and_gives_its_connection_back(house: House) -> None:
    reader, reserved = Reader(house), house.requests._reserved
    before = len(reserved)
    reading = asyncio.gather(*(reader.read(question(str(number))) for number in range(3)))
    await asyncio.sleep(0)
    reader.close()
    assert [row["twice"] for row in await reading] == [0, 2, 4]
    assert len(reserved) == before
