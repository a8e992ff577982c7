"""Entries over HTTP: merge patches change what they name and nothing else, and hours go to projects that take them."""

from __future__ import annotations

from contextlib import asynccontextmanager
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

MERGE_PATCH = "application/merge-patch+json"
ENTRY = {"day": "2026-03-02", "project": "ATLAS", "minutes": 60, "note": "kick-off"}


@dataclass(frozen=True, slots=True)
class Sheet:
    """Ana's sheet with one entry, and its owner's requests."""

    running: InProcess
    path: str
    entry: str

    async def send(
        self, method: str, rest: str, body: object, version: int | None, kind: str = "application/json"
    ) -> httpx2.Response:
        headers = {"Content-Type": kind} | ({} if version is None else {"If-Match": f'"{version}"'})
        token = self.running.token(sub="ana")
        return await self.running.send(method, f"{self.path}{rest}", token, headers=headers, body=body)

    async def patch(self, body: object, version: int | None = 2, kind: str = MERGE_PATCH) -> httpx2.Response:
        return await self.send("PATCH", f"/entries/{self.entry}", body, version, kind)

    async def entries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.send("GET", "", None, None)).json()["entries"]
        return [{name: entry[name] for name in ENTRY} for entry in found]


@pytest.fixture
async def sheet(house: House, issuer: str) -> AsyncIterator[Sheet]:
    async with sheet_of(house, issuer) as made:
        yield made


@pytest.fixture(scope="module")
async def common_sheet(common_house: House, issuer: str) -> AsyncIterator[Sheet]:
    """For all tests that change nothing."""
    async with sheet_of(common_house, issuer) as made:
        yield made


@asynccontextmanager
async def sheet_of(house: House, issuer: str, **settings: Any) -> AsyncIterator[Sheet]:
    await house.link_people(issuer)
    async with api(house, issuer, **settings) as running:
        token = running.token(sub="ana")
        made = await running.send("POST", "/v1/timesheets", token, body={"period_start": "2026-03-02"})
        path = f"/v1/timesheets/{made.json()['id']}"
        added = await running.send("POST", f"{path}/entries", token, headers={"If-Match": '"1"'}, body=ENTRY)
        assert added.status_code == 201, added.text
        yield Sheet(running, path, added.json()["entries"][0]["id"])


@pytest.mark.parametrize(
    "change",
    [
        {"minutes": 90},
        {"note": None},
        {"note": "retrospective", "day": "2026-03-08"},
        {"project": "BOREALIS"},
        {"day": "2026-03-03", "project": "SITE", "minutes": 1440, "note": None},
    ],
    ids=str,
)
async def test_a_merge_patch_changes_what_it_names_and_keeps_the_rest(sheet: Sheet, change: dict[str, object]) -> None:
    answer = await sheet.patch(change)
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"3"'), answer.text
    assert await sheet.entries() == [{**ENTRY, **change}]


async def test_a_merge_patch_that_names_nothing_makes_no_new_version(house: House, sheet: Sheet) -> None:
    changes = await house.count("audit_record WHERE kind = 'change'")
    answer = await sheet.patch({})
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"2"')
    assert await house.count("audit_record WHERE kind = 'change'") == changes
    decided = "SELECT outcome FROM audit_record WHERE uid = $1::text::uuid AND action = 'edit'"
    assert await house.owner.fetchval(decided, answer.headers["Decision-Id"]) == "allow"
    assert (await sheet.patch({}, 1)).status_code == 412


