"""Groups and leads of projects: given for a time, ended once, recorded, and moved by a merge."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.directory.entities import Validity
from service.directory.merging import Merging
from service.errors import Conflict, Forbidden, InvalidField, NotFound
from service.log.packing import unpack
from service.log.record import read_body
from tests.integration.api import InProcess, api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    import httpx2

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

NOW = datetime.now(UTC)
SOON, LATER = NOW + timedelta(days=1), NOW + timedelta(days=9)
UNKNOWN = "0198c0de-0000-7000-8000-000000000000"
PLACES = {
    "group": ("/v1/groups/night-shift/members", "group_member", "group.joined", "group.left"),
    "project": ("/v1/projects/apollo/leads", "project_lead", "project-lead.named", "project-lead.ended"),
}


class Sender:
    """Sends requests of an administrator of the directory."""

    def __init__(self, running: InProcess, house: House) -> None:
        self.running, self.house = running, house

    async def __call__(self, method: str, path: str, body: object = None, **token: Any) -> httpx2.Response:
        who = {"sub": "adam", "scope": "manage:directory create:timesheets", "roles": ["administrator"]} | token
        return await self.running.send(method, path, self.running.token(**who), body=body)


@pytest.fixture
async def send(house: House, issuer: str, linked: None) -> AsyncIterator[Sender]:
    await house.groups.add(house.administrator(), "night-shift")
    async with api(house, issuer) as running:
        yield Sender(running, house)


async def changes_of(house: House, since: int) -> list[dict[str, Any]]:
    """The changes in records of the directory after `since` records."""
    rows = await house.owner.fetch("SELECT body FROM audit_record WHERE kind = 'directory' ORDER BY id")
    bodies: list[dict[str, Any]] = [read_body(unpack(row["body"])) for row in rows[since:]]
    return [body["change"] for body in bodies]


@pytest.mark.parametrize("place", PLACES)
async def test_a_person_is_given_a_place_once_at_a_time_and_it_ends_once(send: Sender, place: str) -> None:
    path, _, begun, ended = PLACES[place]
    ana = str(send.house.people["ana"])
    before = await send.house.count("audit_record WHERE kind = 'directory'")
    made = await send("POST", path, {"person": ana})
    assert made.status_code == 201, made.text
    body = made.json()
    assert (body["person"], body["valid_to"], body[place]) == (ana, None, path.split("/")[3])
    again = await send("POST", path, {"person": ana, "valid_from": SOON.isoformat()})
    assert (again.status_code, again.json()["type"]) == (409, "urn:timewarden:problem:conflict")
    over = await send("POST", f"{path}/{body['id']}/end", {"at": SOON.isoformat()})
    assert (over.status_code, datetime.fromisoformat(over.json()["valid_to"])) == (200, SOON)
    assert (await send("POST", f"{path}/{body['id']}/end", {"at": LATER.isoformat()})).status_code == 409
    assert (await send("POST", path, {"person": ana, "valid_from": SOON.isoformat()})).status_code == 201
    first, second, third = await changes_of(send.house, before)
    assert (first["type"], first["to"]["what"], first["to"]["person"]) == ("directory.changed", begun, ana)
    assert (second["to"]["what"], second["from"]["valid_to"]) == (ended, None)
    assert third["to"]["what"] == begun


@pytest.mark.parametrize("place", PLACES)
async def test_a_list_shows_past_ones_too_unless_it_is_asked_for_a_time(send: Sender, place: str) -> None:
    path = PLACES[place][0]
    people = [str(send.house.people[name]) for name in ("ana", "ben", "carl")]
    made = [(await send("POST", path, {"person": person})).json()["id"] for person in people]
    await send("POST", f"{path}/{made[0]}/end")
    assert [item["id"] for item in (await send("GET", path)).json()["items"]] == made
    soon = (datetime.now(UTC) + timedelta(minutes=5)).isoformat().replace("+00:00", "Z")
    now = (await send("GET", f"{path}?as_of={soon}")).json()
    assert [item["id"] for item in now["items"]] == made[1:]
    first = (await send("GET", f"{path}?limit=2")).json()
    rest = (await send("GET", f"{path}?limit=2&cursor={first['next_cursor']}")).json()
    assert [item["id"] for item in (*first["items"], *rest["items"])] == made
    assert rest["next_cursor"] is None


@pytest.mark.parametrize("place", PLACES)
async def test_wrong_input_names_its_field_and_changes_nothing(send: Sender, place: str) -> None:
    path, table, _, _ = PLACES[place]
    ana = str(send.house.people["ana"])
    backwards = {"valid_from": LATER.isoformat(), "valid_to": SOON.isoformat()}
    for body, field in (
        ({"person": UNKNOWN}, "person"),
        ({"person": "ana"}, "person"),
        ({}, "person"),
        ({"person": ana, **backwards}, "valid_to"),
        ({"person": ana, "valid_from": "2026-03-02T00:00:00"}, "valid_from"),
        ({"person": ana, "team": UNKNOWN}, "team"),
    ):
        answer = await send("POST", path, body)
        assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, field), answer.text
    unknown = path.replace("night-shift", "day-shift").replace("apollo", "sputnik")
    for method, asked, given in (
        ("GET", unknown, None),
        ("POST", unknown, {"person": ana}),
        ("POST", f"{path}/{UNKNOWN}/end", {}),
        ("POST", f"{unknown}/{UNKNOWN}/end", {}),
    ):
        assert (await send(method, asked, given)).status_code == 404, asked
    wrong = path.replace("night-shift", "Night%20Shift").replace("apollo", "-")
    assert (await send("GET", wrong)).status_code == 422
    assert await send.house.count(table) == 0


@pytest.mark.parametrize("place", PLACES)
async def test_a_place_is_ended_under_its_own_path_only(send: Sender, place: str) -> None:
    path, table, _, _ = PLACES[place]
    other = path.replace("night-shift", "day-shift").replace("apollo", "gemini")
    await send.house.groups.add(send.house.administrator(), "day-shift")
    made = (await send("POST", path, {"person": str(send.house.people["ana"])})).json()
    assert (await send("POST", f"{other}/{made['id']}/end")).status_code == 404
    assert await send.house.count(f"{table} WHERE valid_to = 'infinity'") == 1


@pytest.mark.parametrize("place", PLACES)
async def test_only_those_who_manage_the_directory_may(send: Sender, place: str) -> None:
    path, body = PLACES[place][0], {"person": str(send.house.people["ana"])}
    for method, asked, given in (("GET", path, None), ("POST", path, body), ("POST", f"{path}/{UNKNOWN}/end", {})):
        assert (await send(method, asked, given, sub="ana", roles=[])).status_code in {403, 404}
        assert (await send(method, asked, given, scope="create:timesheets")).status_code == 403


async def test_groups_are_listed_by_name_and_by_their_members_of_now(send: Sender) -> None:
    house, admin = send.house, send.house.administrator()
    for name in ("works-council", "auditors", "9-to-5"):
        assert (await send("POST", "/v1/groups", {"name": name})).json() == {"name": name}
    ana = house.people["ana"]
    await house.members.add(admin, "auditors", ana)
    await house.members.add(admin, "works-council", ana, Validity(SOON, LATER))
    everything = ["9-to-5", "auditors", "night-shift", "works-council"]
    assert [group["name"] for group in (await send("GET", "/v1/groups")).json()["items"]] == everything
    first = (await send("GET", "/v1/groups?limit=3")).json()
    rest = (await send("GET", f"/v1/groups?limit=3&cursor={first['next_cursor']}")).json()
    assert [group["name"] for group in (*first["items"], *rest["items"])] == everything
    assert (await send("GET", f"/v1/groups?person={ana}")).json()["items"] == [{"name": "auditors"}]
    taken = await send("POST", "/v1/groups", {"name": "auditors"})
    assert (taken.status_code, taken.json()["type"]) == (409, "urn:timewarden:problem:conflict")
    for name in ("Auditors", "group:x", "-x", "a b", "x" * 64, ""):
        answer = await send("POST", "/v1/groups", {"name": name})
        assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, "name")


@pytest.mark.parametrize("place", PLACES)
async def test_a_merge_moves_what_is_held_and_plans_it_no_twice(house: House, place: str) -> None:
    admin, ana, ben, carl = house.administrator(), *(house.people[name] for name in ("ana", "ben", "carl"))
    await house.groups.add(admin, "night-shift")
    table = PLACES[place][1]

    async def begin(person: UUID, validity: Validity) -> None:
        if place == "group":
            await house.members.add(admin, "night-shift", person, validity)
        else:
            await house.project_leads.add(admin, "apollo", person, validity)

    await begin(ana, Validity(None, LATER))
    await begin(ben, Validity(None, None))
    await house.owner.execute("DELETE FROM membership WHERE person_id IN ($1, $2)", ana, ben)
    await Merging(house.gate).merge(admin, ana, ben)
    held = f"SELECT person_id, nullif(valid_to, 'infinity') FROM {table} WHERE valid_to > now() + interval '1 minute'"
    assert [tuple(row) for row in await house.owner.fetch(held)] == [(ben, None)]
    with pytest.raises(InvalidField) as error:
        await begin(ana, Validity())
    assert error.value.fields[0].message == f"was merged into {ben}"
    await begin(carl, Validity(SOON, LATER))
    with pytest.raises(Conflict):
        await begin(carl, Validity(None, None))


async def test_a_caller_without_rights_learns_nothing_of_a_group(house: House) -> None:
    await house.groups.add(house.administrator(), "night-shift")
    for name in ("night-shift", "no-such-group"):
        with pytest.raises((Forbidden, NotFound)) as refused:
            await house.members.list(house.caller("ana"), name)
        assert type(refused.value) is Forbidden


async def test_an_erasure_leaves_no_personal_data_in_attributes(house: House) -> None:
    """No vocabulary declares an attribute, so every value counts as personal."""
    ana = house.people["ana"]
    await house.owner.execute("UPDATE person SET attributes = $2 WHERE id = $1", ana, json.dumps({"country": "DE"}))
    await house.erasure.erase(house.administrator(), ana)
    assert await house.owner.fetchval("SELECT attributes::text FROM person WHERE id = $1", ana) == "{}"
