"""Access requests: from a refusal to access for a time, which another person grants and which ends by itself."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.administration.replay import recorded_request
from service.administration.replay.reevaluation import reevaluate
from service.directory import access_request_store
from service.directory.access_requests import NO_REFUSAL, AccessRequests
from service.directory.entities import Part, WantedAccess
from service.directory.merging import Merging
from service.errors import Denied, Forbidden, NotFound
from service.log.packing import unpack
from service.log.record import read_body
from service.timesheets.actions import Timesheets
from service.values import replace
from tests.integration.api import InProcess, api
from tests.integration.house import activate_unread, at, wire_house
from tests.integration.test_after_erasure import activate, come_back, erase
from tests.policy_forge import read_shipped, with_more

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import asyncpg
    import httpx2

    from service.directory.entities import RequestedAccess
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


async def ask(house: House, who: str, team: str = "east", *, lasting: timedelta = timedelta(days=1)) -> RequestedAccess:
    """Ask for access as a person who may read the directory."""
    until = datetime.now(UTC) + lasting
    asked = WantedAccess("temporary_approver", house.teams[team], None, until, "Mia is away")
    return (await house.access_requests.request(house.manager(who), asked)).value


def wanted() -> dict[str, object]:
    return {"relation": "temporary_approver", "until": soon(days=1), "reason": "r"}


async def last_decision(house: House) -> dict[str, Any]:
    body: dict[str, Any] = read_body(
        unpack(
            await house.owner.fetchval("SELECT body FROM audit_record WHERE kind = 'decision' ORDER BY id DESC LIMIT 1")
        )
    )
    return body


async def pass_by(time: str) -> None:
    """Wait until a time has passed."""
    await asyncio.sleep(max(0.0, (datetime.fromisoformat(time) - datetime.now(UTC)).total_seconds()) + 0.02)


async def end_soon(house: House, request: object, is_used: Callable[[], Awaitable[bool]]) -> None:
    """Let granted access end by itself, after it was used, and so is remembered with its end. It was granted for long,
    because a busy machine takes seconds for what a test does with it; if it ended before its use, it ends later."""
    for seconds in (0.5, 2.0, 8.0, 32.0):
        end = await house.owner.fetchval(
            "UPDATE access_request SET valid_to = clock_timestamp() + make_interval(secs => $2)"
            " WHERE id = $1 AND state = 'granted' RETURNING valid_to",
            request,
            seconds,
        )
        if await is_used():
            await pass_by(str(end))
            return
    raise AssertionError("the access was never in force")


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
        {"decision": asked["decision"], "until": soon(days=1), "reason": "Mia is away"},
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
    path = f"/v1/access-requests/{request['id']}"
    granted = await office("mia", "POST", f"{path}/grant?names=true", {})
    assert (granted.status_code, granted.json()["state"]) == (200, "granted"), granted.text
    assert granted.json() == (await office("mia", "GET", f"{path}?names=true")).json()
    assert granted.json()["names"][str(house.teams["east"])] == "east"

    me = (await office("carl", "GET", "/v1/me")).json()["access"]
    assert [(held["relation"], held["state"], held["team"]) for held in me] == [
        ("temporary_approver", "granted", str(house.teams["east"]))
    ]
    second = await house.submit_week("ben")
    inbox = (await office("carl", "GET", "/v1/approvals")).json()["items"]
    assert {item["timesheet"]["id"] for item in inbox} == {str(sheet.id), str(second.id)}
    assert (await office.approve("carl", sheet)).status_code == 200

    async def may_read() -> bool:
        return (await office("carl", "GET", f"/v1/timesheets/{second.id}")).status_code == 200

    await end_soon(house, request["id"], may_read)
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
    early = await office("max", "POST", f"{path}/grant", {"until": soon(minutes=30)})
    assert (early.status_code, early.json()["fields"][0]["field"]) == (422, "until")
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
        ({"from": soon(days=91), "until": soon(days=92)}, "from"),
        ({"from": soon(days=91), "until": soon(days=400)}, "from"),
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


BRIEF = """
[kinds.access_request.facts.late]
is = 'resource.until - context.now > duration("240h")'
yes = "it is for more than ten days"
no = "it is for at most ten days"
[kinds.access_request.facts.temporary]
is = 'resource.relation == "temporary_approver"'
yes = "it is for a temporary approver"
no = "it is for {resource.relation}"
"""


async def test_a_rule_decides_on_what_a_new_request_asks_for_and_until_when(house: House, office: Office) -> None:
    rows = "p, deny, anyone, request, any, access_request, any, temporary and late, at-most-ten-days\n"
    await activate_unread(house, with_more(rows, BRIEF))
    until = soon(days=11)
    late = await office.ask("carl", relation="temporary_approver", team="east", until=until, reads_directory=True)
    assert (late.status_code, late.json()["reasons"]) == (
        403,
        ["it is for a temporary approver; it is for more than ten days"],
    )
    recorded = (await last_decision(house))["attributes"]
    assert datetime.fromisoformat(recorded["resource.until"]) == datetime.fromisoformat(until)
    assert recorded["resource.relation"] == "temporary_approver"
    await office.open_request("carl")
    request = recorded_request.parse_request(json.dumps(record := await last_decision(house)).encode())
    assert record["attributes"]["resource.relation"] == "temporary_approver"
    assert reevaluate(house.versions.current(), request) == request.verdict
    # A word that is no relation of the policy stands in no record.
    for word in ("mia_is_ill", "owner"):
        given = {"relation": word, "until": soon(days=2), "reason": "r", "team": "east"}
        assert (await office("carl", "POST", "/v1/access-requests", given)).status_code == 422
        assert "resource.relation" not in (await last_decision(house))["attributes"]
    assert await house.count_records_with("mia_is_ill") == 0


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
    first: dict[str, Any] = {}
    for order, expected in (
        ("", sorted({*everything, own})),
        ("&sort=-requested_at", sorted({*everything, own})[::-1]),
    ):
        path = f"/v1/access-requests?limit=3{order}"
        first = (await office("dora", "GET", path)).json()
        rest = (await office("dora", "GET", f"{path}&cursor={first['next_cursor']}")).json()
        assert [item["id"] for item in (*first["items"], *rest["items"])] == expected
    mixed = await office("dora", "GET", f"/v1/access-requests?limit=3&cursor={first['next_cursor']}")
    assert (mixed.status_code, mixed.json()["fields"][0]["field"]) == (422, "query.cursor")
    unknown = await office("dora", "GET", "/v1/access-requests?sort=until")
    assert (unknown.status_code, unknown.json()["fields"][0]["field"]) == (422, "query.sort")


async def test_nobody_grants_their_own_request_under_any_account_whatever_the_rules_say(house: House) -> None:
    free = "p, allow, anyone, grant, open, access_request, any, always, free-for-all"
    await activate(house, free, without="never-own-access")
    for name in ("ben", "carl", "max"):
        asked = await ask(house, name)
        machine = replace(house.machine(), principal=replace(house.machine().principal, person=None))
        for caller in (
            house.caller(name),
            house.caller(name, roles=frozenset({"role:administrator"})),
            replace(house.caller(name), principal=replace(house.caller(name).principal, client="another-app")),
        ):
            with pytest.raises(Denied):
                await house.access_requests.grant(caller, asked.id)
            assert (await last_decision(house))["reason"] == "law"
        if name == "ben":
            # A second account, which turns out to be the same human.
            await house.directory.add_membership(
                house.administrator(), house.people["dora"], house.teams["west"], Part.LEAD
            )
            await Merging(house.gate).merge(house.administrator(), house.people["dora"], house.people["ben"])
            with pytest.raises(Forbidden):
                await house.access_requests.grant(house.caller("dora"), asked.id)
        if name == "carl":
            # Open requests go with an erasure. This one is put back, to see that the law does not need that.
            await erase(house, "carl")
            await house.owner.execute(
                "UPDATE access_request SET state = 'open', decided_at = NULL WHERE id = $1", asked.id
            )
            with pytest.raises(Denied):
                await house.access_requests.grant(house.caller(await come_back(house, "carl")), asked.id)
            assert (await last_decision(house))["reason"] == "law"
        if name == "max":
            assert (await house.access_requests.grant(machine, asked.id)).value.state == "granted"


async def test_an_erasure_ends_access_and_removes_the_reasons_of_both_sides(house: House) -> None:
    granted, waiting = await ask(house, "carl"), await ask(house, "carl", "division")
    await house.access_requests.grant(house.caller("dora"), granted.id, reason="Of course")
    before = await house.count("audit_text WHERE value IN ('Mia is away', 'Of course')")
    preview = (await house.erasure.preview(house.administrator(), house.people["carl"])).value
    erased = (await house.erasure.erase(house.administrator(), house.people["carl"])).value
    assert (before, erased.texts) == (3, preview.texts)
    assert await house.count("audit_text WHERE value IN ('Mia is away', 'Of course')") == 0
    assert await house.count("access_request WHERE reason IS NOT NULL OR decision_reason IS NOT NULL") == 0
    states = await house.owner.fetch("SELECT id, state, valid_to <= now() AS over FROM access_request ORDER BY id")
    assert [tuple(row) for row in states] == [(granted.id, "ended", True), (waiting.id, "withdrawn", None)]
    assert [change["to"]["what"] for change in await changes_of(house)][-2:] == ["access.ended", "access.withdrawn"]
    again = house.caller(await come_back(house, "carl"))
    sheet = await house.submit_week("max")
    with pytest.raises(NotFound):
        await house.timesheets.approve(again, sheet.id, at(sheet.version))


async def test_a_merge_moves_access_but_for_what_the_two_granted_each_other(house: House) -> None:
    merging, admin, people = Merging(house.gate), house.administrator(), house.people
    by_mia, by_dora = await ask(house, "ana"), await ask(house, "ana", "division")
    waiting = await ask(house, "ana", "west")
    await house.access_requests.grant(house.caller("mia"), by_mia.id)
    await house.access_requests.grant(house.caller("dora"), by_dora.id)
    # Ana is another account of mia's, who granted one of them.
    await merging.merge(admin, people["ana"], people["mia"])
    rows = await house.owner.fetch("SELECT id, person_id, state FROM access_request ORDER BY id")
    assert [tuple(row) for row in rows] == [
        (by_mia.id, people["mia"], "ended"),
        (by_dora.id, people["mia"], "granted"),
        (waiting.id, people["mia"], "open"),
    ]
    assert [change["to"]["what"] for change in await changes_of(house)][-3:] == [
        "access.ended",
        "access.moved",
        "access.moved",
    ]
    sheet = await house.submit_week("max")
    assert (await house.timesheets.read(house.caller("mia"), sheet.id)).value.id == sheet.id


async def test_every_process_sees_a_grant_an_end_and_the_last_moment_at_once(house: House) -> None:
    other = await wire_house(house.log_database)
    sheet = await house.submit_week("ana")
    asked = await ask(house, "carl")

    async def may_read() -> list[bool]:
        found = []
        # The second read of each process is from memory.
        for gate in (house.gate, other.gate) * 2:
            try:
                await Timesheets(gate).read(house.caller("carl"), sheet.id)
                found.append(True)
            except Denied:
                found.append(False)
        return found

    assert await may_read() == [False] * 4
    remembered = house.memory.state
    assert remembered is not None
    await house.access_requests.withdraw(house.caller("carl"), (await ask(house, "carl", "west")).id)
    # Asking and withdrawing change no relation, so nothing was forgotten.
    assert await may_read() == [False] * 4
    assert house.memory.state is remembered
    await AccessRequests(other.gate).grant(house.caller("mia"), asked.id)
    assert await may_read() == [True] * 4
    await house.access_requests.end(house.caller("carl"), asked.id)
    assert await may_read() == [False] * 4
    again = await ask(house, "carl")
    await house.access_requests.grant(house.caller("mia"), again.id)
    assert await may_read() == [True] * 4

    async def all_may_read() -> bool:
        return await may_read() == [True] * 4

    await end_soon(house, again.id, all_may_read)
    assert await may_read() == [False] * 4


async def test_a_decision_that_rested_on_a_grant_is_decided_again_after_its_end(house: House) -> None:
    sheet = await house.submit_week("ana")
    asked = await ask(house, "carl")
    await house.access_requests.grant(house.caller("mia"), asked.id)
    approved = await house.timesheets.approve(house.caller("carl"), sheet.id, at(sheet.version))
    await house.access_requests.end(house.caller("mia"), asked.id)
    body = await house.owner.fetchval("SELECT body FROM audit_record WHERE uid = $1", approved.receipt.uid)
    recorded = recorded_request.parse_request(unpack(body))
    assert recorded.verdict.rules == ("approve-as-temporary-approver",)
    assert reevaluate(house.versions.current(), recorded) == recorded.verdict


@pytest.mark.parametrize("teams", [0, 1, 2])
async def test_a_request_after_a_refusal_takes_the_team_of_the_owner(house: House, office: Office, teams: int) -> None:
    await activate(house, REVIEWERS)
    await house.fallbacks.name(house.administrator(), house.people["dora"])
    sheet = await house.submit_week("adam")
    for team in ("east", "west")[:teams]:
        await house.directory.add_membership(
            house.administrator(), house.people["adam"], house.teams[team], Part.MEMBER
        )
    reviewer: dict[str, Any] = {"roles": ["reviewer"]}
    refusal = (await office.approve("carl", sheet, **reviewer)).headers["Decision-Id"]

    async def ask_after(who: str = "carl", decision: str = refusal, **body: Any) -> httpx2.Response:
        given = {"decision": decision, "until": soon(days=1), "reason": "r", **body}
        return await office(who, "POST", "/v1/access-requests", given, **reviewer)

    explained = await office(
        "mia", "GET", f"/v1/decisions/{refusal}/explanation", roles=["auditor"], scope="read:audit"
    )
    assert explained.json()["request_access"] == "temporary_approver"
    # Another's refusal, an allowed decision, and one on something else are like an unknown one.
    allowed = (await office("carl", "GET", f"/v1/timesheets/{sheet.id}", **reviewer)).headers["Decision-Id"]
    elsewhere = (await office("carl", "GET", "/v1/people", **reviewer)).headers["Decision-Id"]
    answers = [
        await ask_after("ben"),
        *[await ask_after("carl", decision) for decision in (allowed, elsewhere, UNKNOWN)],
    ]
    assert {(answer.status_code, answer.json()["detail"]) for answer in answers} == {(422, f"decision: {NO_REFUSAL}")}
    made = await ask_after()
    if teams == 1:
        assert (made.status_code, made.json()["team"]) == (201, str(house.teams["east"]))
        assert (await ask_after(team="west")).json()["fields"][0]["field"] == "team"
        return
    assert (made.status_code, made.json()["fields"][0]["field"]) == (422, "team")
    if teams == 2:
        chosen = await ask_after(team="west")
        assert (chosen.status_code, chosen.json()["team"]) == (201, str(house.teams["west"]))
        await office("max", "POST", f"/v1/access-requests/{chosen.json()['id']}/grant")
        late = await ask_after(team="east")
        assert (late.status_code, "you need no access" in late.json()["detail"]) == (409, True)


async def test_access_to_a_project_is_for_weeks_with_hours_on_it(house: House, office: Office) -> None:
    """A policy whose relation follows projects, and where a rule tells the relation of a request."""
    shipped = read_shipped()
    is_team = 'is = "resource.owner.teams.above.granted - resource.owner"'
    assert is_team in shipped.vocabulary
    vocabulary = shipped.vocabulary.replace(is_team, 'is = "resource.projects.granted - resource.owner"')
    before = await office.open_request("carl")
    rules = f"{shipped.rules}{REVIEWERS}\n"
    await activate_unread(house, replace(shipped, vocabulary=vocabulary, rules=rules, cases={}))
    sheet = await house.submit_week("ana")
    reviewer: dict[str, Any] = {"roles": ["reviewer"]}
    await house.project_leads.add(house.administrator(), "apollo", house.people["max"])
    late = await office("mia", "POST", f"/v1/access-requests/{before}/grant")
    assert (late.status_code, "no longer be asked for on a team" in late.json()["detail"]) == (409, True)
    (found,) = (await office("carl", "GET", "/v1/me")).json()["requestable"]
    assert found["on"] == ["project"]
    team = await office.ask("carl", relation="temporary_approver", team="west")
    assert (team.status_code, team.json()["fields"][0]["field"]) == (422, "team")
    unknown = await office.ask("carl", relation="temporary_approver", project="sputnik")
    blind = await office(
        "carl", "POST", "/v1/access-requests", {**wanted(), "project": "apollo"}, scope="approve:timesheets"
    )
    assert unknown.json()["fields"] == blind.json()["fields"]
    refusal = (await office.approve("carl", sheet, **reviewer)).headers["Decision-Id"]
    made = await office.ask("carl", decision=refusal, project="zeus")
    assert (made.status_code, made.json()["fields"][0]["field"]) == (422, "decision")
    body = {"decision": refusal, "until": soon(days=1), "reason": "r"}
    wrong = await office("carl", "POST", "/v1/access-requests", {**body, "project": "zeus"}, **reviewer)
    assert (wrong.status_code, wrong.json()["fields"][0]["field"]) == (422, "project")
    made = await office("carl", "POST", "/v1/access-requests", body, **reviewer)
    assert (made.status_code, made.json()["project"], made.json()["team"]) == (201, "apollo", None), made.text
    assert (await office("mia", "POST", f"/v1/access-requests/{made.json()['id']}/grant")).status_code == 404
    assert (await office("max", "POST", f"/v1/access-requests/{made.json()['id']}/grant")).status_code == 200
    assert [item["timesheet"]["id"] for item in (await office("carl", "GET", "/v1/approvals")).json()["items"]] == [
        str(sheet.id)
    ]
    assert (await office.approve("carl", sheet)).status_code == 200


async def test_a_refusal_offers_access_only_where_it_would_help(house: House, office: Office) -> None:
    await activate(house, REVIEWERS)
    own, other = await house.submit_week("carl"), await house.submit_week("ana")
    reviewer: dict[str, Any] = {"roles": ["reviewer"]}
    etag = {"If-Match": f'"{own.version}"'}
    rejected = await office(
        "carl", "POST", f"/v1/timesheets/{own.id}/reject", {"reason": "r"}, headers=etag, roles=["reviewer"]
    )
    assert (rejected.status_code, "request_access" in rejected.json()) == (403, False)
    # No rule lets anybody reopen for a time; and a caller who may not read the timesheet learns nothing.
    approved = (await house.timesheets.approve(house.caller("mia"), other.id, at(other.version))).value
    headers, path = {"If-Match": f'"{approved.version}"'}, f"/v1/timesheets/{other.id}/reopen"
    for claims, status in ((reviewer, 403), ({}, 404)):
        refused = await office("carl", "POST", path, {"reason": "r"}, headers=headers, **claims)
        assert (refused.status_code, "request_access" in refused.json()) == (status, False)


async def test_a_sheet_that_is_hidden_or_missing_says_the_same_and_leads_to_a_request_by_team(
    house: House, office: Office
) -> None:
    sheet = await house.submit_week("ana")

    async def refuse(method: str, more: str, **claims: Any) -> set[tuple[int, str, str]]:
        headers, body = {"If-Match": '"2"'}, None if more in {"", "/approve"} else {"reason": "r"}
        answers = [
            await office("max", method, f"/v1/timesheets/{sheet_id}{more}", body, headers=headers, **claims)
            for sheet_id in (sheet.id, UNKNOWN)
        ]
        return {
            (answer.status_code, answer.json()["detail"], json.dumps(answer.json().get("request_access")))
            for answer in answers
        }

    hidden, offer = "No such resource, or you may not see it", '{"relation": "temporary_approver"}'
    offered = {(404, f"{hidden}. You can ask for access to the timesheets of a team for a time", offer)}
    for method, more in (("GET", ""), ("POST", "/approve"), ("POST", "/reject")):
        assert await refuse(method, more) == offered
    # What it would not let them do, and who may not ask: an agent, a token without the scope, a client for itself.
    assert await refuse("POST", "/reopen") == {(404, hidden, "null")}
    assert await refuse("GET", "", scope="read:timesheets") == {(404, hidden, "null")}
    assert await refuse("GET", "", sub="payroll-import", client_id="payroll-import") == {(404, hidden, "null")}

    (found,) = (await office("max", "GET", "/v1/me")).json()["requestable"]
    assert (found["relation"], found["on"]) == ("temporary_approver", ["team"])
    assert {action["action"]: (action["may"], action["states"], action["sentence"]) for action in found["may"]} == {
        "approve": ("depends", ["submitted"], "approve a timesheet that was handed in"),
        "read": ("depends", [], "read a timesheet with its entries"),
        "reject": ("depends", ["submitted"], "send a timesheet back, with a reason"),
    }
    made = await office.ask("max", relation=found["relation"], team="east")
    granted = await office("mia", "POST", f"{made.headers['Location']}/grant")
    assert granted.status_code == 200, granted.text
    assert (await office("max", "GET", f"/v1/timesheets/{sheet.id}")).status_code == 200
    assert (await office.approve("max", sheet)).status_code == 200
    await office("mia", "POST", f"{made.headers['Location']}/end")
    assert await refuse("GET", "") == offered


async def test_nothing_is_offered_where_nothing_can_be_asked_for(house: House, office: Office) -> None:
    sheet = await house.submit_week("ana")
    blind = (await office("carl", "GET", "/v1/me", scope="read:timesheets")).json()
    assert blind["requestable"] == []
    for rule in (
        "p, deny, person:{carl}, request, any, access_request, any, always, not-carl",
        "p, deny, temporary_approver, read, any, timesheet, any, always, never-temporary",
    ):
        await activate(house, rule.format(carl=house.people["carl"]))
        answer = await office("carl", "GET", f"/v1/timesheets/{sheet.id}")
        assert (answer.status_code, "request_access" in answer.json()) == (404, False), rule
    (found,) = (await office("carl", "GET", "/v1/me")).json()["requestable"]
    assert [action["action"] for action in found["may"]] == ["approve", "reject"]


async def test_a_version_whose_relations_cannot_be_asked_for_offers_none_and_ends_no_grant(
    house: House, office: Office
) -> None:
    """Its words know no temporary approver: access that was granted gives nothing, and is ended all the same. An
    open request can be declined only."""
    sheet, path = await house.submit_week("ana"), f"/v1/access-requests/{await office.open_request()}"
    waiting = f"/v1/access-requests/{await office.open_request('ben')}"
    assert (await office("mia", "POST", f"{path}/grant")).status_code == 200
    shipped = read_shipped()
    rules = [line for line in shipped.rules.splitlines() if " temporary_approver," not in line]
    tables = shipped.vocabulary.split("\n[")
    vocabulary = "\n[".join(table for table in tables if not table.startswith("kinds.timesheet.relations.temporary"))
    text = replace(shipped, vocabulary=vocabulary, rules="\n".join(rules) + "\n", cases={})
    await activate_unread(house, text)
    refused = await office("carl", "GET", f"/v1/timesheets/{sheet.id}")
    assert (refused.status_code, "request_access" in refused.json()) == (404, False)
    me = (await office("carl", "GET", "/v1/me")).json()
    assert (me["requestable"], [held["relation"] for held in me["access"]]) == ([], ["temporary_approver"])
    asked = await office.ask("carl", relation="temporary_approver", team="west")
    assert (asked.status_code, asked.json()["fields"]) == (
        422,
        [{"field": "relation", "message": "cannot be asked for; the policy has none that can"}],
    )
    ended = await office("mia", "POST", f"{path}/end")
    assert (ended.status_code, ended.json()["state"]) == (200, "ended"), ended.text
    late = await office("mia", "POST", f"{waiting}/grant")
    assert (late.status_code, late.json()["detail"]) == (
        409,
        "Under the active policy, temporary_approver can no longer be asked for on a team: decline it",
    )
    assert (await office("mia", "POST", f"{waiting}/decline", {"reason": "r"})).status_code == 200


async def test_a_relation_that_a_grant_of_another_gives_leads_to_that_one(house: House, office: Office) -> None:
    shipped = read_shipped()
    reviewer = """