async def test_where_a_new_entry_is_said_to_be_it_is_found(house: House, sheet: Sheet) -> None:
    added = await sheet.send("POST", "/entries", {**ENTRY, "day": "2026-03-03"}, 2)
    token = sheet.running.token(sub="ana")
    found = await sheet.running.send("GET", added.headers["Location"], token)
    assert (found.status_code, found.headers["ETag"]) == (200, '"3"')
    assert found.json() == next(entry for entry in added.json()["entries"] if entry["day"] == "2026-03-03")
    # Recorded as a read of the sheet, also when there is no such entry.
    missing = await sheet.running.send("GET", f"{sheet.path}/entries/0198c0de-0000-7000-8000-00000000dead", token)
    assert missing.status_code == 404
    read = "SELECT returned FROM audit_record WHERE uid = $1::text::uuid AND action = 'read' AND outcome = 'allow'"
    for answer in (found, missing):
        returned = await house.owner.fetchval(read, answer.headers["Decision-Id"])
        assert [str(sheet_id) for sheet_id in returned] == [sheet.path.rpartition("/")[2]]
    stranger = await sheet.running.send("GET", added.headers["Location"], sheet.running.token(sub="carl"))
    assert stranger.status_code == 404


@pytest.mark.parametrize(
    "zone", ["localtime", "Factory", "posixrules", "posix/Europe/Berlin", "europe/berlin", "UTC+1"]
)
async def test_a_time_zone_is_a_place_of_the_iana_database(sheet: Sheet, zone: str) -> None:
    body = {"period_start": "2026-03-09", "time_zone": zone}
    answer = await sheet.running.send("POST", "/v1/timesheets", sheet.running.token(sub="ana"), body=body)
    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, "time_zone")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"minutes": 0}, "minutes"),
        ({"minutes": 1441}, "minutes"),
        ({"minutes": 7.5}, "minutes"),
        ({"minutes": "60"}, "minutes"),
        ({"minutes": None}, "minutes"),
        ({"day": None}, "day"),
        ({"day": "2026-03-09"}, "day"),
        ({"day": "2026-02-30"}, "day"),
        ({"project": None}, "project"),
        ({"project": ""}, "project"),
        ({"project": "no such"}, "project"),
        ({"project": "NOWHERE"}, "project"),
        ({"note": ""}, "note"),
        ({"note": "x" * 501}, "note"),
        ({"note": "a\u0007"}, "note"),
        ({"hours": 7}, "hours"),
        ({"id": "other"}, "id"),
        ([], "body"),
        ("minutes", "body"),
    ],
    ids=str,
)
async def test_a_patch_that_does_not_fit_names_its_field_and_changes_nothing(
    common_sheet: Sheet, change: object, field: str
) -> None:
    answer = await common_sheet.patch(change)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["fields"]] == [field]
    assert await common_sheet.entries() == [ENTRY]


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/json-patch+json", ""])
async def test_a_patch_of_another_media_type_is_refused(common_sheet: Sheet, kind: str) -> None:
    answer = await common_sheet.patch({"minutes": 5}, kind=kind)
    assert answer.status_code == 415
    assert MERGE_PATCH in answer.json()["detail"]
    assert await common_sheet.entries() == [ENTRY]


@pytest.mark.parametrize(("version", "status"), [(None, 428), (1, 412), (3, 412)])
async def test_a_patch_needs_the_version_that_was_seen(common_sheet: Sheet, version: int | None, status: int) -> None:
    assert (await common_sheet.patch({"minutes": 5}, version)).status_code == status
    assert await common_sheet.entries() == [ENTRY]


async def test_a_stranger_learns_nothing_from_a_patch(sheet: Sheet) -> None:
    for version in ('"2"', '"999"', None):
        headers = {"Content-Type": MERGE_PATCH} | ({"If-Match": version} if version else {})
        path = f"{sheet.path}/entries/{sheet.entry}"
        answer = await sheet.running.send(
            "PATCH", path, sheet.running.token(sub="carl"), headers=headers, body={"minutes": 5}
        )
        assert answer.status_code == 404


async def test_a_submitted_sheet_takes_no_patch(sheet: Sheet) -> None:
    assert (await sheet.send("POST", "/submit", None, 2)).status_code == 200
    answer = await sheet.patch({"minutes": 5}, 3)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:timewarden:problem:wrong-state")


