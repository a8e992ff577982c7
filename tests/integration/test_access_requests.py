"""Access requests: from a refusal to access for a time, which another person grants and which ends by itself."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.log.packing import unpack
from service.log.record import read_body
from tests.integration.api import InProcess, api
from tests.integration.test_after_erasure import activate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from service.timesheets.timesheet import Timesheet
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

UNKNOWN = "0198c0de-0000-7000-8000-000000000000"
ROLES = {"adam": ["administrator"], "mia": ["manager"], "max": ["manager"], "dora": ["manager"]}
SCOPES = "read:timesheets create:timesheets approve:timesheets manage:directory"
# Reviewers may read every sheet, so that a refusal to approve is told with its reasons.
REVIEWERS = "p, allow, role:reviewer, read, any, timesheet, read:timesheets, always, read-reviewer"


def soon(**after: float) -> str:
    return (datetime.now(UTC) + timedelta(**after)).isoformat()


class Office:
    """Sends requests of the people of the house, by their names."""

    def __init__(self, running: InProcess, house: House) -> None:
        self.running, self.house = running, house

    async def __call__(
        self,
        who: str,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: dict[str, str] | None = None,
        **claims: Any,
    ) -> httpx2.Response:
        token = self.running.token(**{"sub": who, "scope": SCOPES, "roles": ROLES.get(who, []), **claims})
        return await self.running.send(method, path, token, body=body, headers=headers)

    async def ask(self, who: str, **body: Any) -> httpx2.Response:
        given = {"until": soon(days=2), "reason": "Mia is away", **body}
        return await self(who, "POST", "/v1/access-requests", given)

    async def open_request(self, who: str = "carl", team: str = "east", **body: Any) -> str:
        answer = await self.ask(who, relation="temporary_approver", team=str(self.house.teams[team]), **body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def approve(self, who: str, sheet: Timesheet, **claims: Any) -> httpx2.Response:
        etag = {"If-Match": f'"{sheet.version}"'}
        return await self(who, "POST", f"/v1/timesheets/{sheet.id}/approve", headers=etag, **claims)


@pytest.fixture
async def office(house: House, issuer: str, linked: None) -> AsyncIterator[Office]:
    async with api(house, issuer) as running:
        yield Office(running, house)


async def pass_by(time: str) -> None:
    """Wait until a time has passed."""
    await asyncio.sleep(max(0.0, (datetime.fromisoformat(time) - datetime.now(UTC)).total_seconds()) + 0.02)


async def changes_of(house: House) -> list[dict[str, Any]]:
    """The recorded changes of access requests, oldest first."""
    rows = await house.owner.fetch(
        "SELECT body FROM audit_record WHERE kind = 'directory' AND resource_kind = 'access_request' ORDER BY id"
    )
    bodies: list[dict[str, Any]] = [read_body(unpack(row["body"])) for row in rows]
    return [body["change"] for body in bodies]


async def test_a_refusal_becomes_access_for_a_time_and_ends_by_itself(house: House, office: Office) -> None:
    await activate(house, REVIEWERS)
    sheet = await house.submit_week("ana")
    refused = await office.approve("carl", sheet, roles=["reviewer"])
    assert refused.status_code == 403, refused.text
    asked = refused.json()["request_access"]
    assert asked == {"relation": "temporary_approver", "decision": refused.headers["Decision-Id"]}

    made = await office(
        "carl",
        "POST",
        "/v1/access-requests",
        {"decision": asked["decision"], "until": soon(seconds=3), "reason": "Mia is away"},
        roles=["reviewer"],
    )
    assert made.status_code == 201, made.text
    request = made.json()
    assert (request["relation"], request["team"], request["state"]) == (
        "temporary_approver",
        str(house.teams["east"]),
        "open",
    )
    assert (await office.approve("carl", sheet, roles=["reviewer"])).status_code == 403
    waiting = (await office("mia", "GET", "/v1/access-requests?to_decide=true&names=true")).json()["items"]
    assert [item["id"] for item in waiting] == [request["id"]]
    granted = await office("mia", "POST", f"/v1/access-requests/{request['id']}/grant", {})
    assert (granted.status_code, granted.json()["state"]) == (200, "granted"), granted.text

    me = (await office("carl", "GET", "/v1/me")).json()["access"]
    assert [(held["relation"], held["state"], held["team"]) for held in me] == [
        ("temporary_approver", "granted", str(house.teams["east"]))
    ]
    second = await house.submit_week("ben")
    inbox = (await office("carl", "GET", "/v1/approvals")).json()["items"]
    assert {item["timesheet"]["id"] for item in inbox} == {str(sheet.id), str(second.id)}
    assert (await office.approve("carl", sheet)).status_code == 200
    await pass_by(granted.json()["until"])
    assert (await office.approve("carl", second)).status_code == 404
    assert (await office("carl", "GET", "/v1/me")).json()["access"] == []
    ended = (await office("carl", "GET", f"/v1/access-requests/{request['id']}")).json()
    assert ended["state"] == "ended"
    first, last = await changes_of(house)
    assert (first["to"]["what"], first["to"]["refusal"]) == ("access.requested", asked["decision"])
    assert (last["from"]["state"], last["to"]["what"]) == ("open", "access.granted")
