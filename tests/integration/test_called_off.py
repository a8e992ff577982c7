"""What was planned in the directory is called off before it begins: it never holds, and makes way for what comes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.directory.entities import Part, Validity
from service.directory.grant_store import MembershipFilter
from service.errors import Conflict, NotFound
from tests.integration.test_organisation import changes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

DAY = timedelta(days=1)
ALWAYS = Validity()


class Kind:
    """One of the five things of the directory that hold for a time: how it is given to ana (or a client), and ended."""

    def __init__(self, table: str, give: Callable[..., Any], end: Callable[..., Any]) -> None:
        self.table, self._give, self._end = table, give, end

    async def give(self, house: House, validity: Validity = ALWAYS) -> Any:
        return (await self._give(house, validity)).value

    async def end(self, house: House, item: Any, at: datetime | None = None) -> Validity:
        ended: Awaitable[Any] = self._end(house, item, at) if at else self._end(house, item)
        validity: Validity = (await ended).value.validity
        return validity


KINDS = {
    "a membership": Kind(
        "membership",
        lambda house, validity: house.directory.add_membership(
            house.administrator(), house.people["ana"], house.teams["west"], Part.LEAD, validity
        ),
        lambda house, item, *at: house.directory.end_membership(house.administrator(), item.id, *at),
    ),
    "a delegate": Kind(
        "delegation",
        lambda house, validity: house.delegations.grant(
            house.manager("mia"), house.people["mia"], house.people["ana"], validity
        ),
        lambda house, item, *at: house.delegations.end(house.caller("mia"), item.id, *at),
    ),
    "a fallback approver": Kind(
        "fallback_approver",
        lambda house, validity: house.fallbacks.name(house.administrator(), house.people["ana"], None, validity),
        lambda house, item, *at: house.fallbacks.end(house.administrator(), item.id, *at),
    ),
    "an importer": Kind(
        "importer_grant",
        lambda house, validity: house.directory.grant_importer(
            house.administrator(), "robot", house.teams["east"], validity
        ),
        lambda house, item, *at: house.directory.end_importer_grant(house.administrator(), item.id, *at),
    ),
    "a role": Kind(
        "person_role",
        lambda house, validity: house.directory.give_role(
            house.administrator(), house.people["ana"], "auditor", validity
        ),
        lambda house, item, *_: house.directory.take_role(house.administrator(), item.person, item.role),
    ),
}
DATED = sorted(KINDS.keys() - {"a role"})


@pytest.mark.parametrize("name", KINDS)
async def test_what_was_planned_is_called_off_and_stays_in_the_history_without_a_moment(
    house: House, name: str
) -> None:
    kind, later = KINDS[name], datetime.now(UTC) + DAY
    planned = await kind.give(house, Validity(later, None))
    with pytest.raises(Conflict):
        await kind.give(house)
    assert await kind.end(house, planned) == Validity(later, later)
    told = (await changes(house))[-1]
    assert (told["from"]["valid_to"], told["to"]["valid_to"]) == (None, told["to"]["valid_from"])
    with pytest.raises((Conflict, NotFound)):
        await kind.end(house, planned)
    stayed = await house.owner.fetch(f"SELECT valid_from, valid_to FROM {kind.table} WHERE valid_from = valid_to")
    assert [tuple(row) for row in stayed] == [(later, later)]
    # As if it had never been planned, for the very time as well.
    again = await kind.give(house, Validity(later, None))
    await kind.end(house, again)
    assert (await kind.give(house)).validity.valid_to is None


@pytest.mark.parametrize("name", DATED)
async def test_an_end_is_moved_nearer_only_and_not_into_the_past(house: House, name: str) -> None:
    kind, now = KINDS[name], datetime.now(UTC)
    item = await kind.give(house)
    assert (await kind.end(house, item, now + 3 * DAY)).valid_to == now + 3 * DAY
    assert (await kind.end(house, item, now + 2 * DAY)).valid_to == now + 2 * DAY
    for wrong in (now + 2 * DAY, now + 3 * DAY, now - DAY):
        with pytest.raises(Conflict):
            await kind.end(house, item, wrong)
    ended = await kind.end(house, item)
    assert ended.valid_to is not None
    assert ended.valid_to < now + DAY
    with pytest.raises(Conflict):
        await kind.end(house, item)


@pytest.mark.parametrize("name", DATED)
async def test_what_would_end_before_it_begins_never_begins(house: House, name: str) -> None:
    kind, later = KINDS[name], datetime.now(UTC) + 2 * DAY
    planned = await kind.give(house, Validity(later, later + DAY))
    assert await kind.end(house, planned, later - DAY) == Validity(later, later)


async def test_a_role_that_is_taken_back_is_neither_held_nor_planned_any_more(house: House) -> None:
    admin, ana, later = house.administrator(), house.people["ana"], datetime.now(UTC) + DAY
    await house.directory.give_role(admin, ana, "auditor", Validity(None, later))
    await house.directory.give_role(admin, ana, "auditor", Validity(later + DAY, None))
    taken = (await house.directory.take_role(admin, ana, "auditor")).value
    assert taken.validity.valid_to is not None
    assert taken.validity.valid_to < later
    assert [change["to"]["what"] for change in await changes(house)][-2:] == ["role.taken", "role.taken"]
    assert await house.count("person_role WHERE role = 'auditor' AND valid_to > now() AND valid_from < valid_to") == 0
    with pytest.raises(NotFound):
        await house.directory.take_role(admin, ana, "auditor")


async def test_a_membership_that_was_called_off_is_nowhere_at_no_moment(house: House) -> None:
    admin, ana, later = house.administrator(), house.people["ana"], datetime.now(UTC) + DAY
    planned = (
        await house.directory.add_membership(admin, ana, house.teams["west"], Part.MEMBER, Validity(later, None))
    ).value
    await house.directory.end_membership(admin, planned.id)
    for moment in (later - timedelta(microseconds=1), later, later + timedelta(microseconds=1)):
        found = (await house.directory.memberships(admin, MembershipFilter(person=ana, as_of=moment))).value.items
        assert [membership.team for membership in found] == [house.teams["east"]]
    # Ended ones are listed too, when no moment is asked for.
    assert planned.id in [
        item.id for item in (await house.directory.memberships(admin, MembershipFilter(person=ana))).value.items
    ]


async def test_an_import_does_not_see_what_was_called_off(house: House) -> None:
    admin, ana, later = house.administrator(), house.people["ana"], datetime(2027, 6, 1, tzinfo=UTC)
    await house.owner.execute("UPDATE person SET email = 'ana@example.com' WHERE id = $1", ana)
    added = await house.directory.add_membership(admin, ana, house.teams["west"], Part.MEMBER, Validity(later, None))
    await house.directory.end_membership(admin, added.value.id)
    raw = b"record,email,team,valid_from\nmember,ana@example.com,west,2027-05-01T00:00:00Z\n"
    assert [row.outcome for row in (await house.imports.load(admin, raw)).value] == ["created"]
