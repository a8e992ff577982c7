"""The attacks of an administrator who has one token and may erase, as requests: none of them lifts a law."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from service.log.record import read_body
from tests.integration.api import InProcess, api

if TYPE_CHECKING:
    import httpx2

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

ALL = (
    "read:timesheets create:timesheets delete:timesheets approve:timesheets manage:directory manage:tokens read:audit"
    " read:policies"
)
ROLES = ["administrator", "auditor", "payroll"]
PAID = {"reason": "paid"}


class ApiCaller:
    """A person with one token with every scope and role."""

    def __init__(self, running: InProcess, name: str) -> None:
        self.running = running
        self.token = running.token(sub=name, scope=ALL, roles=ROLES, amr=["pwd", "mfa"])

    async def send(self, method: str, path: str, body: object = None, version: int | None = None) -> httpx2.Response:
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        return await self.running.send(method, path, self.token, headers=headers, body=body)

    async def me(self) -> str:
        return str((await self.send("GET", "/v1/me")).json()["person"])

    async def lead(self, person: str, team: str) -> None:
        body = {"person": person, "team": team, "part": "lead"}
        assert (await self.send("POST", "/v1/memberships", body)).status_code == 201

    async def handed_in(self) -> str:
        """The path of a sheet of theirs, at version 3."""
        made = await self.send("POST", "/v1/timesheets", {"period_start": "2026-03-02"})
        path = f"/v1/timesheets/{made.json()['id']}"
        entry = {"day": "2026-03-02", "project": "ATLAS", "minutes": 60}
        assert (await self.send("POST", f"{path}/entries", entry, 1)).status_code == 201
        assert (await self.send("POST", f"{path}/submit", None, 2)).status_code == 200
        return path


async def erase(by: ApiCaller, person: str) -> httpx2.Response:
    return await by.send("POST", f"/v1/people/{person}/erase", {})


async def test_an_administrator_does_not_get_around_the_law_by_erasing_themselves(
    house: House, running: InProcess
) -> None:
    eve, other, team = ApiCaller(running, "eve"), ApiCaller(running, "other"), str(house.teams["east"])
    person = await eve.me()
    member = {"person": person, "team": team, "part": "member"}
    assert (await other.send("POST", "/v1/memberships", member)).status_code == 201
    path = await eve.handed_in()
    await eve.lead(person, team)
    assert (await eve.send("POST", f"{path}/approve", None, 3)).status_code == 403
    refused = await erase(eve, person)
    assert (refused.status_code, "nobody erases themselves" in refused.text) == (403, True)
    waits = await erase(other, person)
    assert (waits.status_code, waits.json()["timesheets"]) == (409, [path.rsplit("/", 1)[1]])
    assert (await eve.send("POST", f"{path}/approve", None, 3)).status_code == 403
    assert (await eve.send("GET", path)).json()["state"] == "submitted"


async def test_the_token_of_somebody_who_was_erased_is_refused_and_the_next_one_unlocks_nothing(
    house: House, running: InProcess
) -> None:
    eve, other = ApiCaller(running, "eve"), ApiCaller(running, "other")
    sheet = await house.submit_week("ana")
    path = f"/v1/timesheets/{sheet.id}"
    await house.timesheets.approve(house.caller("mia"), sheet.id, lambda _: None)
    assert (await eve.send("POST", f"{path}/lock", PAID, 4)).status_code == 200
    assert (await erase(other, await eve.me())).status_code == 200
    assert (await eve.send("POST", f"{path}/unlock", PAID, 5)).status_code == 401
    assert await back(house, running, "eve", "GET", "/v1/me") == 200
    assert await back(house, running, "eve", "POST", f"{path}/unlock", PAID, 5) == 403
    assert (await other.send("POST", f"{path}/unlock", PAID, 5)).status_code == 200


async def back(
    house: House, running: InProcess, name: str, method: str, path: str, body: Any = None, version: int | None = None
) -> int:
    """The status of a request with a token that was issued after the erasure: the moment of it is put a minute back,
    as no test waits for one."""
    await house.owner.execute("UPDATE erased_subject SET revoked_before = revoked_before - interval '1 minute'")
    return (await ApiCaller(running, name).send(method, path, body, version)).status_code


async def test_a_revoked_token_is_not_revived_by_an_erasure(house: House, running: InProcess) -> None:
    eve, other = ApiCaller(running, "eve"), ApiCaller(running, "other")
    person = await eve.me()
    assert (await eve.send("GET", "/v1/decisions")).status_code == 200
    assert (await other.send("POST", "/v1/revocations", {"person": person})).status_code == 201
    assert (await eve.send("GET", "/v1/decisions")).status_code == 401
    assert (await erase(other, person)).status_code == 200
    people = await house.count("person")
    assert (await eve.send("GET", "/v1/decisions")).status_code == 401
    assert await house.count("person") == people
    listed = (await other.send("GET", "/v1/revocations")).json()["items"]
    assert [(revocation["what"], revocation["person"]) for revocation in listed] == [("person", person)] * 2


async def test_without_its_key_a_replica_takes_in_nobody_new_and_says_so(
    house: House, running: InProcess, issuer: str
) -> None:
    eve, other = ApiCaller(running, "eve"), ApiCaller(running, "other")
    assert (await erase(other, await eve.me())).status_code == 200
    async with api(house, issuer, erasure_keys="") as without:
        for name in ("eve", "somebody-new"):
            answer = await ApiCaller(without, name).send("GET", "/v1/me")
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:timewarden:problem:erasure-key-missing")
            assert "Retry-After" in answer.headers
        known = ApiCaller(without, "other")
        assert (await known.send("GET", "/v1/me")).status_code == 200
        refused = await erase(known, await house.owner.fetchval("SELECT id::text FROM person LIMIT 1"))
        assert (refused.status_code, "TIMEWARDEN_ERASURE_KEYS" in refused.text) == (409, True)


TEXTS: dict[str, tuple[dict[str, object], object, object]] = {
    "a note": ({"note": "ill"}, None, None),
    "tags": ({"tags": ["on site"]}, None, None),
    "a note on a day": ({}, {"2026-03-02": "ill"}, None),
    "a comment": ({}, None, {"comment": "get well"}),
    "no text": ({}, None, None),
}


@pytest.mark.parametrize("what", TEXTS)
async def test_a_caller_who_has_a_sheet_is_sent_it_anew_once_its_texts_are_erased(
    house: House, running: InProcess, what: str
) -> None:
    eve, other, team = ApiCaller(running, "eve"), ApiCaller(running, "other"), str(house.teams["east"])
    more, day_notes, comment = TEXTS[what]
    person = await eve.me()
    member = {"person": person, "team": team, "part": "member"}
    assert (await other.send("POST", "/v1/memberships", member)).status_code == 201
    await other.lead(await other.me(), team)
    entry = {"day": "2026-03-02", "project": "ATLAS", "minutes": 60, **more}
    week = {"period_start": "2026-03-02", "day_notes": day_notes or {}, "entries": [entry]}
    made = (await eve.send("POST", "/v1/timesheets", week)).json()
    path = f"/v1/timesheets/{made['id']}"
    assert (await eve.send("POST", f"{path}/submit", None, 1)).status_code == 200
    assert (await other.send("POST", f"{path}/approve", comment, 2)).status_code == 200
    places = [path, f"{path}/entries/{made['entries'][0]['id']}"]
    before = [await other.send("GET", place) for place in places]
    assert (await erase(other, person)).status_code == 200
    for place, known in zip(places, before, strict=True):
        now = (await other.send("GET", place)).content
        tag = {"If-None-Match": known.headers["ETag"]}
        answer = await running.send("GET", place, other.token, headers=tag)
        assert (answer.status_code, answer.content) == ((304, b"") if what == "no text" else (200, now)), place
        # The texts are gone, and the version that was read before them is not the present one.
        assert (now == known.content) == (what == "no text" or (place != path and not more)), place
    present = (await other.send("GET", path)).json()["version"]
    assert present == (3 if what == "no text" else 4)


async def test_what_a_person_holds_for_a_time_ends_with_an_erasure_and_is_not_given_again(
    house: House, running: InProcess
) -> None:
    eve, other, team = ApiCaller(running, "eve"), ApiCaller(running, "other"), str(house.teams["east"])
    person, remaining = await eve.me(), str(house.people["ana"])
    assert (await other.send("POST", "/v1/groups", {"name": "night-shift"})).status_code == 201
    later = {"valid_from": "2999-01-01T00:00:00Z"}
    given = {
        "membership.ended": ("/v1/memberships", {"person": person, "team": team, "part": "lead"}),
        "role.taken": (f"/v1/people/{person}/roles", {"role": "payroll"}),
        "group.left": ("/v1/groups/night-shift/members", {"person": person, **later}),
        "project-lead.ended": ("/v1/projects/apollo/leads", {"person": person}),
        "fallback.ended": ("/v1/fallback-approvers", {"person": person, "team": team}),
        "delegation.ended": ("/v1/delegations", {"delegator": remaining, "delegate": person}),
    }
    member = {"person": person, "team": team, "part": "member"}
    assert (await other.send("POST", "/v1/memberships", member)).status_code == 201
    for path, body in given.values():
        assert (await other.send("POST", path, body)).status_code == 201, path
    as_delegator = {"delegator": person, "delegate": remaining}
    assert (await other.send("POST", "/v1/delegations", as_delegator)).status_code == 201
    assert (await erase(other, person)).status_code == 200
    held = f"WHERE person_id = '{person}' AND now() < valid_to AND valid_from < valid_to"
    for table in ("person_role", "group_member", "project_lead", "fallback_approver"):
        assert await house.count(f"{table} {held}") == 0, table
    # By their place in a team, managers see the timesheets that are kept.
    assert await house.owner.fetchval(f"SELECT string_agg(part, '') FROM membership {held}") == "member"
    assert await house.count("delegation WHERE now() < valid_to") == 0
    changes = await read_changes(house)
    assert sorted(change["to"]["what"] for change in changes) == sorted([*given, "delegation.ended", "person.erased"])
    assert all(change["from"]["valid_to"] is None for change in changes if change["to"]["what"] != "person.erased")
    for path, body in (*given.values(), ("/v1/delegations", as_delegator), ("/v1/memberships", member)):
        refused = await other.send("POST", path, body)
        assert (refused.status_code, "was erased" in refused.text) == (409 if "/roles" in path else 422, True), path


async def read_changes(house: House) -> list[dict[str, Any]]:
    """The changes of the directory by the last erasure."""
    rows = await house.owner.fetch("SELECT body FROM audit_record WHERE kind = 'directory' AND action = 'erase'")
    bodies: list[dict[str, Any]] = [read_body(row["body"]) for row in rows]
    return [body["change"] for body in bodies]
