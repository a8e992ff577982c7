"""Attributes, groups and project leads in Postgres: which changes count, what holds now, what an erasure keeps."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from tests.integration.random_organisation import DAY, FOREVER, NOW

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

PAST, PRESENT, FUTURE = (NOW - 9 * DAY, NOW - DAY), (NOW - DAY, FOREVER), (NOW + DAY, FOREVER)
COUNTED = [
    'UPDATE person SET attributes = \'{"country": "DE"}\'',
    'UPDATE team SET attributes = \'{"region": "north"}\'',
    'UPDATE project SET attributes = \'{"customer": "acme"}\'',
    'INSERT INTO person (id, attributes) VALUES (gen_random_uuid(), \'{"country": "DE"}\')',
    "INSERT INTO group_member SELECT gen_random_uuid(), 'payroll', id, now(), 'infinity' FROM person LIMIT 1",
    "INSERT INTO project_lead SELECT gen_random_uuid(), 'apollo', id, now(), 'infinity' FROM person LIMIT 1",
]


async def attributes_of(house: House, person: UUID | None) -> dict[str, Any]:
    """As the app reads them."""
    async with house.requests.connection() as connection:
        found: dict[str, Any] = json.loads(await connection.fetchval("SELECT caller_attributes($1)::text", person))
    return found


async def join(house: House, group: str, person: UUID, span: tuple[datetime, datetime]) -> None:
    await house.owner.execute("INSERT INTO person_group (name) VALUES ($1) ON CONFLICT DO NOTHING", group)
    await house.owner.execute("INSERT INTO group_member VALUES ($1, $2, $3, $4, $5)", uuid4(), group, person, *span)


async def lead(house: House, project: str, person: UUID, span: tuple[datetime, datetime]) -> None:
    await house.owner.execute("INSERT INTO project_lead VALUES ($1, $2, $3, $4, $5)", uuid4(), project, person, *span)


@pytest.mark.parametrize("statement", COUNTED)
async def test_every_statement_that_policies_could_notice_is_counted(house: House, statement: str) -> None:
    await house.owner.execute("INSERT INTO person_group (name) VALUES ('payroll')")
    before = await house.owner.fetchval("SELECT revision FROM directory_revision")
    await house.owner.execute(statement)
    assert await house.owner.fetchval("SELECT revision FROM directory_revision") > before


async def test_a_new_name_is_not_counted(house: House) -> None:
    before = await house.owner.fetchval("SELECT revision FROM directory_revision")
    await house.owner.execute("UPDATE person SET display_name = 'Another'")
    await house.owner.execute("UPDATE project SET name = 'Another'")
    assert await house.owner.fetchval("SELECT revision FROM directory_revision") == before


async def test_the_caller_has_what_is_valid_now_under_any_of_their_ids(house: House) -> None:
    ana, ben, east = house.people["ana"], house.people["ben"], house.teams["east"]
    await house.owner.execute('UPDATE person SET attributes = \'{"country": "DE"}\' WHERE id = $1', ana)
    await house.owner.execute('UPDATE person SET attributes = \'{"country": "FR"}\' WHERE id = $1', ben)
    for group, span in (("works-council", PRESENT), ("payroll", PRESENT), ("night-shift", PAST), ("later", FUTURE)):
        await join(house, group, ana, span)
    for project, span in (("zeus", PRESENT), ("ATLAS", PRESENT), ("gemini", PAST), ("x", FUTURE)):
        await lead(house, project, ana, span)
    expected = {
        "attributes": {"country": "DE"},
        "groups": ["payroll", "works-council"],
        "projects_led": ["ATLAS", "zeus"],
        "teams": [str(east)],
    }
    assert await attributes_of(house, ana) == expected
    await house.owner.execute("INSERT INTO merged_person (person_id, into_id) VALUES ($1, $2)", ben, ana)
    assert await attributes_of(house, ben) == expected


@pytest.mark.parametrize("person", [None, uuid4()])
async def test_a_client_and_an_unknown_person_have_nothing(house: House, person: UUID | None) -> None:
    assert await attributes_of(house, person) == {"attributes": {}, "groups": [], "projects_led": [], "teams": []}


@pytest.mark.parametrize("begin", [join, lead])
async def test_the_next_change_may_be_in_a_group_or_a_project(house: House, begin: Any) -> None:
    soon = NOW + timedelta(hours=1)
    await begin(house, "apollo", house.people["ana"], (soon, FOREVER))
    assert await house.owner.fetchval("SELECT next_validity_change()") == soon
    await begin(house, "apollo", house.people["ben"], (NOW - DAY, soon - timedelta(minutes=1)))
    assert await house.owner.fetchval("SELECT next_validity_change()") == soon - timedelta(minutes=1)


async def test_an_erasure_keeps_only_the_named_attributes(house: House) -> None:
    ana, ben = house.people["ana"], house.people["ben"]
    await house.owner.execute('UPDATE person SET attributes = \'{"country": "DE", "level": 3, "grade": "b"}\'')
    erase = (
        "SELECT values_removed FROM erase_person($1, '{https://issuer.example}', '{ana}',"
        " ARRAY[sha256('')], '0000000000000000', '1 day', now(), '1 day', $2)"
    )
    assert await house.owner.fetchval(erase, ana, ["country", "another"]) == 2
    held = "SELECT attributes::text FROM person WHERE id = $1"
    assert json.loads(await house.owner.fetchval(held, ana)) == {"country": "DE"}
    assert json.loads(await house.owner.fetchval(held, ben)) == {"country": "DE", "level": 3, "grade": "b"}


@pytest.mark.parametrize("value", ["[]", '"text"', json.dumps({"text": "x" * 65_536})])
async def test_postgres_refuses_attributes_that_are_no_object_or_too_large(house: House, value: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await house.owner.execute("UPDATE person SET attributes = $1::jsonb", value)
