"""The directory: first use makes one person, changes count up the revision and are recorded without names."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from service.directory.entities import Link, Part, Validity
from service.directory.people import People
from service.errors import Conflict, Forbidden, InvalidField, NotFound
from tests.integration.house import speaking

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.directory.actions import Directory
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

ISSUER = "https://issuer.example"


async def revision(house: House) -> int:
    found: int = await house.owner.fetchval("SELECT revision FROM directory_revision")
    return found


async def test_first_uses_at_once_make_one_person_and_one_record(house: House) -> None:
    people = People(house.requests, house.log)
    records, before = await house.count("audit_record"), await revision(house)
    found = await asyncio.gather(*(people.person_for(speaking(ISSUER, "newcomer")) for _ in range(8)))
    assert len(set(found)) == 1
    assert await house.count(f"person_link WHERE person_id = '{found[0]}'") == 1
    assert await house.count("person") == len(house.people) + 1
    assert await house.count("audit_record") == records + 1
    assert await house.count(f"audit_record WHERE kind = 'directory' AND person_id = '{found[0]}'") == 1
    assert await revision(house) > before


async def test_the_same_subject_of_another_issuer_is_somebody_else(house: House) -> None:
    people = People(house.requests, house.log)
    assert await people.person_for(speaking("https://other.example", "ana")) != house.people["ana"]
    assert await people.person_for(speaking(ISSUER, "ana", "another-app")) == house.people["ana"]


async def test_somebody_made_beforehand_is_found_by_their_token(house: House) -> None:
    asks = house.administrator()
    links = [Link(ISSUER, "eve"), Link("https://other.example", "e-1")]
    eve = (await house.directory.add_person(asks, "Eve Adler", "eve@example.org", links)).value
    people = People(house.requests, house.log)
    assert {await people.person_for(speaking(link.issuer, link.subject)) for link in links} == {eve.id}
    with pytest.raises(Conflict) as refused:
        await house.directory.add_person(asks, "Eve Again", None, [links[1]])
    assert refused.value.extra == {"person": str(eve.id)}


async def test_names_and_addresses_stand_beside_the_log_and_not_in_it(house: House) -> None:
    asks = house.administrator()
    made = (await house.directory.add_person(asks, "Eve Adler", "eve@example.org", [Link(ISSUER, "sub-of-eve")])).value
    await house.directory.amend_person(asks, made.id, {"display_name": "Eve Berg", "email": None})
    await house.directory.add_team(asks, "Moonshot", None)
    for text in ("Eve Adler", "eve@example.org", "Eve Berg", "Moonshot"):
        assert await house.count_records_with(text) == 0
        assert await house.count(f"audit_text WHERE value = '{text}'") == 1
    assert await house.count_records_with("sub-of-eve") == 0
    assert await house.count("audit_text WHERE value = 'sub-of-eve'") == 0


async def test_only_those_whom_the_policy_lets_may_change_the_directory(house: House) -> None:
    before = await revision(house)
    with pytest.raises(Forbidden):
        await house.directory.add_team(house.caller("mia", roles=frozenset({"role:manager"})), "coup", None)
    assert await revision(house) == before
    with pytest.raises(Forbidden):
        await house.directory.people(house.caller("ana"))


async def test_a_role_given_by_the_directory_counts_at_once_until_it_is_taken(house: House) -> None:
    asks = house.administrator()
    await house.directory.give_role(asks, house.people["ben"], "administrator")
    await house.directory.add_team(house.caller("ben"), "by ben", None)
    with pytest.raises(Conflict):
        await house.directory.give_role(asks, house.people["ben"], "administrator")
    await house.directory.take_role(asks, house.people["ben"], "administrator")
    with pytest.raises(Forbidden):
        await house.directory.add_team(house.caller("ben"), "again by ben", None)
    with pytest.raises(NotFound):
        await house.directory.take_role(asks, house.people["ben"], "administrator")


async def test_the_tree_is_closed_over_all_depths(house: House) -> None:
    asks = house.administrator()
    parent = house.teams["east"]
    for depth in range(3):
        parent = (await house.directory.add_team(asks, f"deeper {depth}", parent)).value.id
    rows = await house.owner.fetch("SELECT depth FROM team_path WHERE descendant_id = $1 ORDER BY depth", parent)
    assert [row["depth"] for row in rows] == [0, 1, 2, 3, 4]


async def test_a_membership_is_given_once_at_a_time_and_ended_once(house: House) -> None:
    asks, ana, west = house.administrator(), house.people["ana"], house.teams["west"]
    made = (await house.directory.add_membership(asks, ana, west, Part.MEMBER)).value
    assert made.validity.valid_to is None
    with pytest.raises(Conflict):
        await house.directory.add_membership(asks, ana, west, Part.MEMBER)
    ended = (await house.directory.end_membership(asks, made.id)).value
    assert ended.validity.valid_to is not None
    with pytest.raises(Conflict):
        await house.directory.end_membership(asks, made.id)
    with pytest.raises(NotFound):
        await house.directory.end_membership(asks, uuid4())
    await house.directory.add_membership(asks, ana, west, Part.MEMBER)


NOW = datetime(2026, 3, 2, tzinfo=UTC)
WRONG: list[tuple[str, Callable[[House, Directory], Awaitable[object]]]] = [
    ("parent", lambda h, d: d.add_team(h.administrator(), "orphan", uuid4())),
    ("name", lambda h, d: d.add_team(h.administrator(), "", None)),
    ("person", lambda h, d: d.add_membership(h.administrator(), uuid4(), h.teams["west"], Part.LEAD)),
    ("team", lambda h, d: d.add_membership(h.administrator(), h.people["ana"], uuid4(), Part.LEAD)),
    ("team", lambda h, d: d.grant_importer(h.administrator(), "job", uuid4())),
    ("client", lambda h, d: d.grant_importer(h.administrator(), "j\x00b", h.teams["west"])),
    ("role", lambda h, d: d.give_role(h.administrator(), h.people["ana"], "role:auditor")),
    ("email", lambda h, d: d.add_person(h.administrator(), "Eve", "eve")),
    ("links[1]", lambda h, d: d.add_person(h.administrator(), "Eve", None, [Link("i", "s"), Link("i", "s")])),
    (
        "valid_to",
        lambda h, d: d.give_role(h.administrator(), h.people["ana"], "auditor", Validity(NOW, NOW)),
    ),
    (
        "valid_to",
        lambda h, d: d.give_role(
            h.administrator(), h.people["ana"], "auditor", Validity(None, NOW - timedelta(days=9999))
        ),
    ),
    (
        "valid_from",
        lambda h, d: d.give_role(h.administrator(), h.people["ana"], "auditor", Validity(datetime(2026, 3, 2))),  # noqa: DTZ001  # the point
    ),
    *(
        (
            "valid_from",
            lambda h, d, moment=moment: d.give_role(
                h.administrator(), h.people["ana"], "auditor", Validity(datetime.fromisoformat(moment))
            ),
        )
        for moment in ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59-14:00")
    ),
]


@pytest.mark.parametrize(("named", "attempt"), WRONG)
async def test_a_wrong_field_is_named_and_nothing_is_changed(
    house: House, named: str, attempt: Callable[[House, Directory], Awaitable[object]]
) -> None:
    before = await revision(house)
    with pytest.raises(InvalidField) as refused:
        await attempt(house, house.directory)
    assert [field.field for field in refused.value.fields] == [named]
    assert await revision(house) == before


async def test_a_name_of_a_team_is_given_once(house: House) -> None:
    with pytest.raises(Conflict):
        await house.directory.add_team(house.administrator(), "east", None)


async def test_everybody_is_listed_page_by_page(house: House) -> None:
    asks, found, after = house.administrator(), [], None
    while True:
        page = (await house.directory.people(asks, after=after, limit=3)).value
        found += [item.id for item in page.items]
        if (after := page.after) is None:
            break
    assert sorted(found) == sorted(house.people.values())
    assert [item.name for item in (await house.directory.teams(asks)).value.items] == ["division", "east", "west"]
    assert len((await house.directory.memberships(asks, limit=4)).value.items) == 4


async def test_a_second_account_speaks_for_the_same_person_once_it_is_linked(house: House) -> None:
    """The law against approving one's own hours knows people, not accounts: a linked account changes nothing."""
    await house.directory.link_person(house.administrator(), house.people["ana"], [Link("https://other.example", "a2")])
    people = People(house.requests, house.log)
    assert await people.person_for(speaking("https://other.example", "a2")) == house.people["ana"]


async def test_tokens_that_speak_for_somebody_already_are_not_linked_to_another(house: House) -> None:
    taken = [Link("https://issuer.example", "ben")]
    with pytest.raises(Conflict) as refused:
        await house.directory.link_person(house.administrator(), house.people["ana"], taken)
    assert refused.value.extra["person"] == str(house.people["ben"])
    with pytest.raises(NotFound):
        await house.directory.link_person(house.administrator(), uuid4(), [Link("https://other.example", "nobody")])
