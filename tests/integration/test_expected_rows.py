"""A row that a caller reads again is expected to be as before, and recorded by the statement that finds it so.

The law: what was expected never changes an answer or a record, whatever changed between two reads.
"""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.authorization.enforcement import fact_reader, relationships
from service.authorization.enforcement.gate import Gate
from service.authorization.enforcement.relationships import Relationships
from service.database import Turns
from service.errors import DatabaseUnavailable, LogUnavailable, TimewardenError
from service.log import group_commit
from service.log.packing import unpack
from service.log.record import read_body
from service.timesheets import store
from service.timesheets.relations import KIND, TIMESHEET_FACTS
from service.values import replace
from tests.integration.declared_world import give_values
from tests.integration.house import ALL_SCOPES, activate_unread, at
from tests.integration.random_organisation import settle
from tests.integration.test_directory_memory import (
    CHANGES,
    REVOCATIONS,
    REVOKE,
    SOON,
    WHILE_THE_DIRECTORY_CHANGES,
    apply,
    caller_of,
)
from tests.policy_forge import read_shipped
from tests.until import lock_is_waited_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.changes import AllowedOnFacts, Caller
    from service.timesheets.timesheet import Timesheet
    from tests.integration.house import House
    from tests.integration.random_organisation import Organisation

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

# What may change a sheet without a new version, too.
SHEET_CHANGES = {
    "state": "UPDATE timesheet SET state = 'submitted', submitted_at = clock_timestamp() WHERE id = '{sheet}'"
    " AND state = 'draft'",
    "version": "UPDATE timesheet SET version = version + 1 WHERE id = '{sheet}'",
    "note": "UPDATE entry SET note = 'noted ' || clock_timestamp() WHERE timesheet_id = '{sheet}'",
    "hours": "UPDATE entry SET minutes = 61 WHERE timesheet_id = '{sheet}'",
    "editors": "UPDATE timesheet SET editors = ARRAY[owner_id] WHERE id = '{sheet}'",
    "owner": "UPDATE timesheet AS moved SET owner_id = '{person}' WHERE id = '{sheet}' AND NOT EXISTS ("
    "SELECT FROM timesheet AS there WHERE there.owner_id = '{person}' AND there.period_start = moved.period_start)",
    "no sheet": "WITH gone AS (DELETE FROM entry WHERE timesheet_id = '{sheet}')"
    " DELETE FROM timesheet WHERE id = '{sheet}'",
}
PATIENCE = timedelta(seconds=1)
# Members of a record that no two records share.
OF_EACH_RECORD = {"uid", "nonce", "decided_at"}


@pytest.fixture
async def organisation(house: House) -> Organisation:
    made = await settle(house.owner, 5)
    await give_values(house.owner, made, 5)
    return made


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first append of a log waits for its connection, and a busy machine takes longer than a row may be late."""
    monkeypatch.setattr(group_commit, "CALM_SECONDS", 0.0)
    monkeypatch.setattr(relationships, "MAX_LATENESS", PATIENCE)
    monkeypatch.setattr(fact_reader, "MAX_TRIP_SECONDS", PATIENCE.total_seconds())


class WatchedHouse:
    """A house, how its reads of expected rows ended, and a gate that remembers nothing."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.found: list[bool] = []
        append_if = house.log.append_if

        async def watched(*given: Any) -> bool:
            done = await append_if(*given)
            self.found.append(done)
            return done

        house.log.append_if = watched  # type: ignore[method-assign,assignment]
        forgetful = Relationships([TIMESHEET_FACTS], database=house.requests)
        self.forgetful = Gate(
            house.requests, house.log, house.versions, forgetful, turns=Turns(8, timeout=60, full="busy")
        )

    async def read(self, caller: Caller, sheet: UUID, gate: Gate | None = None) -> tuple[object, dict[str, object]]:
        """What a read gave or raised, and its record, which was durable before."""

        def show(reading: AllowedOnFacts) -> Timesheet:
            return store.sheet_of_row(reading.permit, reading.found)

        answer: object
        try:
            answer = await (gate or self.house.gate).read_row(caller, KIND, "read", sheet, show)
        except TimewardenError as error:
            answer = error.slug
        body = await self.house.owner.fetchval("SELECT body FROM audit_record ORDER BY id DESC LIMIT 1")
        return answer, {name: value for name, value in read_body(unpack(body)).items() if name not in OF_EACH_RECORD}

    async def read_again(self, caller: Caller, sheet: UUID) -> object:
        """What a read gives after the reads that make a row expected."""
        answer = [(await self.read(caller, sheet))[0] for _ in range(3)][-1]
        self.found.clear()
        return answer


