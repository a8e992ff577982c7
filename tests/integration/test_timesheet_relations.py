"""What people and clients are to a timesheet: each expression is true or false, for one row and for lists alike."""

from __future__ import annotations

import json
from itertools import product
from typing import TYPE_CHECKING

import pytest

from service.authorization.enforcement.fact_statements import bind_listed, imagine
from service.authorization.enforcement.visibility import NAMED
from service.timesheets.relations import TIMESHEET_FACTS
from tests.integration.house import MONDAY

if TYPE_CHECKING:
    from uuid import UUID

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

WORDS = {**TIMESHEET_FACTS.relations, **TIMESHEET_FACTS.facts}
LATER, EARLIER = "statement_timestamp() + interval '1 hour'", "statement_timestamp() - interval '1 hour'"


def asking(house: House, person: str | None, client: str | None) -> tuple[UUID | None, str]:
    """The parameters of a person through some app, or of a client for itself."""
    word = f"via:{client or 'hours-app'}" if person else f"client:{client or 'nobody'}"
    return house.people[person] if person else None, json.dumps({"word": word})


async def holds(house: House, word: str, sheet: UUID, person: str | None, client: str | None = None) -> bool:
    found = await house.owner.fetchval(
        f"SELECT {bind_listed(WORDS[word])} FROM timesheet AS r WHERE r.id = $3 AND {NAMED}",
        *asking(house, person, client),
        sheet,
    )
    assert isinstance(found, bool)
    return found


async def who(house: House, word: str, sheet: UUID) -> set[str]:
    """Everybody of the organisation for whom the word holds."""
    return {name for name in house.people if await holds(house, word, sheet, name)}


async def create_draft(house: House, name: str) -> UUID:
    """A sheet that nobody needs to approve yet."""
    return (await house.timesheets.create(house.caller(name), MONDAY, "UTC")).value.id


@pytest.fixture
async def sheet(house: House) -> UUID:
    """A sheet of ana's."""
    return (await house.submit_week("ana")).id


async def test_only_the_owner_is_the_owner(house: House, sheet: UUID) -> None:
    assert await who(house, "owner", sheet) == {"ana"}


async def test_leads_of_the_owners_team_and_above_are_managers(house: House, sheet: UUID) -> None:
    assert await who(house, "manager", sheet) == {"mia", "dora"}


async def test_a_leads_own_manager_is_the_lead_above_and_never_the_lead(house: House) -> None:
    assert await who(house, "manager", (await house.submit_week("mia")).id) == {"dora"}
    assert await who(house, "manager", await create_draft(house, "dora")) == set()


async def test_a_membership_that_ended_or_has_not_begun_counts_for_nothing(house: House, sheet: UUID) -> None:
    mia, ana = house.people["mia"], house.people["ana"]
    await house.owner.execute(f"UPDATE membership SET valid_from = {LATER} WHERE person_id = $1", mia)
    assert await who(house, "manager", sheet) == {"dora"}
    await house.owner.execute(
        f"UPDATE membership SET valid_from = {EARLIER}, valid_to = statement_timestamp() WHERE person_id = $1", ana
    )
    assert await who(house, "manager", sheet) == set()


async def test_validity_begins_with_its_first_moment_and_ends_before_its_last(house: House, sheet: UUID) -> None:
    statement = (
        "UPDATE membership SET valid_from = {0}, valid_to = {1} WHERE person_id = '{2}' RETURNING"
        " valid_from <= statement_timestamp() AND statement_timestamp() < valid_to"
    )
    mia = house.people["mia"]
    assert await house.owner.fetchval(statement.format("statement_timestamp()", "'infinity'", mia))
    assert not await house.owner.fetchval(statement.format(EARLIER, "statement_timestamp()", mia))


async def test_somebody_who_moved_has_the_manager_of_the_new_team(house: House, sheet: UUID) -> None:
    row = await house.owner.fetchval("SELECT id FROM membership WHERE person_id = $1", house.people["ana"])
    await house.directory.end_membership(house.administrator(), row)
    west = house.teams["west"]
    await house.owner.execute(
        "INSERT INTO membership (id, person_id, team_id, part, valid_from)"
        " VALUES (gen_random_uuid(), $1, $2, 'member', statement_timestamp())",
        house.people["ana"],
        west,
    )
    assert await who(house, "manager", sheet) == {"max", "dora"}


