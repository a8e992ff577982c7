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

    async def ask(self, who: str, *, reads_directory: bool = False, **body: Any) -> httpx2.Response:
        given = {"until": soon(days=2), "reason": "Mia is away", **body}
        claims: dict[str, Any] = {"roles": ["manager"]} if reads_directory else {}
        return await self(who, "POST", "/v1/access-requests", given, **claims)

    async def open_request(self, who: str = "carl", team: str = "east") -> str:
        answer = await self.ask(who, relation="temporary_approver", team=team, reads_directory=True)
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


async def test_a_request_by_name_lasts_as_it_was_asked_and_its_reasons_are_texts(house: House, office: Office) -> None:
    since, until = soon(hours=1), soon(days=3)
    asked: dict[str, Any] = {"relation": "temporary_approver", "team": "west", "from": since, "until": until}
    made = await office.ask("carl", **asked)
    assert (made.status_code, made.json()["team"]) == (201, str(house.teams["west"])), made.text
    assert made.headers["Location"] == f"/v1/access-requests/{made.json()['id']}"
    path = made.headers["Location"]
    earlier = soon(days=1)
    granted = (await office("max", "POST", f"{path}/grant", {"until": earlier, "reason": "One day will do"})).json()
    assert [datetime.fromisoformat(granted[name]) for name in ("from", "until")] == [
        datetime.fromisoformat(since),
        datetime.fromisoformat(earlier),
    ]
    assert (granted["decided_by"], granted["decision_reason"]) == (str(house.people["max"]), "One day will do")
    # It has not begun.
    sheet = await house.submit_week("max")
    assert (await office.approve("carl", sheet)).status_code == 404
    assert (await house.count_records_with("One day will do"), await house.count_records_with("Mia is away")) == (0, 0)
    assert await house.count("audit_text WHERE value IN ('One day will do', 'Mia is away')") == 2
    ended = (await office("carl", "POST", f"{path}/end")).json()
    assert (ended["state"], ended["until"]) == ("ended", ended["from"])


@pytest.mark.parametrize("route", ["grant", "decline", "withdraw", "end"])
async def test_a_request_is_decided_once_by_those_who_may(house: House, office: Office, route: str) -> None:
    body = {"reason": "no"} if route == "decline" else None
    path = f"/v1/access-requests/{await office.open_request()}"
    # Ben is in the team, and max leads another: neither learns that there is such a request.
    for stranger in ("ben", "max"):
        assert (await office(stranger, "POST", f"{path}/{route}", body)).status_code == 404
        assert (await office(stranger, "GET", path)).status_code == 404
    if route == "end":
        assert (await office("dora", "POST", f"{path}/grant")).status_code == 200
    who, other = ("carl", "mia") if route in {"withdraw", "end"} else ("adam", "mia")
    done = await office(who, "POST", f"{path}/{route}", body)
    assert done.status_code == 200, done.text
    again = await office(who, "POST", f"{path}/{route}", body)
    assert (again.status_code, again.json()["type"]) == (409, "urn:timewarden:problem:wrong-state"), again.text
    late = await office(other, "POST", f"{path}/decline", {"reason": "no"})
    assert (late.status_code, late.json()["state"]) == (409, done.json()["state"])