@pytest.fixture
def watched(house: House) -> WatchedHouse:
    return WatchedHouse(house)


async def test_a_sheet_that_is_read_again_is_read_and_recorded_by_one_statement(
    house: House, watched: WatchedHouse
) -> None:
    sheet, mia = await house.submit_week("ana"), house.manager("mia")
    expected = await watched.read_again(mia, sheet.id)
    asked: list[str] = []
    for connection in house.requests._reserved + house.log._commits._database._reserved:
        connection.add_query_logger(lambda record: asked.append(record.query))
    records, alone = await house.count("audit_record"), 0
    for _ in range(6):
        asked.clear()
        assert (await watched.read(mia, sheet.id))[0] == expected
        # Not where a second ends between the estimated time and the statement.
        if watched.found[-1]:
            assert [statement.split()[:3] for statement in asked] == [["INSERT", "INTO", "audit_record"]]
            alone += 1
    assert alone >= 3
    assert await house.count("audit_record") == records + 6


@WHILE_THE_DIRECTORY_CHANGES
@given(
    drawn=st.lists(
        st.tuples(
            st.sampled_from([*CHANGES, *REVOCATIONS, *SHEET_CHANGES, *SHEET_CHANGES]),
            st.integers(0, 2**16),
            st.sampled_from(["now", "soon", "until soon"]),
        ),
        min_size=3,
        max_size=8,
    )
)
async def test_what_was_expected_never_changes_an_answer_or_a_record(
    house: House, organisation: Organisation, drawn: Sequence[tuple[str, int, str]]
) -> None:
    watched = WatchedHouse(house)
    for change, seed, when in drawn:
        draw = random.Random(seed)  # noqa: S311 — no secret comes of it
        sheet = draw.choice(sorted(organisation.sheets))
        people = [organisation.sheets[sheet][0], *draw.sample(organisation.people, 2)]
        callers = [
            replace(house.caller("ana"), principal=replace(caller_of(person, draw), scopes=ALL_SCOPES))
            for person in people
        ]
        for caller in callers:
            await watched.read_again(caller, sheet)
        if change in SHEET_CHANGES:
            await house.owner.execute(
                SHEET_CHANGES[change].format(sheet=sheet, person=draw.choice(organisation.people))
            )
        else:
            await apply(house.owner, organisation, change, draw, when)
        for pause in (0.0, SOON.total_seconds()) if when != "now" else (0.0,):
            await asyncio.sleep(pause)
            for caller in callers:
                await expect_the_same(watched, caller, sheet)


async def expect_the_same(watched: WatchedHouse, caller: Caller, sheet: UUID) -> None:
    """Compare a read with one of the gate that remembers nothing. A moment may pass between the two."""
    for _ in range(5):
        before = await watched.read(caller, sheet, watched.forgetful)
        found = await watched.read(caller, sheet)
        after = await watched.read(caller, sheet, watched.forgetful)
        if before == after:
            assert found == after
            return
    raise AssertionError("the directory did not stand still")


async def test_what_changed_is_answered_by_the_next_read(house: House, watched: WatchedHouse) -> None:
    sheet, ana, mia = await house.submit_week("ana"), house.caller("ana"), house.manager("mia")
    assert await watched.read_again(mia, sheet.id) == sheet
    withdrawn = (await house.timesheets.withdraw(ana, sheet.id, at(sheet.version))).value
    assert (await watched.read(mia, sheet.id))[0] == withdrawn
    await watched.read_again(mia, sheet.id)
    await house.owner.execute("DELETE FROM membership WHERE person_id = $1", house.people["mia"])
    assert (await watched.read(mia, sheet.id))[0] == "not-found"
    await watched.read_again(ana, sheet.id)
    text = read_shipped()
    await activate_unread(
        house, replace(text, rules=f"{text.rules}\np, deny, owner, read, any, timesheet, any, always, nobody")
    )
    assert (await watched.read(ana, sheet.id))[0] in {"forbidden", "not-found"}
    assert watched.found == [False]


