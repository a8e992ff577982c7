"""The directory over HTTP: nobody overwrites what they have not seen, and what is one thing is not told twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from service.directory.entities import Project
from tests.integration.api import InProcess, api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

# A zero-width space and joiner, a no-break space, a filler of Hangul, an empty Braille pattern.
BLANK = ("   ", "\u200b", "\u00a0\u200d ", "\u3164", "\u2800", "\ufeff")


@dataclass(frozen=True, slots=True)
class Administrator:
    """Requests of one who manages the directory."""

    running: InProcess
    house: House

    async def send(
        self, method: str, path: str, body: object = None, etag: str | None = None, *, known: str | None = None
    ) -> httpx2.Response:
        given = {"If-Match": etag, "If-None-Match": known}
        headers = {name: value for name, value in given.items() if value is not None}
        if method == "PATCH":
            headers["Content-Type"] = "application/merge-patch+json"
        scopes = "manage:directory create:timesheets read:timesheets approve:timesheets"
        token = self.running.token(sub="adam", scope=scopes, roles=["administrator"])
        return await self.running.send(method, path, token, headers=headers, body=body)

    async def create(self, path: str, body: dict[str, Any]) -> httpx2.Response:
        answer = await self.send("POST", path, body)
        assert answer.status_code == 201, answer.text
        return answer


@pytest.fixture
async def admin(house: House, issuer: str, linked: None) -> AsyncIterator[Administrator]:
    async with api(house, issuer) as running:
        yield Administrator(running, house)


async def test_of_two_who_change_a_person_a_team_or_a_project_the_second_sees_it_first(admin: Administrator) -> None:
    person = (await admin.create("/v1/people", {"display_name": "Eve Adler", "email": "eve@example.com"})).json()
    team = (await admin.create("/v1/teams", {"name": "Orion"})).json()
    await admin.create("/v1/projects", {"code": "ORION", "name": "Orion"})
    for method, path, first, second in (
        ("PATCH", f"/v1/people/{person['id']}", {"display_name": "Eve Berg"}, {"email": "berg@example.com"}),
        ("PUT", f"/v1/teams/{team['id']}", {"name": "Orion two", "parent": None}, {"name": "Late", "parent": None}),
        ("PUT", "/v1/projects/ORION", {"name": "Orion", "active": False}, {"name": "Late", "active": True}),
    ):
        seen = await admin.send("GET", path)
        assert (seen.status_code, seen.headers["ETag"]) == (200, '"1"')
        assert (await admin.send(method, path, first)).status_code == 428
        changed = await admin.send(method, path, first, seen.headers["ETag"])
        assert (changed.status_code, changed.headers["ETag"]) == (200, '"2"')
        late = await admin.send(method, path, second, seen.headers["ETag"])
        assert (late.status_code, late.json()["type"]) == (412, "urn:timewarden:problem:precondition-failed")
        assert late.json()["decision_id"]
        now = await admin.send("GET", path)
        assert (now.json(), now.headers["ETag"]) == (changed.json(), '"2"')


@pytest.mark.parametrize("kind", ["teams", "people"])
async def test_an_etag_of_a_name_is_not_that_of_the_next_one_with_the_name(admin: Administrator, kind: str) -> None:
    """The name of a team, or the address of a person, went to another one of the same version."""
    if kind == "teams":
        body, path = {"name": "Orion"}, "/v1/teams/Orion"
        change, left, method = {"name": "Orion", "parent": None}, {"name": "Orion two", "parent": None}, "PUT"
    else:
        body, path = {"email": "eve@example.com"}, "/v1/people/eve@example.com"
        change, left, method = {"display_name": "Eve Berg"}, {"email": None}, "PATCH"
    first = await admin.create(f"/v1/{kind}", body)
    tag = (await admin.send("GET", path)).headers["ETag"]
    assert (await admin.send("GET", path, None, known=tag)).status_code == 304
    assert (await admin.send(method, f"/v1/{kind}/{first.json()['id']}", left, tag)).status_code == 200
    await admin.create(f"/v1/{kind}", body)
    second = await admin.send("GET", path)
    assert (await admin.send("GET", path, None, known=tag)).status_code == 200
    assert (await admin.send(method, path, change, tag)).status_code == 412
    assert (await admin.send(method, path, change, second.headers["ETag"])).status_code == 200


async def test_a_patch_of_a_person_changes_what_it_names_and_takes_away_what_is_null(admin: Administrator) -> None:
    made = await admin.create("/v1/people", {"display_name": "Eve Adler", "email": "eve@example.com"})
    path = f"/v1/people/{made.json()['id']}"
    empty = await admin.send("PATCH", path, {}, made.headers["ETag"])
    assert (empty.status_code, empty.headers["ETag"]) == (200, '"1"')
    renamed = await admin.send("PATCH", path, {"display_name": "Eve Berg"}, '"1"')
    assert (renamed.json()["display_name"], renamed.json()["email"]) == ("Eve Berg", "eve@example.com")
    without = await admin.send("PATCH", path, {"email": None}, '"2"')
    assert (without.json()["display_name"], without.json()["email"]) == ("Eve Berg", None)
    for body in ({"email": "no address"}, {"display_name": ""}, {"name": "x"}):
        assert (await admin.send("PATCH", path, body, "*")).status_code == 422


async def test_what_is_not_there_is_not_found_and_that_is_recorded(admin: Administrator) -> None:
    nobody = "0198c0de-0000-7000-8000-000000000000"
    for path in (f"/v1/people/{nobody}", f"/v1/teams/{nobody}", "/v1/projects/NOWHERE"):
        answer = await admin.send("GET", path)
        assert answer.status_code == 404
        assert await admin.house.count(f"audit_record WHERE uid = '{answer.json()['decision_id']}'") == 1
    assert (await admin.send("PATCH", f"/v1/people/{nobody}", {"display_name": "x"}, "*")).status_code == 404


async def test_an_address_is_one_persons_whatever_its_case_and_finds_them(admin: Administrator) -> None:
    eve = (await admin.create("/v1/people", {"email": "Eve@Example.com"})).json()
    other = await admin.create("/v1/people", {"email": "other@example.com"})
    again = await admin.send("POST", "/v1/people", {"email": "eve@example.COM"})
    assert (again.status_code, again.json()["person"]) == (409, eve["id"])
    path = f"/v1/people/{other.json()['id']}"
    assert (await admin.send("PATCH", path, {"email": "EVE@example.com"}, "*")).json()["person"] == eve["id"]
    assert (await admin.send("PATCH", path, {"email": "OTHER@example.com"}, "*")).status_code == 200
    found = (await admin.send("GET", "/v1/people?email=eVe@example.com")).json()
    assert [item["id"] for item in found["items"]] == [eve["id"]]
    assert (await admin.send("GET", "/v1/people?email=nobody@example.com")).json()["items"] == []


async def test_the_roles_of_a_person_are_listed(admin: Administrator) -> None:
    path = f"/v1/people/{admin.house.people['ana']}/roles"
    assert (await admin.send("GET", path)).json()["items"] == []
    for role in ("auditor", "payroll"):
        await admin.create(path, {"role": role})
    assert (await admin.send("DELETE", f"{path}/auditor")).status_code == 200
    listed = (await admin.send("GET", path)).json()["items"]
    assert [(role["role"], role["valid_to"] is None) for role in listed] == [("auditor", False), ("payroll", True)]


async def test_nobody_of_that_id_is_not_found_whatever_is_asked_of_them(admin: Administrator) -> None:
    nobody = "/v1/people/0198c0de-0000-7000-8000-000000000000"
    link, ana = {"issuer": "https://issuer.example", "subject": "nobody"}, str(admin.house.people["ana"])
    for answer in (
        await admin.send("GET", nobody),
        await admin.send("PATCH", nobody, {"display_name": "Nobody"}, "*"),
        await admin.send("POST", f"{nobody}/links", {"links": [link]}),
        await admin.send("POST", f"{nobody}/merge", {"into": ana}),
        await admin.send("GET", f"{nobody}/roles"),
        await admin.send("POST", f"{nobody}/roles", {"role": "auditor"}),
        await admin.send("DELETE", f"{nobody}/roles/auditor"),
        await admin.send("POST", f"{nobody}/erase", {}),
    ):
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:timewarden:problem:not-found"), answer.url


async def test_codes_of_projects_that_differ_only_in_case_conflict(admin: Administrator) -> None:
    await admin.create("/v1/projects", {"code": "Orion", "name": "Orion"})
    again = await admin.send("POST", "/v1/projects", {"code": "ORION", "name": "Orion"})
    assert (again.status_code, "another case" in again.json()["detail"]) == (409, True)
    await admin.house.projects.replace(admin.house.administrator(), Project("Orion", "Orion, still"))
    sheet = await admin.create("/v1/timesheets", {"period_start": "2026-03-02"})
    path, entry = f"{sheet.headers['Location']}/entries", {"day": "2026-03-02", "minutes": 60}
    wrong = await admin.send("POST", path, {**entry, "project": "orion"}, "*")
    assert wrong.json()["fields"] == [{"field": "project", "message": "is not the code of a project; Orion is"}]
    assert (await admin.send("POST", path, {**entry, "project": "Orion"}, "*")).status_code == 201


@pytest.mark.parametrize("blank", BLANK)
async def test_a_name_or_reason_that_shows_nothing_is_none(admin: Administrator, blank: str) -> None:
    made = await admin.create("/v1/people", {"display_name": "\u200bEve"})
    sheet = await admin.house.submit_week("ana")
    mia = admin.running.token(sub="mia", scope="approve:timesheets read:timesheets")
    for method, path, body, field in (
        ("POST", "/v1/people", {"display_name": blank}, "display_name"),
        ("PATCH", f"/v1/people/{made.json()['id']}", {"display_name": blank}, "display_name"),
        ("POST", "/v1/teams", {"name": blank}, "name"),
        ("POST", "/v1/projects", {"code": "EMPTY", "name": blank}, "name"),
        ("POST", "/v1/importer-grants", {"client": blank, "team": str(admin.house.teams["east"])}, "client"),
    ):
        answer = await admin.send(method, path, body, "*" if method == "PATCH" else None)
        assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, field), path
    rejected = await admin.running.send(
        "POST", f"/v1/timesheets/{sheet.id}/reject", mia, headers={"If-Match": f'"{sheet.version}"'},
        body={"reason": blank},
    )  # fmt: skip
    assert (rejected.status_code, rejected.json()["fields"][0]["field"]) == (422, "reason")
