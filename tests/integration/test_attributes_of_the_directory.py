"""Attributes of people, teams and projects under a vocabulary that declares them: over HTTP, in records, by merges and
erasures, and under a later vocabulary."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from service.directory.merging import Merging
from service.errors import NotFound
from service.log.packing import unpack
from service.log.record import read_body
from tests.integration.api import InProcess, api
from tests.integration.declared_directory import DECLARED, declare
from tests.integration.house import MONDAY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

ALL = {"country": "DE", "level": 3, "external": False, "hired": "2026-03-01T07:00:00Z", "sites": ["Berlin", "Rome"]}


class Administrator:
    """Sends requests of an administrator of the directory."""

    def __init__(self, running: InProcess) -> None:
        self.running = running

    async def __call__(self, method: str, path: str, body: object = None, etag: str = "*") -> httpx2.Response:
        token = self.running.token(sub="adam", scope="manage:directory create:timesheets", roles=["administrator"])
        headers = {"If-Match": etag} if method in {"PUT", "PATCH"} else {}
        if method == "PATCH":
            headers["Content-Type"] = "application/merge-patch+json"
        return await self.running.send(method, path, token, headers=headers, body=body)


@pytest.fixture
async def send(house: House, issuer: str, linked: None) -> AsyncIterator[Administrator]:
    await declare(house)
    async with api(house, issuer) as running:
        yield Administrator(running)


async def last_change(house: House) -> tuple[dict[str, Any], dict[str, str]]:
    """The newest change of the directory, and its texts."""
    found = await house.owner.fetchrow(
        "SELECT uid, body FROM audit_record WHERE kind = 'directory' ORDER BY id DESC LIMIT 1"
    )
    assert found is not None
    body: dict[str, Any] = read_body(unpack(found["body"]))
    texts = await house.owner.fetch("SELECT field, value FROM audit_text WHERE record_uid = $1", found["uid"])
    return body, {text["field"]: text["value"] for text in texts}


async def test_a_person_keeps_what_a_patch_does_not_name(house: House, send: Administrator) -> None:
    made = await send("POST", "/v1/people", {"attributes": {**ALL, "hired": "2026-03-01T09:00:00+02:00"}})
    assert (made.status_code, made.json()["attributes"]) == (201, ALL)
    path = f"/v1/people/{made.json()['id']}"
    assert (await send("GET", path)).json()["attributes"] == ALL
    changed = await send("PATCH", path, {"attributes": {"level": 4, "sites": None}}, made.headers["ETag"])
    wanted = {name: value for name, value in ALL.items() if name != "sites"} | {"level": 4}
    assert (changed.status_code, changed.json()["attributes"], changed.headers["ETag"]) == (200, wanted, '"2"')
    assert (await send("PATCH", path, {"display_name": "Eve"})).json()["attributes"] == wanted
    again = await send("PATCH", path, {"attributes": {"level": 4}})
    assert again.headers["ETag"] == '"3"', "a value that is there already changes nothing"
    listed = (await send("GET", "/v1/people")).json()["items"]
    assert [person["attributes"] for person in listed if person["attributes"]] == [wanted]


@pytest.mark.parametrize(
    ("path", "body", "values"),
    [
        ("/v1/teams", {"name": "Orion", "parent": None}, {"region": "north"}),
        ("/v1/projects", {"code": "ORION", "name": "Orion", "active": True}, {"customer": "acme", "budget": 7}),
    ],
)
async def test_a_put_replaces_all_values_or_leaves_them(
    send: Administrator, path: str, body: dict[str, Any], values: dict[str, Any]
) -> None:
    made = await send("POST", path, {**body, "attributes": values})
    assert (made.status_code, made.json()["attributes"]) == (201, values), made.text
    path, code = f"{path}/{made.json().get('id', body.get('code'))}", body.pop("code", None)
    assert (await send("PUT", path, body)).json()["attributes"] == values
    assert (await send("PUT", path, {**body, "attributes": None})).json()["attributes"] == values
    name = next(iter(values))
    assert (await send("PUT", path, {**body, "attributes": {name: "x"}})).json()["attributes"] == {name: "x"}
    assert (await send("PUT", path, {**body, "attributes": {}})).json()["attributes"] == {}
    assert (await send("GET", path)).json()["attributes"] == {}
    assert code is None or (await send("GET", "/v1/projects")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "field", "message"),
    [
        ("POST", "/v1/people", {"attributes": {"level": "3"}}, "attributes.level", "must be a whole number"),
        ("POST", "/v1/people", {"attributes": {"contry": "DE"}}, "attributes.contry", "did you mean 'country'?"),
        ("POST", "/v1/people", {"attributes": {"region": "x"}}, "attributes.region", "country (string)"),
        ("PATCH", "/v1/people/{ana}", {"attributes": {"hired": "2026-03-01"}}, "attributes.hired", "RFC 3339"),
        ("PATCH", "/v1/people/{ana}", {"attributes": {"shoes": None}}, "attributes.shoes", "is not declared"),
        ("PATCH", "/v1/people/{ana}", {"attributes": None}, "attributes", "must be an object"),
        ("POST", "/v1/teams", {"name": "X", "attributes": {"country": "DE"}}, "attributes.country", "region (string)"),
        (
            "PUT", "/v1/projects/apollo", {"name": "A", "active": True, "attributes": {"budget": 2**53}},
            "attributes.budget", "must be a whole number",
        ),
    ],
)  # fmt: skip
async def test_what_is_not_declared_is_refused_and_changes_nothing(
    house: House, send: Administrator, method: str, path: str, body: object, field: str, message: str
) -> None:
    before = await house.owner.fetchval("SELECT revision FROM directory_revision")
    answer = await send(method, path.replace("{ana}", str(house.people["ana"])), body)
    assert answer.status_code == 422, answer.text
    (wrong,) = answer.json()["fields"]
    assert (wrong["field"], message in wrong["message"]) == (field, True), wrong
    assert await house.owner.fetchval("SELECT revision FROM directory_revision") == before


async def test_a_record_names_what_changed_and_the_values_stand_beside_it(house: House, send: Administrator) -> None:
    path = f"/v1/people/{house.people['ana']}"
    await send("PATCH", path, {"attributes": {"country": "Freedonia", "sites": ["Hidden valley"]}})
    body, texts = await last_change(house)
    assert body["change"]["to"] == {"what": "person.described", "attributes": ["country", "sites"]}
    assert texts == {"attributes.country": "Freedonia", "attributes.sites": '["Hidden valley"]'}
    assert await house.count_records_with("Freedonia") == 0
    await send("PATCH", path, {"attributes": {"country": None}})
    body, texts = await last_change(house)
    assert (body["change"]["to"]["attributes"], texts) == (["country"], {})
    await send("PUT", "/v1/projects/apollo", {"name": "Apollo", "active": True, "attributes": {"customer": "Acme"}})
    body, texts = await last_change(house)
    assert (body["change"]["to"]["attributes"], texts["attributes.customer"]) == (["customer"], "Acme")


async def test_under_a_later_vocabulary_a_value_stays_until_it_is_removed(house: House, send: Administrator) -> None:
    path, team = f"/v1/people/{house.people['ana']}", {"name": "Orion", "parent": None}
    await send("PATCH", path, {"attributes": {"country": "DE", "level": 3}})
    made = (await send("POST", "/v1/teams", {**team, "attributes": {"region": "north"}})).json()
    await declare(house, '[directory.people]\ncountry = "int"\n')
    seen = await send("GET", path)
    assert seen.json()["attributes"] == {"country": "DE", "level": 3}
    assert (await send("PATCH", path, {"attributes": {"level": 4}})).status_code == 422
    assert (await send("PATCH", path, {"attributes": {"level": None}})).json()["attributes"] == {"country": "DE"}
    assert (await send("PATCH", path, {"attributes": {"country": 49}})).json()["attributes"] == {"country": 49}
    # Who sends back what was read changes nothing.
    kept = await send("PUT", f"/v1/teams/{made['id']}", {**team, "attributes": {"region": "north"}})
    assert (kept.status_code, kept.json()["attributes"]) == (200, {"region": "north"})
    assert (await send("PUT", f"/v1/teams/{made['id']}", {**team, "attributes": {"region": "x"}})).status_code == 422


async def test_a_merge_keeps_the_values_of_the_remaining_person_and_fills_gaps(
    house: House, send: Administrator
) -> None:
    ana, ben = house.people["ana"], house.people["ben"]
    await send("PATCH", f"/v1/people/{ana}", {"attributes": {"country": "DE", "level": 3}})
    await send("PATCH", f"/v1/people/{ben}", {"attributes": {"country": "FR"}})
    await house.owner.execute("DELETE FROM membership WHERE person_id = $1", ana)
    await Merging(house.gate).merge(house.administrator(), ana, ben)
    assert (await send("GET", f"/v1/people/{ben}")).json()["attributes"] == {"country": "FR", "level": 3}
    assert (await send("GET", f"/v1/people/{ana}")).json()["attributes"] == {}
    refused = await send("PATCH", f"/v1/people/{ana}", {"attributes": {"country": "IT"}})
    assert (refused.status_code, refused.json()["person"]) == (409, str(ben))


LEVELS = (
    DECLARED
    + """
