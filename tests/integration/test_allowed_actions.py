"""?include=actions over HTTP: a shown action is allowed when it is requested, and any other is denied."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from service.log.record import read_body
from tests.integration.api import REQUESTS
from tests.integration.house import MONDAY, House, activate_unread
from tests.policy_forge import with_more

if TYPE_CHECKING:
    from tests.integration.api import InProcess

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
pytestmark = pytest.mark.usefixtures("linked")

ALL = "read:timesheets create:timesheets delete:timesheets approve:timesheets"


@pytest.fixture
async def sheets(house: House) -> list[UUID]:
    """Ana's and mia's sheets in every state; in some of ana's, mia wrote."""
    made = []
    for name in ("ana", "mia"):
        for week, state in enumerate(("draft", "submitted", "approved", "rejected", "submitted")):
            sheet = (await house.submit_week(name, MONDAY + timedelta(days=7 * week))).id
            wrote = [house.people["mia"]] if week in {1, 2} else []
            await house.owner.execute(
                "UPDATE timesheet SET state = $2, editors = $3 WHERE id = $1", sheet, state, wrote
            )
            made.append(sheet)
    return made


async def outcome(house: House, running: InProcess, token: str, sheet: UUID, action: str) -> str:
    """The decision on the real request, from the log."""
    method, path, body = REQUESTS[action]
    headers = {} if action == "read" else {"If-Match": '"999"'}
    answer = await running.send(method, f"/v1/timesheets/{sheet}{path}", token, headers=headers, body=body)
    assert answer.status_code in {200, 403, 404, 409, 412}, answer.text
    found: str = await house.owner.fetchval(
        "SELECT outcome FROM audit_record WHERE uid = $1", UUID(answer.headers["Decision-Id"])
    )
    return found


@pytest.mark.parametrize("name", ["ana", "mia", "dora", "ben"])
@pytest.mark.parametrize("scope", [ALL, "read:timesheets", "read:timesheets approve:timesheets"])
async def test_a_shown_action_is_allowed_and_one_that_is_not_shown_is_denied(
    house: House, running: InProcess, sheets: list[UUID], name: str, scope: str
) -> None:
    token = running.token(sub=name, scope=scope)
    listed = await running.send("GET", "/v1/timesheets?include=actions", token)
    assert listed.status_code == 200
    shown = {UUID(item["id"]): item["actions"] for item in listed.json()["items"]}
    assert set(shown) == {sheet for sheet in sheets if await outcome(house, running, token, sheet, "read") == "allow"}
    for sheet, actions in shown.items():
        single = await running.send("GET", f"/v1/timesheets/{sheet}?include=actions", token)
        assert single.json()["actions"] == actions
        for action in REQUESTS:
            decided = await outcome(house, running, token, sheet, action)
            assert (action in actions) is (decided == "allow"), (action, actions)


async def test_allowed_actions_are_not_recorded_and_cost_no_further_statement(
    house: House, running: InProcess, sheets: list[UUID]
) -> None:
    token = running.token(sub="mia", scope=ALL)
    records = await house.count("audit_record")
    plain = await running.send("GET", "/v1/timesheets", token)
    shown = await running.send("GET", "/v1/timesheets?include=actions", token)
    assert await house.count("audit_record") == records + 2
    body: dict[str, Any] = shown.json()
    assert all(item.pop("actions") for item in body["items"])
    assert body == plain.json()
    kept = await house.owner.fetch("SELECT body FROM audit_record ORDER BY id DESC LIMIT 2")
    assert [read_body(row["body"])["action"] for row in kept] == ["read", "read"]


async def test_an_unknown_inclusion_is_refused_by_name(house: House, running: InProcess) -> None:
    answer = await running.send("GET", "/v1/timesheets?include=secrets", running.token(sub="ana"))
    assert answer.status_code == 422
    assert answer.json()["fields"][0]["field"] == "query.include"


async def test_no_action_is_shown_that_ends_in_409_in_the_state_of_the_sheet(
    house: House, running: InProcess, sheets: list[UUID]
) -> None:
    """Even under a policy that allows an action in states from which it cannot start."""
    more = "p, allow, owner, submit, any, timesheet, create:timesheets, always, submit-whenever\n"
    await activate_unread(house, with_more(more))
    token, approved = running.token(sub="ana", scope=ALL), sheets[2]

    shown = (await running.send("GET", f"/v1/timesheets/{approved}?include=actions", token)).json()
    listed = (await running.send("GET", "/v1/timesheets?include=actions", token)).json()["items"]
    told = (await running.send("GET", f"/v1/timesheets/{approved}/access", token)).json()["items"]
    tried = await running.send("POST", f"/v1/timesheets/{approved}/submit", token, headers={"If-Match": "*"})

    assert tried.status_code == 409, tried.text
    assert shown["state"] == "approved"
    assert shown["actions"] == ["read"]
    assert {sheet["state"]: "submit" in sheet["actions"] for sheet in listed} == {
        "draft": True, "rejected": True, "submitted": False, "approved": False,
    }  # fmt: skip
    assert set(next(item["may"] for item in told if item["person"] == str(house.people["ana"]))) == {"read"}
