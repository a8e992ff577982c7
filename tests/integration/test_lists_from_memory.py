"""Lists of remembered callers: one statement, and exactly what a process without memory would list."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from service.authorization.enforcement.gate import Gate
from service.authorization.enforcement.relationships import Relationships
from service.database import Turns
from service.errors import Denied, InvalidToken
from service.timesheets.actions import Timesheets
from service.timesheets.listing import Filters
from service.timesheets.relations import TIMESHEET_FACTS
from service.values import replace
from service.web.timesheets.timesheet_shapes import listed_sheet_bodies, sheet_body
from tests.integration.declared_world import FACTS, declare, give_values
from tests.integration.house import MONDAY
from tests.integration.random_organisation import settle
from tests.integration.test_declared_policy_life import activate
from tests.integration.test_directory_memory import (
    CHANGES,
    DECLARED,
    SOON,
    WHILE_THE_DIRECTORY_CHANGES,
    apply,
    caller_of,
    steps_of,
)
from tests.policy_forge import read_shipped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from service.authorization.enforcement.changes import Caller
    from tests.integration.house import House
    from tests.integration.random_organisation import Organisation

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]


# Lists by the country of an owner alone, and by what the caller's groups, level and teams are beside theirs.
ROWS = (
    "p, allow, anyone, read, any, timesheet, read:timesheets, same_country, read-country",
    "p, allow, anyone, read, any, timesheet, read:timesheets, in_group and not senior, read-group",
    "p, deny, anyone, read, any, timesheet, any, leads_project and in_region, never-region",
)


@pytest.fixture
async def organisation(house: House) -> Organisation:
    organisation = await settle(house.owner, 4)
    await give_values(house.owner, organisation, 4)
    text = read_shipped()
    rules = "\n".join([text.rules.rstrip(), *ROWS, ""])
    vocabulary = declare({name: FACTS[name] for name in DECLARED}, {})
    await activate(house, replace(text, rules=rules, vocabulary=vocabulary, cases={}))
    return organisation


async def list_ids(timesheets: Timesheets, caller: Caller) -> list[UUID] | None:
    """The ids of the first page; None if the list is denied."""
    try:
        page = (await timesheets.list(caller, Filters(), limit=20)).value
    except Denied:
        return None
    return [sheet.id for sheet in page.items]


@WHILE_THE_DIRECTORY_CHANGES
@given(drawn=steps_of(CHANGES))
async def test_a_list_from_memory_is_the_list_that_would_be_read(
    house: House, organisation: Organisation, drawn: Sequence[tuple[str, int, str]]
) -> None:
    reading = Timesheets(
        Gate(
            house.requests,
            house.log,
            house.versions,
            Relationships([TIMESHEET_FACTS]),
            turns=Turns(1, timeout=60, full="busy"),
        )
    )
    for change, seed, when in drawn:
        draw = random.Random(seed)  # noqa: S311 — no secret comes of it
        await apply(house.owner, organisation, change, draw, when)
        callers = [*draw.sample(organisation.people, 3), None]
        # The first list after a change reads and the second remembers. At the third a moment has passed.
        for pause in (0.0, 0.0) if when == "now" else (0.0, 0.0, SOON.total_seconds()):
            await asyncio.sleep(pause)
            for person in callers:
                principal = replace(caller_of(person, draw), scopes=frozenset({"read:timesheets"}))
                await expect_the_same(house, reading, replace(house.caller("ana"), principal=principal))


async def expect_the_same(house: House, reading: Timesheets, caller: Caller) -> None:
    for _ in range(20):
        anew = await list_ids(reading, caller)
        remembered = await list_ids(house.timesheets, caller)
        if remembered == anew:
            return
        # A moment between two lists is no difference of theirs.
        assert await list_ids(reading, caller) != anew, remembered
    raise AssertionError("the directory did not stand still")


async def test_the_list_of_a_remembered_caller_needs_no_transaction(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheet = await house.submit_week("ana")
    for name in ("ana", "mia"):
        assert await list_ids(house.timesheets, house.caller(name)) == [sheet.id]
    monkeypatch.setattr(type(house.requests), "transaction", None)
    for name in ("ana", "mia"):
        assert await list_ids(house.timesheets, house.caller(name)) == [sheet.id]


async def test_a_remembered_caller_whose_token_is_revoked_gets_no_list(house: House) -> None:
    await house.submit_week("ana")
    caller = house.caller("ana")
    for _ in range(2):
        assert await list_ids(house.timesheets, caller)
    await house.owner.execute(
        "INSERT INTO revocation (id, what, value, issued_before, expires_at, by_client)"
        " VALUES (gen_random_uuid(), 'client', 'hours-app', '9000-01-01', 'infinity', 'hours-app')"
    )
    with pytest.raises(InvalidToken):
        await list_ids(house.timesheets, caller)


async def test_a_new_connection_forgets_the_directory(house: House) -> None:
    """Another database may answer on it: its directory may have the same revision and be another."""
    await house.submit_week("ana")
    assert await list_ids(house.timesheets, house.caller("ana"))
    remembered = house.memory.state
    assert remembered is not None
    await house.requests.close()
    await house.requests.open()
    assert house.memory.state is None
    assert await list_ids(house.timesheets, house.caller("ana"))


async def test_a_listed_row_has_the_body_of_its_sheet(house: House) -> None:
    for name in ("ana", "ben"):
        await house.submit_week(name)
    await house.owner.execute(
        "INSERT INTO entry (id, timesheet_id, day, project, minutes, note, external_ref, uploader)"
        " SELECT gen_random_uuid(), id, $1::date + day, 'ATLAS', 30 + day, 'Überstunden \"heute\"', day::text, 'import'"
        " FROM timesheet, generate_series(0, 6) AS day",
        MONDAY,
    )
    await house.owner.execute(
        "UPDATE timesheet SET decided_by_client = 'robot', decided_at = now(), state = 'approved'"
    )
    page = (await house.timesheets.list(house.caller("mia"), Filters())).value
    assert [len(sheet.entries) >= 7 for sheet in page.items] == [True, True]
    assert await listed_sheet_bodies(page.rows) == [sheet_body(sheet) for sheet in page.items]