[kinds.timesheet.facts.senior]
is = "principal.level > resource.owner.level"
yes = "you are above this person's level"
no = "you are not above this person's level"
unknown = "the levels are not known"
"""
)


async def test_an_erasure_removes_personal_values_of_the_caller_and_of_the_owner_from_decisions(house: House) -> None:
    await declare(house, LEVELS, "p, allow, anyone, read, any, timesheet, read:timesheets, senior, read-juniors\n")
    ana, carl = house.people["ana"], house.people["carl"]
    for person, level in ((ana, 3), (carl, 7)):
        await house.owner.execute(
            "UPDATE person SET attributes = $2 WHERE id = $1", person, json.dumps({"level": level})
        )
    sheet = (await house.timesheets.create(house.caller("ana"), MONDAY, "UTC")).value.id
    await house.owner.execute("DELETE FROM audit_text")
    await house.timesheets.read(house.caller("carl"), sheet)

    async def texts() -> set[tuple[str, str]]:
        found = await house.owner.fetch("SELECT field, value FROM audit_text WHERE field LIKE 'attributes.%'")
        return {(text["field"], text["value"]) for text in found}

    assert await texts() == {("attributes.principal.level", "7"), ("attributes.resource.owner.level", "3")}
    # A second account of the owner is the owner.
    await house.owner.execute("DELETE FROM membership WHERE person_id = $1", ana)
    await Merging(house.gate).merge(house.administrator(), ana, house.people["ben"])
    wanted = (await house.erasure.preview(house.administrator(), house.people["ben"])).value
    assert (await house.erasure.erase(house.administrator(), house.people["ben"])).value == wanted
    assert await texts() == {("attributes.principal.level", "7")}
    assert (await house.erasure.erase(house.administrator(), carl)).value.texts == 1
    assert await texts() == set()


async def test_a_number_that_no_record_could_hold_counts_as_a_missing_value(house: House) -> None:
    public = LEVELS.replace(", personal = true", "")
    await declare(house, public, "p, allow, anyone, read, any, timesheet, read:timesheets, senior, read-juniors\n")
    sheet = (await house.timesheets.create(house.caller("ana"), MONDAY, "UTC")).value.id
    for level, allowed in ((2**53 - 1, True), (2**53, False)):
        for name, value in (("ana", 3), ("carl", level)):
            await house.owner.execute(
                "UPDATE person SET attributes = $2 WHERE id = $1", house.people[name], json.dumps({"level": value})
            )
        with nullcontext() if allowed else pytest.raises(NotFound):
            await house.timesheets.read(house.caller("carl"), sheet)


async def test_an_erasure_removes_personal_values_and_their_texts(house: House, send: Administrator) -> None:
    ana = house.people["ana"]
    await send("PATCH", f"/v1/people/{ana}", {"attributes": ALL})
    # A name of an earlier vocabulary may be personal data too.
    await house.owner.execute(
        "UPDATE person SET attributes = attributes || $2 WHERE id = $1", ana, json.dumps({"shoe_size": 43})
    )
    path = f"/v1/people/{ana}/erase"
    wanted = (await send("POST", path, {"dry_run": True})).json()
    done = (await send("POST", path, {})).json()
    assert (wanted["attributes"], done["attributes"]) == (3, 3)
    kept = {name: ALL[name] for name in ("country", "external", "sites")}
    assert (await send("GET", f"/v1/people/{ana}")).json()["attributes"] == kept
    assert await house.count("audit_text WHERE field LIKE 'attributes.%'") == 0
