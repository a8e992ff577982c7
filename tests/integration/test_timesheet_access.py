"""GET /v1/timesheets/{id}/access over HTTP: exactly the people and clients that it lists may act, as it says."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from service.authorization.enforcement.access import MAX_OPEN_FACTS, Way, find_ways
from service.policy.request_space import Budget
from service.timesheets import access as timesheets_access
from tests.integration.api import REQUESTS, InProcess, unshared_api
from tests.integration.house import activate_unread
from tests.policy_forge import snapshot, with_more

if TYPE_CHECKING:
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
pytestmark = pytest.mark.usefixtures("linked")


async def access(running: InProcess, sheet: UUID, query: str = "", sub: str = "ana") -> dict[str, Any]:
    answer = await running.send("GET", f"/v1/timesheets/{sheet}/access{query}", running.token(sub=sub))
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize("state", ["draft", "submitted", "approved"])
async def test_everybody_may_what_is_told_of_them_and_nothing_else(
    house: House, running: InProcess, state: str
) -> None:
    """Each person asks for each action, with the scope that is told, or with all scopes where nothing is told."""
    sheet = (await house.submit_week("ana")).id
    mia = house.people["mia"]
    await house.owner.execute("UPDATE timesheet SET state = $2, editors = $3 WHERE id = $1", sheet, state, [mia])
    told = {item["person"]: item["may"] for item in (await access(running, sheet))["items"]}
    every = "read:timesheets create:timesheets delete:timesheets approve:timesheets"
    for name, person in house.people.items():
        for action, (method, path, body) in REQUESTS.items():
            way = told.get(str(person), {}).get(action)
            answer = await running.send(
                method,
                f"/v1/timesheets/{sheet}{path}",
                running.token(sub=name, scope=way[0]["scope"] if way else every),
                headers={"If-Match": '"999"'} if method != "GET" else {},
                body=body,
            )
            outcome = await house.owner.fetchval(
                "SELECT outcome FROM audit_record WHERE uid = $1", UUID(answer.headers["Decision-Id"])
            )
            assert (outcome == "allow") is (way is not None), (name, action, way)


async def test_it_names_relations_rules_and_scopes_and_the_importing_client(house: House, running: InProcess) -> None:
    sheet = (await house.submit_week("carl")).id
    await house.owner.execute("UPDATE timesheet SET state = 'draft' WHERE id = $1", sheet)
    body = await access(running, sheet, sub="max")
    found = {item["person"] or item["client"]: item for item in body["items"]}
    people = house.people
    assert set(found) == {str(people["carl"]), str(people["max"]), str(people["dora"]), "payroll-import"}
    assert found["payroll-import"]["may"] == {
        "upload": [{"rule": "upload-contractors", "scope": "batch:upload", "sign_in": []}]
    }
    assert found[str(people["max"])]["relations"] == ["manager"]
    assert found[str(people["max"])]["may"] == {
        "read": [{"rule": "read-team", "scope": "read:timesheets", "sign_in": []}]
    }
    assert set(found[str(people["carl"])]["may"]) == {"read", "edit", "delete", "submit"}
    assert (body["state"], body["version"], body["tokens_with"]) == ("draft", 1, {})


async def test_pages_together_hold_everybody_once(house: House, running: InProcess) -> None:
    sheet = (await house.submit_week("ana")).id
    whole = await access(running, sheet)
    assert whole["next_cursor"] is None
    found: list[dict[str, Any]] = []
    query = "?limit=1"
    while True:
        page = await access(running, sheet, query)
        found += page["items"]
        if page["next_cursor"] is None:
            break
        query = f"?limit=1&cursor={page['next_cursor']}"
    assert found == whole["items"]


async def test_it_is_a_read_of_the_sheet_for_whoever_may_read_it(house: House, running: InProcess) -> None:
    sheet = (await house.submit_week("ana")).id
    path = f"/v1/timesheets/{sheet}/access"
    seen = await running.send("GET", path, running.token(sub="ana"))
    row = await house.owner.fetchrow(
        "SELECT action, resource_id, returned FROM audit_record WHERE uid = $1", UUID(seen.headers["Decision-Id"])
    )
    assert row is not None
    assert (row["action"], row["resource_id"], row["returned"]) == ("read", str(sheet), [sheet])
    assert (await running.send("GET", path, running.token(sub="ben"))).status_code == 404
    assert (await running.send("GET", path, running.token(sub="ana", scope="approve:timesheets"))).status_code == 403
    assert (await running.send("GET", "/v1/timesheets/17/access", running.token(sub="ana"))).status_code == 422


async def test_holders_of_a_role_that_a_rule_names_are_told_by_person_and_whoever_brings_it_by_word(
    house: House, running: InProcess
) -> None:
    more = "p, allow, role:clerk, read, any, timesheet, read:timesheets, mfa, clerks\ng, role:chief, role:clerk\n"
    await activate_unread(house, with_more(more))
    holds = "INSERT INTO person_role VALUES ($1, $2, now() - interval '2 days', $3)"
    yesterday, ever = datetime.now(UTC) - timedelta(days=1), datetime.max.replace(tzinfo=UTC)
    for name, role, until in (("ben", "chief", ever), ("max", "clerk", yesterday), ("adam", "janitor", ever)):
        await house.owner.execute(holds, house.people[name], role, until)
    body = await access(running, (await house.submit_week("ana")).id)
    ways_in = {"read": [{"rule": "clerks", "scope": "read:timesheets", "sign_in": ["mfa"]}]}
    assert body["tokens_with"] == {"role:clerk": ways_in, "role:chief": ways_in}
    found = {item["person"]: item["may"] for item in body["items"]}
    assert found[str(house.people["ben"])] == ways_in
    assert not found.keys() & {str(house.people[name]) for name in ("max", "adam")}


async def test_members_of_a_group_that_a_rule_names_are_told_by_person(house: House, running: InProcess) -> None:
    more = "p, allow, group:night-shift, read, any, timesheet, read:timesheets, always, night\n"
    await activate_unread(house, with_more(more))
    await house.owner.execute("INSERT INTO person_group VALUES ('night-shift'), ('day-shift')")
    joins = "INSERT INTO group_member VALUES (gen_random_uuid(), $1, $2, now() - interval '2 days', $3)"
    yesterday, ever = datetime.now(UTC) - timedelta(days=1), datetime.max.replace(tzinfo=UTC)
    for name, group, until in (
        ("ben", "night-shift", ever),
        ("max", "night-shift", yesterday),
        ("adam", "day-shift", ever),
    ):
        await house.owner.execute(joins, group, house.people[name], until)
    body = await access(running, (await house.submit_week("ana")).id)
    assert body["tokens_with"] == {}
    found = {item["person"]: item["may"] for item in body["items"]}
    assert found[str(house.people["ben"])] == {"read": [{"rule": "night", "scope": "read:timesheets", "sign_in": []}]}
    assert not found.keys() & {str(house.people[name]) for name in ("max", "adam")}


def test_what_it_takes_of_the_sign_in_is_told_with_what_keeps_denies_off() -> None:
    rules = snapshot(
        "p, allow, manager, approve, submitted, timesheet, approve:timesheets, mfa, by-manager",
        "p, allow, manager, approve, any, timesheet, any, always, by-anyone",
        "p, deny, manager, approve, any, timesheet, any, not recent_sign_in, stale",
        "p, deny, anyone, approve, any, timesheet, any, acted_for_owner, never-for-owner",
        "p, deny, owner, approve, any, timesheet, any, always, never-own",
    )
    done, not_done = {"acted_for_owner": True}, {"acted_for_owner": False}
    thing = ("timesheet", "submitted")
    assert find_ways(rules, thing, "approve", {"manager"}, not_done, Budget()) == (
        Way("by-manager", "approve:timesheets", ("mfa", "recent_sign_in")),
        Way("by-anyone", None, ("recent_sign_in",)),
    )
    assert find_ways(rules, thing, "approve", {"manager"}, done, Budget()) == ()
    assert find_ways(rules, thing, "approve", {"manager", "owner"}, not_done, Budget()) == ()
    assert find_ways(rules, thing, "approve", {"role:clerk"}, not_done, Budget()) == ()
    assert find_ways(rules, ("timesheet", "draft"), "approve", {"manager"}, not_done, Budget()) == (
        Way("by-anyone", None, ("recent_sign_in",)),
    )


@pytest.mark.parametrize(("facts", "cut_short"), [(MAX_OPEN_FACTS, False), (MAX_OPEN_FACTS + 1, True)])
async def test_it_says_that_it_was_cut_short_if_denies_ask_for_more_facts_than_are_tried(
    house: House, running: InProcess, facts: int, *, cut_short: bool
) -> None:
    words = "".join(f'[request.facts.a{n}]\nmax_age = {60 + n}\nyes = "y"\nno = "n"\n\n' for n in range(facts))
    denies = "".join(f"p, deny, anyone, approve, any, timesheet, any, not a{n}, old-{n}\n" for n in range(facts))
    await activate_unread(house, with_more(denies, f"\n{words}"))
    body = await access(running, (await house.submit_week("ana")).id)
    (mia,) = (item["may"] for item in body["items"] if item["person"] == str(house.people["mia"]))
    assert body["cut_short"] is cut_short
    assert ("approve" in mia) is not cut_short
    assert "read" in mia


async def test_a_policy_of_very_many_rules_holds_up_nobody_else_and_says_that_it_was_cut_short(
    house: House, running: InProcess
) -> None:
    more = "".join(f"p, allow, role:r{n}, read, any, timesheet, any, always, r-{n}\n" for n in range(1_500))
    number = await activate_unread(house, with_more(more))
    sheet = (await house.submit_week("ana")).id
    breaths, done = 0, False

    async def breathe() -> None:
        nonlocal breaths
        while not done:
            await asyncio.sleep(0.005)
            breaths += 1

    beside = asyncio.create_task(breathe())
    body = await access(running, sheet)
    done = True
    await beside

    assert body["cut_short"] is True
    assert str(house.people["ana"]) in {item["person"] for item in body["items"]}
    assert 0 < len(body["tokens_with"]) < 1_500
    # Other requests went on meanwhile: on the event loop, it would be one breath for each statement.
    assert breaths > 5
    assert (await access(running, sheet, "?limit=1"))["version"] == number


async def test_who_waits_too_long_for_others_who_ask_is_told_to_come_again(
    house: House, running: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheet, entered, release = (await house.submit_week("ana")).id, threading.Event(), threading.Event()
    whole = timesheets_access._compute_access

    def slow(*given: Any, **named: Any) -> Any:
        entered.set()
        release.wait(30)
        return whole(*given, **named)

    monkeypatch.setattr(timesheets_access, "_compute_access", slow)
    monkeypatch.setattr(timesheets_access, "MAX_WAIT_SECONDS", 0.2)
    async with unshared_api(house, running.issuer) as hasty:
        first = asyncio.create_task(access(hasty, sheet))
        assert await asyncio.to_thread(entered.wait, 30)
        late = await hasty.send("GET", f"/v1/timesheets/{sheet}/access", hasty.token(sub="ana"))
        release.set()
        assert late.status_code == 503, late.text
        assert late.json()["detail"].startswith("Other requests for the access to a timesheet are running")
        assert late.headers["Retry-After"]
        assert late.json()["decision_id"]
        assert (await first)["timesheet"] == str(sheet)