async def test_hours_that_stand_on_a_closed_project_stay_and_new_ones_are_refused(house: House, sheet: Sheet) -> None:
    await house.projects.replace(house.administrator(), Project("ATLAS", "Atlas", active=False))
    refused = await sheet.send("POST", "/entries", {**ENTRY, "day": "2026-03-03"}, 2)
    assert refused.status_code == 422
    assert refused.json()["fields"] == [
        {"field": "project", "message": "is the code of a project that accepts no more hours"}
    ]
    corrected = await sheet.patch({"minutes": 30, "day": "2026-03-04"})
    assert corrected.status_code == 200, corrected.text
    away = await sheet.patch({"project": "SITE"}, 3)
    assert away.status_code == 200
    back = await sheet.patch({"project": "ATLAS"}, 4)
    assert (back.status_code, back.json()["fields"][0]["field"]) == (422, "project")
    await house.projects.replace(house.administrator(), Project("ATLAS", "Atlas", active=True))
    assert (await sheet.patch({"project": "ATLAS"}, 4)).status_code == 200


async def test_an_unknown_project_is_told_only_to_who_may_write_the_sheet(sheet: Sheet) -> None:
    entry = {**ENTRY, "project": "NOWHERE"}
    own = await sheet.send("POST", "/entries", entry, 2)
    assert own.json()["fields"] == [{"field": "project", "message": "is not the code of a project"}]
    token = sheet.running.token(sub="carl")
    stranger = await sheet.running.send("POST", f"{sheet.path}/entries", token, headers={"If-Match": '"2"'}, body=entry)
    assert stranger.status_code == 404


async def test_a_read_of_the_version_that_the_caller_has_is_answered_without_its_body(
    house: House, sheet: Sheet
) -> None:
    async def read(*tags: str, method: str = "GET", query: str = "") -> httpx2.Response:
        token = sheet.running.token(sub="ana")
        headers = {"If-None-Match": ", ".join(tags)}
        return await sheet.running.send(method, sheet.path + query, token, headers=headers)

    for tags in (('"2"',), ('W/"2"',), ('"1"', '"2"'), ("*",)):
        answer = await read(*tags)
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", '"2"'), tags
        assert "Content-Type" not in answer.headers
        # It was decided and recorded like any read.
        read_of = (
            "SELECT returned FROM audit_record WHERE uid = $1::text::uuid AND action = 'read' AND outcome = 'allow'"
        )
        returned = await house.owner.fetchval(read_of, answer.headers["Decision-Id"])
        assert [str(sheet_id) for sheet_id in returned] == [sheet.path.rpartition("/")[2]]
    assert (await read('"2"', method="HEAD")).status_code == 304
    for tags in (('"1"',), ("2",), ('"22"',)):
        assert (await read(*tags)).json()["version"] == 2
    # The allowed actions change without a new version.
    assert "actions" in (await read('"2"', query="?include=actions")).json()
    assert "actions" in (await read('"2"', query="?%69nclude=actions")).json()


@pytest.mark.parametrize("tag", ['"1"', "no tag"])
async def test_a_read_ignores_if_match(sheet: Sheet, tag: str) -> None:
    answer = await sheet.running.send("GET", sheet.path, sheet.running.token(sub="ana"), headers={"If-Match": tag})
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"2"')


async def test_a_name_that_has_changed_is_sent_to_a_caller_who_has_the_version(house: House, sheet: Sheet) -> None:
    for name in ("Ana", "Ana Maria"):
        await house.owner.execute("UPDATE person SET display_name = $2 WHERE id = $1", house.people["ana"], name)
        token = sheet.running.token(sub="ana")
        headers = {"If-None-Match": '"2"'}
        answer = await sheet.running.send("GET", f"{sheet.path}?names=true", token, headers=headers)
        assert answer.json()["names"][str(house.people["ana"])] == name


async def test_a_stranger_who_has_the_version_gets_the_refusal(sheet: Sheet) -> None:
    stranger = sheet.running.token(sub="carl")
    refused = await sheet.running.send("GET", sheet.path, stranger, headers={"If-None-Match": "*"})
    assert refused.status_code == 404