async def test_a_token_that_was_revoked_meanwhile_reads_nothing(house: House, watched: WatchedHouse) -> None:
    sheet, ana = await house.submit_week("ana"), house.caller("ana")
    await watched.read_again(ana, sheet.id)
    records = await house.count("audit_record")
    await house.owner.execute(REVOKE.format(before="9999-01-01"), "person", str(house.people["ana"]), None)
    assert (await watched.read(ana, sheet.id))[0] == "invalid-token"
    assert watched.found == [False]
    assert await house.count("audit_record") == records


async def test_the_time_in_the_record_is_just_before_that_of_the_snapshot(house: House, watched: WatchedHouse) -> None:
    sheet, ana = await house.submit_week("ana"), house.caller("ana")
    await watched.read_again(ana, sheet.id)
    for _ in range(20):
        await watched.read(ana, sheet.id)
    assert watched.found.count(True) >= 15
    late = await house.owner.fetch("SELECT at - decided_at AS late FROM audit_record ORDER BY id DESC LIMIT 15")
    assert all(0 <= row["late"].total_seconds() <= 0.1 for row in late)


@pytest.mark.parametrize("late", [-1, 1])
async def test_a_row_is_read_anew_where_the_estimated_time_is_wrong(
    house: House, watched: WatchedHouse, monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    sheet, ana = await house.submit_week("ana"), house.caller("ana")
    await watched.read_again(ana, sheet.id)
    [reader] = house.relationships._readers.values()
    told, came = reader._clock or pytest.fail("no time was told")
    monkeypatch.setattr(reader, "_clock", (told, came + late * 2 * PATIENCE.total_seconds()))
    assert (await watched.read(ana, sheet.id))[0] == sheet
    assert True not in watched.found


async def test_a_row_is_read_anew_if_the_clock_of_the_database_went_back(house: House, watched: WatchedHouse) -> None:
    """A validity that began since may not hold at that time, and the state of the directory is the same."""
    sheet, ana = await house.submit_week("ana"), house.caller("ana")
    await watched.read_again(ana, sheet.id)
    since = house.memory._since
    assert since is not None
    house.memory._since = since + timedelta(hours=1)
    assert (await watched.read(ana, sheet.id))[0] == sheet
    assert watched.found == []


async def test_a_table_of_facts_that_is_locked_is_no_failure_of_the_log(house: House, watched: WatchedHouse) -> None:
    sheet, ana = await house.submit_week("ana"), house.caller("ana")
    await watched.read_again(ana, sheet.id)
    async with house.owner.transaction():
        await house.owner.execute("LOCK TABLE timesheet IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseUnavailable):
            await house.timesheets.read(ana, sheet.id)
    assert watched.found == [False]
    assert house.log.state().failing is None
    assert (await house.timesheets.read(ana, sheet.id)).value == sheet


async def test_rows_of_refused_reads_are_not_expected(house: House, watched: WatchedHouse) -> None:
    sheet, carl = await house.submit_week("ana"), house.caller("carl")
    assert await watched.read_again(carl, sheet.id) == "not-found"
    assert (await watched.read(carl, sheet.id))[0] == "not-found"
    assert watched.found == []
    assert not house.memory._rows._entries


async def test_nothing_is_answered_if_the_connection_breaks_before_the_record_is_durable(
    house: House, watched: WatchedHouse
) -> None:
    sheet, ana = await house.submit_week("ana"), house.caller("ana")
    await watched.read_again(ana, sheet.id)
    connection: asyncpg.Connection[asyncpg.Record] | None = house.log._commits._connection
    assert connection is not None
    app = await house.log_database.connect("app")
    async with house.owner.transaction():
        await house.owner.execute("LOCK TABLE policy_head IN ACCESS EXCLUSIVE MODE")
        reading = asyncio.create_task(house.timesheets.read(ana, sheet.id))
        await lock_is_waited_for(house.owner)
        await app.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
        with pytest.raises(LogUnavailable):
            await reading
    assert (await house.timesheets.read(ana, sheet.id)).value == sheet


async def test_reads_that_come_together_share_their_statements(
    house: House, watched: WatchedHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "CALM_SECONDS", 60.0)
    sheet, callers = await house.submit_week("ana"), [house.caller("ana"), house.manager("mia"), house.manager("dora")]
    for caller in callers:
        await watched.read_again(caller, sheet.id)
    answers = await asyncio.gather(*(house.timesheets.read(caller, sheet.id) for caller in callers))
    assert [answer.value for answer in answers] == [sheet] * 3
    watched.found.clear()
    for caller in callers:
        assert (await house.timesheets.read(caller, sheet.id)).value == sheet
    assert watched.found == []