async def test_two_leads_who_decide_at_once_are_one_decision(house: House, office: Office) -> None:
    path = f"/v1/access-requests/{await office.open_request()}"
    answers = await asyncio.gather(
        office("mia", "POST", f"{path}/grant"),
        office("dora", "POST", f"{path}/decline", {"reason": "no"}),
        office("adam", "POST", f"{path}/grant"),
        office("carl", "POST", f"{path}/withdraw"),
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert len(await changes_of(house)) == 2


async def test_the_same_request_twice_and_too_many_are_conflicts(house: House, office: Office) -> None:
    path = await office.open_request()
    east = str(house.teams["east"])
    again = await office.ask("carl", relation="temporary_approver", team=east, reads_directory=True)
    assert (again.status_code, again.json()["held"]) == (409, path)
    at_once = await asyncio.gather(*(office.ask("carl", relation="temporary_approver", team="west") for _ in range(4)))
    assert sorted(answer.status_code for answer in at_once) == [201, 409, 409, 409]
    await house.owner.execute(
        "INSERT INTO access_request (id, relation, team_id, person_id, requested_from, requested_until)"
        " SELECT gen_random_uuid(), 'other', $1, $2, now(), now() + interval '1 day' FROM generate_series(1, 18)",
        house.teams["west"],
        house.people["carl"],
    )
    full = await office.ask("carl", relation="temporary_approver", team="division", reads_directory=True)
    assert (full.status_code, "20 open" in full.json()["detail"]) == (409, True)


@pytest.mark.parametrize("route", ["POST /v1/access-requests", "POST /v1/access-requests/{}/grant"])
async def test_a_request_that_is_sent_again_is_applied_once(house: House, office: Office, route: str) -> None:
    method, path = route.split()
    asking = path.endswith("requests")
    path = path.format("" if asking else await office.open_request())
    body = {"relation": "temporary_approver", "team": "west", "until": soon(days=1), "reason": "r"} if asking else {}
    key = {"Idempotency-Key": "once"}
    first, second = [await office("carl" if asking else "mia", method, path, body, headers=key) for _ in range(2)]
    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"


async def test_every_wrong_field_is_named_and_changes_nothing(house: House, office: Office) -> None:
    good = {"relation": "temporary_approver", "team": "west", "until": soon(days=1), "reason": "r"}
    wrong: list[tuple[dict[str, object], str]] = [
        ({"relation": "manager"}, "relation"),
        ({"relation": None}, "relation"),
        ({"decision": UNKNOWN}, "relation"),
        ({"decision": UNKNOWN, "relation": None}, "decision"),
        ({"decision": "x", "relation": None}, "decision"),
        ({"team": None}, "team"),
        ({"team": "nowhere"}, "team"),
        ({"team": UNKNOWN}, "team"),
        ({"team": "a\x00b"}, "team"),
        ({"project": "apollo"}, "project"),
        ({"team": None, "project": "apollo"}, "project"),
        ({"team": None, "project": "a b"}, "project"),
        ({"until": soon(days=-1)}, "until"),
        ({"until": soon(days=32)}, "until"),
        ({"until": "2026-03-02T00:00:00"}, "until"),
        ({"until": "9999-12-31T23:59:59Z"}, "until"),
        ({"until": None}, "until"),
        ({"from": soon(days=2)}, "until"),
        ({"from": "0001-01-01T00:00:00Z"}, "from"),
        ({"reason": ""}, "reason"),
        ({"reason": "r" * 1001}, "reason"),
        ({"reason": "\u200b"}, "reason"),
        ({"reason": "a\x00b"}, "reason"),
        ({"kind": "timesheet"}, "kind"),
    ]
    for change, field in wrong:
        body = {name: value for name, value in {**good, **change}.items() if value is not None}
        answer = await office("carl", "POST", "/v1/access-requests", body)
        assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, field), (change, answer.text)
    assert await house.count("access_request") == 0
    path = f"/v1/access-requests/{await office.open_request()}"
    for route, given, field in (
        ("grant", {"until": soon(days=9)}, "until"),
        ("grant", {"until": soon(days=-9)}, "until"),
        ("grant", {"reason": "r" * 1001}, "reason"),
        ("decline", {}, "reason"),
        ("decline", {"reason": ""}, "reason"),
    ):
        answer = await office("mia", "POST", f"{path}/{route}", given)
        assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, field), answer.text
    for query, field in (("state=waiting", "query.state"), ("mine=perhaps", "query.mine"), ("until=x", "query.until")):
        answer = await office("mia", "GET", f"/v1/access-requests?{query}")
        assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, field), answer.text
    assert (await office("mia", "POST", f"/v1/access-requests/{UNKNOWN}/grant")).status_code == 404
    assert (await office("mia", "GET", "/v1/access-requests/x")).status_code == 422
    machine = await office("payroll-import", "POST", "/v1/access-requests", good, client_id="payroll-import")
    assert machine.status_code in {401, 422}
    assert (await office("mia", "GET", path)).json()["state"] == "open"


async def test_lists_show_what_reads_show_by_state_and_by_caller(house: House, office: Office) -> None:
    east, west = await office.open_request("carl", "east"), await office.open_request("ben", "west")
    declined = await office.open_request("ana", "east")
    await office("mia", "POST", f"/v1/access-requests/{declined}/decline", {"reason": "no"})
    everything = {east, west, declined}
    for who, seen in (
        ("carl", {east}),
        ("ana", {declined}),
        ("mia", {east, declined}),
        ("max", {west}),
        ("dora", everything),
        ("adam", everything),
    ):
        listed = (await office(who, "GET", "/v1/access-requests")).json()["items"]
        assert {item["id"] for item in listed} == seen
        reads = {
            item for item in everything if (await office(who, "GET", f"/v1/access-requests/{item}")).status_code == 200
        }
        assert reads == seen
    own = await office.open_request("dora", "west")
    for query, seen in (
        ("state=open", {east, west, own}),
        ("state=declined", {declined}),
        ("mine=true", {own}),
        ("to_decide=true", {east, west}),
        ("to_decide=true&state=declined", set()),
    ):
        listed = (await office("dora", "GET", f"/v1/access-requests?{query}")).json()["items"]
        assert {item["id"] for item in listed} == seen, query
    first = (await office("dora", "GET", "/v1/access-requests?limit=3")).json()
    rest = (await office("dora", "GET", f"/v1/access-requests?limit=3&cursor={first['next_cursor']}")).json()
    assert [item["id"] for item in (*first["items"], *rest["items"])] == sorted({*everything, own})
