"""The organisation over HTTP: cycles, races, wrong times, unknown ids; delegates; the import; decisions at once."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from service.development.authorization_server import sign_in
from service.development.people import PEOPLE
from tests.acceptance.caller import SHEETS, fields, problem, submit_week
from tests.acceptance.running_service import run_command

if TYPE_CHECKING:
    from pathlib import Path

    import httpx2

    from tests.acceptance.caller import Caller, Callers
    from tests.acceptance.running_service import RunningService

pytestmark = pytest.mark.usefixtures("nothing_unexpected")

UNKNOWN = "0198c0de-0000-7000-8000-00000000dead"
HEADER = "record,email,name,issuer,subject,team,parent,valid_from,valid_to\n"


def word() -> str:
    return f"t{uuid4().hex[:12]}"


async def create(caller: Caller, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await caller.post(path, body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def team(adam: Caller, parent: str | None = None) -> dict[str, Any]:
    return await create(adam, "/v1/teams", {"name": word(), "parent": parent})


async def load(adam: Caller, text: str | bytes, kind: str = "text/csv", **params: str) -> httpx2.Response:
    raw = text if isinstance(text, bytes) else text.encode()
    headers = {"Content-Type": kind}
    return await adam.send("POST", "/v1/directory/import", content=raw, headers=headers, params=params)


async def with_second_factor(callers: Callers, who: str) -> Caller:
    issuer = callers.addresses.issuer
    answer = await sign_in.authorization_code_token(issuer, who, PEOPLE[who].password, "timesheets-cli", mfa=True)
    return callers.bearer_of(answer.access_token)


async def test_a_cycle_in_the_tree_is_refused_by_field(callers: Callers) -> None:
    adam = await callers("adam")
    top = await team(adam)
    below = await team(adam, top["id"])
    for moved, parent in ((top, below), (top, top)):
        place = {"name": moved["name"], "parent": parent["id"]}
        assert fields(await adam.put(f"/v1/teams/{moved['id']}", place, if_match='"1"')) == ["parent"]
    place = {"name": top["name"], "parent": UNKNOWN}
    assert fields(await adam.put(f"/v1/teams/{top['id']}", place, if_match='"1"')) == ["parent"]
    problem(await adam.put(f"/v1/teams/{UNKNOWN}", {"name": word(), "parent": None}), 404, "not-found")
    taken = {"name": below["name"], "parent": None}
    problem(await adam.put(f"/v1/teams/{top['id']}", taken, if_match='"1"'), 409, "conflict")


async def test_of_two_moves_that_would_make_a_cycle_one_is_refused(callers: Callers) -> None:
    adam = await callers("adam")
    first, two = await team(adam), await team(adam)
    answers = await asyncio.gather(
        adam.put(f"/v1/teams/{first['id']}", {"name": first["name"], "parent": two["id"]}, if_match="*"),
        adam.put(f"/v1/teams/{two['id']}", {"name": two["name"], "parent": first["id"]}, if_match="*"),
    )
    assert sorted(answer.status_code for answer in answers) == [200, 422]


async def test_of_two_who_make_one_person_lead_at_once_one_is_told_of_the_other(callers: Callers) -> None:
    adam, where = await callers("adam"), await team(await callers("adam"))
    # People of this test alone: two who lead a team together may see the sheets of each other.
    first, second = [(await create(adam, "/v1/people", {"display_name": word()}))["id"] for _ in range(2)]
    body = {"person": first, "team": where["id"], "part": "lead"}
    answers = await asyncio.gather(*(adam.post("/v1/memberships", body) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    # Another lead beside the first is no conflict.
    await create(adam, "/v1/memberships", {**body, "person": second})


async def test_times_that_run_backwards_and_unknown_ids_are_named(callers: Callers) -> None:
    adam, ana = await callers("adam"), await (await callers("ana")).me()
    where = (await team(adam))["id"]
    backwards = {"valid_from": "2026-11-24T00:00:00Z", "valid_to": "2026-11-23T00:00:00Z"}
    for path, body, field in (
        ("/v1/memberships", {"person": ana, "team": where, "part": "member", **backwards}, "valid_to"),
        ("/v1/delegations", {"delegate": ana, "delegator": UNKNOWN, **backwards}, "valid_to"),
        ("/v1/delegations", {"delegate": ana, "delegator": UNKNOWN}, "delegator"),
        ("/v1/delegations", {"delegate": UNKNOWN, "delegator": ana}, "delegate"),
        ("/v1/delegations", {"delegate": ana, "delegator": ana}, "delegate"),
        ("/v1/fallback-approvers", {"person": ana, **backwards}, "valid_to"),
        ("/v1/fallback-approvers", {"person": UNKNOWN}, "person"),
        ("/v1/fallback-approvers", {"person": ana, "team": UNKNOWN}, "team"),
        ("/v1/projects", {"code": "no spaces", "name": "x"}, "code"),
        ("/v1/projects", {"code": "X", "name": "a\u0000b"}, "name"),
    ):
        assert fields(await adam.post(path, body)) == [field], (path, body)
    for path in ("/v1/memberships", "/v1/delegations", "/v1/importer-grants", "/v1/fallback-approvers"):
        problem(await adam.post(f"{path}/{UNKNOWN}/end"), 404, "not-found")
    problem(await adam.post(f"/v1/memberships/{UNKNOWN}/move", {"team": where}), 404, "not-found")
    problem(await adam.put("/v1/projects/NOWHERE", {"name": "x", "active": True}), 404, "not-found")
    for wrong, field in (("as_of=yesterday", "query.as_of"), ("people=ana", "query.people")):
        assert fields(await adam.get(f"/v1/memberships?{wrong}")) == [field]
    many = "&".join(["people=" + UNKNOWN] * 101)
    assert (await adam.get(f"/v1/memberships?{many}")).status_code == 422


async def test_a_move_counts_for_the_very_next_decision(callers: Callers) -> None:
    adam, max_ = await callers("adam"), await callers("max")
    person = await create(adam, "/v1/people", {"display_name": "Mover"})
    ana = await callers("ana")
    sheet = await submit_week(ana)
    path, tag = f"{SHEETS}/{sheet.json()['id']}/approve", sheet.headers["ETag"]
    problem(await max_.post(path, if_match=tag), 404, "not-found")
    where = await team(adam)
    lead = {"person": await max_.me(), "team": where["id"], "part": "lead"}
    leading = await create(adam, "/v1/memberships", lead)
    joined = await create(adam, "/v1/memberships", {"person": await ana.me(), "team": where["id"], "part": "member"})
    read = f"{SHEETS}/{sheet.json()['id']}"
    assert (await max_.get(read)).status_code == 200
    elsewhere = await team(adam)
    moved = await adam.post(f"/v1/memberships/{joined['id']}/move", {"team": elsewhere["id"]})
    assert moved.status_code == 201, moved.text
    problem(await max_.get(read), 404, "not-found")
    back = await adam.post(f"/v1/memberships/{moved.json()['id']}/move", {"team": where["id"]})
    assert (await max_.post(path, if_match=tag)).status_code == 200
    for membership in (back.json(), leading):
        assert (await adam.post(f"/v1/memberships/{membership['id']}/end")).status_code == 200
    history = (await adam.get("/v1/memberships", person=await ana.me(), team=where["id"])).json()["items"]
    assert len(history) == 2
    assert all(period["valid_to"] for period in history)
    assert (await adam.get("/v1/memberships", person=person["id"])).json()["items"] == []


async def test_a_delegate_approves_with_a_second_factor_and_the_log_names_both(callers: Callers) -> None:
    mia, max_, audrey = await callers("mia"), await callers("max"), await callers("audrey")
    sheet = await submit_week(await callers("ana"))
    path, tag = f"{SHEETS}/{sheet.json()['id']}/approve", sheet.headers["ETag"]
    grant = await create(mia, "/v1/delegations", {"delegate": await max_.me()})
    assert grant["id"] in {item["id"] for item in (await max_.get("/v1/delegations", now="true")).json()["items"]}
    weak = await max_.post(path, if_match=tag)
    assert weak.status_code == 401
    assert "insufficient_user_authentication" in weak.headers["WWW-Authenticate"]
    strong = await with_second_factor(callers, "max")
    approved = await strong.post(path, if_match=tag)
    assert approved.status_code == 200, approved.text
    record = (await audrey.decision(approved))["record"]
    assert record["principal"]["person"] == await max_.me()
    assert record["on_behalf_of"] == await mia.me()
    assert (await mia.post(f"/v1/delegations/{grant['id']}/end", {})).status_code == 200
    problem(await strong.get(f"{SHEETS}/{sheet.json()['id']}"), 404, "not-found")
    problem(await mia.post(f"/v1/delegations/{grant['id']}/end"), 409, "conflict")


async def test_an_import_is_all_or_nothing_and_nothing_twice(callers: Callers) -> None:
    adam, name = await callers("adam"), word()
    good = f"{HEADER}team,,,,,{name},,,\nperson,{name}@example.com,Eve,,,,,,\nlead,{name}@example.com,,,,{name},,,\n"
    bad = f"{good}member,{name}@example.com,,,,no such team,,,\n"
    assert fields(await load(adam, bad)) == ["rows[3].team"]
    tried = (await load(adam, good, dry_run="true")).json()
    assert (tried["dry_run"], tried["created"]) == (True, 3)
    once = await load(adam, "\ufeff" + good)
    assert once.status_code == 200, once.text
    assert once.json()["created"] == 3
    again = (await load(adam, good)).json()
    assert (again["created"], again["updated"], again["unchanged"]) == (0, 0, 3)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("record;email\nperson;eve@example.com\n", "header"),
        (b"record,email,name\nperson,eve@example.com,J\xf6rg\n", "body"),
        ("record,email,name\nperson,eve@example.com,=HYPERLINK(1)\n", "rows[0].name"),
        ("record,team,parent\nteam,A,B\nteam,B,A\n", "rows[0].parent"),
        ("record,email\nperson,eve\n", "rows[0].email"),
        ("", "body"),
        ("\n", "header"),
    ],
)
async def test_what_is_wrong_with_a_file_is_named(callers: Callers, body: str | bytes, field: str) -> None:
    assert fields(await load(await callers("adam"), body))[0] == field


async def test_an_import_is_csv_of_a_bounded_size(callers: Callers) -> None:
    adam = await callers("adam")
    problem(await load(adam, "{}", "application/json"), 415, "unsupported-media-type")
    problem(await load(adam, HEADER + "x" * 2_000_001), 413, "body-too-large")
    problem(await load(await callers("ana"), HEADER + f"team,,,,,{word()},,,\n"), 403, "insufficient-scope")


async def test_the_command_imports_a_file(callers: Callers, service: RunningService, tmp_path: Path) -> None:
    name, file = word(), tmp_path / "organisation.csv"
    file.write_text(f"record,team\nteam,{name}\n")
    words = ("directory", "import", str(file), "--as", "adam", "--json")
    run = partial(run_command, *words, TIMEWARDEN_STATE=str(service.state))
    dry = await asyncio.to_thread(run, "--dry-run")
    assert json.loads(dry.stdout)["created"] == 1, dry.stderr
    assert json.loads((await asyncio.to_thread(run)).stdout)["created"] == 1
    assert json.loads((await asyncio.to_thread(run)).stdout)["unchanged"] == 1
    file.write_text("record,team,parent\nteam,A,nowhere\n")
    wrong = await asyncio.to_thread(run)
    assert wrong.returncode == 2
    assert "rows[0].parent" in wrong.stderr
    assert (await (await callers("adam")).get("/v1/teams", limit=1)).status_code == 200


async def test_projects_are_seen_by_all_who_write_hours_and_kept_by_administrators(callers: Callers) -> None:
    adam, ana, code = await callers("adam"), await callers("ana"), word()
    problem(await ana.post("/v1/projects", {"code": code, "name": "Mine"}), 403, "insufficient-scope")
    await create(adam, "/v1/projects", {"code": code, "name": "New"})
    problem(await adam.post("/v1/projects", {"code": code, "name": "Again"}), 409, "conflict")
    changed = await adam.put(f"/v1/projects/{code}", {"name": "Old", "active": False}, if_match='"1"')
    kept = {"attributes": {}, "kind": "work", "billable": False, "activities": []}
    assert changed.json() == {"code": code, "name": "Old", "active": False, **kept}
    listed = {item["code"]: item["active"] for item in (await ana.get("/v1/projects", limit=200)).json()["items"]}
    assert (listed["ATLAS"], listed[code]) == (True, False)
    active = (await ana.get("/v1/projects", active="true", limit=200)).json()["items"]
    assert code not in {project["code"] for project in active}