[kinds.timesheet.relations.reviewer]
is = "resource.temporary_approver | resource.manager"
yes = "you review this"
no = "you do not review this"
"""
    rules = (
        f"{shipped.rules}{REVIEWERS}\np, allow, reviewer, reopen, approved, timesheet, any, always, reopen-reviewer\n"
    )
    vocabulary = shipped.vocabulary + reviewer
    await activate_unread(house, replace(shipped, vocabulary=vocabulary, rules=rules, cases={}))
    sheet = await house.submit_week("ana")
    approved = (await house.timesheets.approve(house.caller("mia"), sheet.id, at(sheet.version))).value
    headers, path = {"If-Match": f'"{approved.version}"'}, f"/v1/timesheets/{sheet.id}/reopen"
    refused = await office("carl", "POST", path, {"reason": "r"}, headers=headers, roles=["reviewer"])
    assert refused.json()["request_access"]["relation"] == "temporary_approver", refused.text
    (found,) = (await office("carl", "GET", "/v1/me")).json()["requestable"]
    assert [action["action"] for action in found["may"]] == ["approve", "read", "reject", "reopen"]
    decision = refused.json()["request_access"]["decision"]
    body = {"decision": decision, "until": soon(days=1), "reason": "r"}
    made = await office("carl", "POST", "/v1/access-requests", body, roles=["reviewer"])
    assert (await office("mia", "POST", f"{made.headers['Location']}/grant")).status_code == 200
    assert (await office("carl", "POST", path, {"reason": "r"}, headers=headers)).status_code == 200


@pytest.mark.parametrize("mode", ["per-item", "all-or-nothing"])
@pytest.mark.parametrize("step", ["approve", "reject"])
async def test_a_batch_offers_access_for_each_item_as_a_request_for_it_alone_would(
    house: House, office: Office, mode: str, step: str
) -> None:
    await activate(house, REVIEWERS)
    own, first, second = [await house.submit_week(name) for name in ("carl", "ana", "ben")]
    body = {"items": [{"id": str(sheet.id), "version": sheet.version} for sheet in (own, first, second)], "mode": mode}
    given = body | ({"reason": "r"} if step == "reject" else {})
    answer = await office("carl", "POST", f"/v1/timesheets/batch-{step}", given, roles=["reviewer"])
    items = answer.json()["items"]
    offered = [(item["problem"] if mode == "per-item" else item).get("request_access") for item in items]
    assert (answer.status_code, offered[0]) == (200 if mode == "per-item" else 403, None), answer.text
    assert {access["relation"] for access in offered[1:]} == {"temporary_approver"}
    decisions = [access["decision"] for access in offered[1:]]
    assert [
        await house.owner.fetchval("SELECT resource_id FROM audit_record WHERE uid = $1 AND outcome = 'deny'", decision)
        for decision in decisions
    ] == [str(first.id), str(second.id)]
    if mode == "per-item":
        assert decisions == [item["decision_id"] for item in items[1:]]
    asked = {"decision": decisions[1], "until": soon(days=1), "reason": "r"}
    made = await office("carl", "POST", "/v1/access-requests", asked, roles=["reviewer"])
    assert (made.status_code, made.json()["team"]) == (201, str(house.teams["east"])), made.text


class Explaining:
    """A connection that counts the blocks that statements read."""

    def __init__(self, house: House) -> None:
        self.house, self.blocks = house, 0

    async def fetch(self, statement: str, *parameters: object) -> list[asyncpg.Record]:
        explained = await self.house.owner.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *parameters)
        plan = json.loads(explained)[0]["Plan"]
        self.blocks += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        return await self.house.owner.fetch(statement, *parameters)


@pytest.mark.parametrize(
    "filters",
    [
        {"state": "open"},
        {"to_decide": True},
        {"mine": True},
        {"mine": True, "state": "open"},
        {"mine": True, "newest_first": True},
    ],
)
async def test_open_and_own_requests_are_found_among_many_that_were_decided(
    house: House, filters: dict[str, Any]
) -> None:
    await house.owner.execute(
        "INSERT INTO access_request (id, relation, team_id, person_id, requested_from, requested_until, state)"
        " SELECT gen_random_uuid(), 'temporary_approver', $1, person.id, now() - interval '2 days',"
        " now() - interval '1 day', 'declined' FROM generate_series(1, 2000),"
        " (SELECT id FROM person WHERE id <> $2 LIMIT 5) AS person",
        house.teams["east"],
        house.people["mia"],
    )
    await house.owner.execute("ANALYZE access_request")
    waiting, own = await ask(house, "carl"), await ask(house, "mia")
    explaining: Any = Explaining(house)
    async with house.gate.list(house.caller("mia"), "access_request", "read") as listed:
        found = await access_request_store.list_requests(
            listed.visibility,
            explaining,
            **{"state": None, "mine": False, "to_decide": False, "after": None, **filters},
            limit=50,
        )
    expected = [own.id] if "mine" in filters else [waiting.id] if "to_decide" in filters else [waiting.id, own.id]
    assert [request.id for request in found] == expected
    assert explaining.blocks < 300
