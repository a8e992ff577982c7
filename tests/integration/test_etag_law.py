"""The law of ETags, over random lives of timesheets: through all changes of a sheet, of the people about it and of the
policy, two answers with the same ETag have the same body, and a caller who has the body of an earlier one is sent 304
only then."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import pytest

from service.directory.merging import Merging
from service.errors import TimewardenError
from service.timesheets.entry import Hours, WeekHours
from tests.integration.api import api
from tests.integration.house import MONDAY, anything, speaking
from tests.integration.test_several_approvals import ISSUER, activate, approver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from service.authorization.enforcement.changes import Caller
    from tests.integration.api import InProcess
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
PEOPLE = [f"approver-{number}" for number in range(8)]
STEPS = 60


@dataclass(slots=True)
class Life:
    """A sheet of ana's, with what was read of it: the body of each ETag, by address."""

    house: House
    running: InProcess
    chance: Random
    sheet: UUID
    entry: UUID
    known: dict[str, dict[str, bytes]] = field(default_factory=dict)
    # The people who were not merged, those who approved last at the end.
    people: list[str] = field(default_factory=PEOPLE.copy)

    @property
    def owner(self) -> Caller:
        return self.house.caller("ana")

    async def write(self) -> None:
        """Another note, and perhaps tags, or a note on a day."""
        tags = tuple(self.chance.sample(["a", "b"], self.chance.randrange(3)))
        note = self.chance.choice([None, "kick-off", "drill"])
        hours = [WeekHours(MONDAY, "apollo", 60, note, tags=tags, id=self.entry)]
        day_notes = self.chance.choice([{}, {MONDAY: "Trade fair"}])
        await self.house.timesheets.replace_entries(self.owner, self.sheet, anything, hours, day_notes)

    async def submit(self) -> None:
        await self.house.timesheets.submit(self.owner, self.sheet, anything)

    async def approve(self) -> None:
        name, comment = self.chance.choice(self.people), self.chance.choice([None, "Thank you"])
        await self.house.timesheets.approve(approver(self.house, name), self.sheet, anything, comment)
        self.people.remove(name)
        self.people.append(name)

    async def reject(self) -> None:
        await self.house.timesheets.reject(self.house.caller("mia"), self.sheet, anything, "Friday is missing")

    async def reopen(self) -> None:
        await self.house.timesheets.reopen(self.house.caller("mia"), self.sheet, anything, "Friday is missing")

    async def merge(self) -> None:
        """Merge the person who approved last, into another approver or into the owner."""
        *others, last = self.people
        if not others:
            return
        into = self.chance.choice([*others, *others, "ana"])
        people = self.house.people
        await Merging(self.house.gate).merge(self.house.administrator(), people[last], people[into])
        self.people.remove(last)

    async def change_policy(self) -> None:
        await activate(self.house, f"size(resource.approvals) >= {self.chance.randint(1, 3)}")

    async def erase(self) -> None:
        """The owner of approved hours with texts."""
        with suppress(TimewardenError):
            await self.reopen()
        with suppress(TimewardenError):
            await self.reject()
        await activate(self.house, "size(resource.approvals) >= 1")
        with suppress(TimewardenError):
            await self.write()
        await self.submit()
        await self.house.timesheets.approve(self.house.caller("mia"), self.sheet, anything, "Thank you")
        await self.check()
        await self.house.erasure.erase(self.house.administrator(), self.house.people["ana"])

    async def check(self) -> None:
        """Read the sheet and its entry without an ETag, with the present one, and with all earlier ones."""
        token = self.running.token(sub="robot", client_id="robot", scope="read:timesheets")
        for place in (f"/v1/timesheets/{self.sheet}", f"/v1/timesheets/{self.sheet}/entries/{self.entry}"):
            known = self.known.setdefault(place, {})
            fresh = await self.running.send("GET", place, token)
            tag = fresh.headers["ETag"]
            assert known.setdefault(tag, fresh.content) == fresh.content, (place, tag)
            assert await self.ask_again(place, token, [tag]) == 304
            # Some of them had this state and version, under another policy or before a merge.
            assert await self.ask_again(place, token, [earlier for earlier in known if earlier != tag]) == 200

    async def ask_again(self, place: str, token: str, tags: list[str]) -> int:
        answer = await self.running.send("GET", place, token, headers={"If-None-Match": ", ".join(tags) or '"none"'})
        return answer.status_code


@pytest.mark.parametrize("seed", range(4))
async def test_two_answers_with_the_same_etag_have_the_same_body(house: House, issuer: str, seed: int) -> None:
    for name in PEOPLE:
        house.people[name] = await house.known_people.person_for(speaking(ISSUER, name))
    await activate(house, "size(resource.approvals) >= 2")
    made = (await house.timesheets.create(house.caller("ana"), MONDAY, "UTC", [Hours(MONDAY, "apollo", 60)])).value
    async with api(house, issuer, client_rate=0) as running:
        life = Life(house, running, Random(seed), made.id, made.entries[0].id)  # noqa: S311 — no secret
        steps: list[Callable[[], Awaitable[None]]] = [life.submit, life.submit, *[life.approve] * 4, life.write]
        steps += [life.merge, life.change_policy, life.reject, life.reopen]
        for _ in range(STEPS):
            # Most steps are refused in most states.
            with suppress(TimewardenError, ValueError):
                await life.chance.choice(steps)()
            await life.check()
        await life.erase()
        await life.check()
    bodies = {body for known in life.known.values() for body in known.values()}
    assert len(bodies) > STEPS / 5, "too little happened"