async def test_a_grant_reaches_the_teams_below_it_and_ends(house: House, sheet: UUID) -> None:
    carls = (await house.submit_week("carl")).id
    assert await holds(house, "importer", carls, None, "payroll-import")
    assert not await holds(house, "importer", sheet, None, "payroll-import")
    assert not await holds(house, "importer", carls, None, "another-client")
    asks = house.administrator()
    above = (await house.directory.grant_importer(asks, "payroll-import", house.teams["division"])).value
    assert await holds(house, "importer", sheet, None, "payroll-import")
    await house.directory.end_importer_grant(asks, above.id)
    assert not await holds(house, "importer", sheet, None, "payroll-import")


async def test_a_person_is_never_an_importer_and_a_client_never_owner_or_manager(house: House) -> None:
    carls = (await house.submit_week("carl")).id
    assert await who(house, "importer", carls) == set()
    assert not await holds(house, "owner", carls, None, "payroll-import")
    assert not await holds(house, "manager", carls, None, "payroll-import")


async def test_whoever_ever_entered_or_submitted_for_the_owner_acted_for_them(house: House, sheet: UUID) -> None:
    assert await who(house, "acted_for_owner", sheet) == set()
    people = [house.people[name] for name in ("ana", "mia", "max")]
    await house.owner.execute("UPDATE timesheet SET editors = $1", people)
    assert await who(house, "acted_for_owner", sheet) == {"mia", "max"}


async def test_the_client_that_uploaded_acted_for_the_owner(house: House, sheet: UUID) -> None:
    assert not await holds(house, "acted_for_owner", sheet, None, "payroll-import")
    await house.owner.execute("UPDATE timesheet SET uploaders = '{payroll-import}'")
    assert await holds(house, "acted_for_owner", sheet, None, "payroll-import")
    assert not await holds(house, "acted_for_owner", sheet, None, "another-client")
    assert await who(house, "acted_for_owner", sheet) == set()
    assert await holds(house, "acted_for_owner", sheet, "mia", "payroll-import")
    # The owner never acts on their own behalf, whichever app they use.
    assert not await holds(house, "acted_for_owner", sheet, "ana", "payroll-import")


async def test_a_client_whose_upload_another_followed_acted_for_the_owner_all_the_same(
    house: House, sheet: UUID
) -> None:
    await house.owner.execute("UPDATE timesheet SET uploaders = '{payroll-import,another-client}'")
    for client in ("payroll-import", "another-client"):
        assert await holds(house, "acted_for_owner", sheet, None, client)
    assert not await holds(house, "acted_for_owner", sheet, None, "a-third-client")


@pytest.mark.parametrize("word", WORDS)
async def test_every_word_is_true_or_false_whatever_is_null(house: House, sheet: UUID, word: str) -> None:
    for editors, uploaders in product(([], [house.people["mia"]]), ([], ["payroll-import"])):
        await house.owner.execute("UPDATE timesheet SET editors = $1, uploaders = $2", editors, uploaders)
        for person, client in ((None, None), ("mia", None), ("ana", None), (None, "payroll-import")):
            await holds(house, word, sheet, person, client)


@pytest.mark.parametrize("word", WORDS)
async def test_every_word_is_true_or_false_of_a_sheet_that_does_not_exist_yet(house: House, word: str) -> None:
    for name, client in (("ana", None), ("mia", None), (None, "payroll-import"), (None, None)):
        found = await house.owner.fetchval(
            f"SELECT {bind_listed(WORDS[word])} FROM ({imagine(TIMESHEET_FACTS)}) AS r WHERE {NAMED}",
            *asking(house, name, client),
            house.people["ana"],
        )
        assert found is ((word, name) in {("owner", "ana"), ("manager", "mia")})


async def test_a_relation_holds_for_nobody_whom_it_does_not_reach(house: House) -> None:
    sheets = {name: await create_draft(house, name) for name in house.people}
    for word, reach in TIMESHEET_FACTS.reaches.items():
        for person, client in (*((name, None) for name in house.people), (None, "payroll-import")):
            reached = await house.owner.fetch(
                f"SELECT owner_id FROM ({bind_listed(reach)}) AS x WHERE {NAMED}",
                *asking(house, person, client),
            )
            for name, sheet in sheets.items():
                if await holds(house, word, sheet, person, client):
                    assert house.people[name] in {row["owner_id"] for row in reached}
