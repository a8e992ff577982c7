"""A direct route answers as Litestar does: status, headers, body and record. An Origin sends a request to Litestar."""

from __future__ import annotations

import gc
import weakref
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from litestar import Litestar, get
from litestar.params import FromQuery  # noqa: TC002 - Litestar reads handler signatures

from service.directory.entities import Part
from service.directory.people import People
from service.errors import Forbidden
from service.log.record import read_body
from service.timesheets.actions import Timesheets
from service.web.http import direct_routes
from service.web.http.problems import Problems
from tests.integration.api import InProcess, api
from tests.integration.house import MONDAY, speaking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    import httpx2

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

ORIGIN = {"Origin": "https://elsewhere.example"}
# Different in each answer.
OWN_HEADERS = {"decision-id", "decision-leaf", "x-request-id", "dpop-nonce", "ratelimit"}
OWN_MEMBERS = {"decision_id", "request_id"}
OWN_RECORDED = {"uid", "nonce", "decided_at"}
MISSING = "0198c0de-4f2a-7000-8000-00000000002a"
ALL = "read:timesheets approve:timesheets create:timesheets read:audit"
# Who asks, the method, what stands behind the address of ana's submitted sheet, headers, and the status.
REQUESTS: dict[str, tuple[str, str, str, dict[str, str], int]] = {
    "read": ("ana", "GET", "", {}, 200),
    "head": ("ana", "HEAD", "", {}, 200),
    "current": ("ana", "GET", "", {"If-None-Match": '"3"'}, 304),
    "not a reader": ("ben", "GET", "", {}, 404),
    "no scope": ("nobody", "GET", "", {}, 403),
    "no token": ("", "GET", "", {}, 401),
    "bad token": ("bad", "GET", "", {}, 401),
    "traced": ("ana", "GET", "", {"Traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}, 200),
    "no host": ("ana", "GET", "", {"Host": "a/b"}, 400),
    "long headers": ("ana", "GET", "", {"X-Long": "x" * 40_000}, 431),
    "own approval": ("ana", "POST", "/approve", {"If-Match": '"3"'}, 403),
    "approval of no version": ("lea", "POST", "/approve", {}, 428),
    "approval of two versions": ("lea", "POST", "/approve", {"If-Match": '"3", "4"'}, 428),
    "approval of another version": ("lea", "POST", "/approve", {"If-Match": '"2"'}, 412),
    "submission of a submitted sheet": ("ana", "POST", "/submit", {"If-Match": '"3"'}, 409),
}
# Paths without the id of a sheet, with who asks and the status. CURSOR is the `next_cursor` of the page before: the
# first page of the log would show the request that was answered the other way.
PAGES: dict[str, tuple[str, str, int]] = {
    "own sheets": ("ana", "/v1/timesheets", 200),
    "a page of own sheets": ("ana", "/v1/timesheets?limit=1", 200),
    "the next page of own sheets": ("ana", "/v1/timesheets?limit=1&cursor=CURSOR", 200),
    "the next page, cursor first": ("ana", "/v1/timesheets?cursor=CURSOR&limit=1", 200),
    "a cursor of nothing": ("ana", "/v1/timesheets?cursor=bm90aGluZw", 422),
    "sheets without a scope": ("nobody", "/v1/timesheets?limit=1", 403),
    "inbox": ("lea", "/v1/approvals?limit=2", 200),
    "an inbox of nobody": ("ana", "/v1/approvals", 200),
    "identity": ("ana", "/v1/me", 200),
    "decisions about oneself": ("ana", "/v1/me/decisions?limit=2&cursor=CURSOR", 200),
    "the log": ("audrey", "/v1/decisions?limit=2&cursor=CURSOR", 200),
    "the log, which is not allowed": ("ana", "/v1/decisions?limit=2", 403),
}


@pytest.fixture
async def running(house: House, issuer: str) -> AsyncIterator[InProcess]:
    people = People(house.requests, house.log)
    for name in ("ana", "ben", "lea", "audrey"):
        house.people[name] = await people.person_for(speaking(issuer, f"auth0|{name}"))
    await put_into_team(house)
    async with api(house, issuer) as started:
        yield started


async def put_into_team(house: House) -> None:
    for name, part in (("ana", Part.MEMBER), ("lea", Part.LEAD)):
        await house.directory.add_membership(house.administrator(), house.people[name], house.teams["east"], part)


def token(running: InProcess, who: str) -> str | None:
    if who == "bad":
        return running.token(aud="https://elsewhere.example")
    if who == "nobody":
        return running.token(scope="")
    roles = ["auditor"] if who == "audrey" else None
    return running.token(sub=f"auth0|{who}", jti=who, scope=ALL, roles=roles) if who else None


@pytest.fixture
async def sheet(house: House, running: InProcess) -> UUID:
    return (await house.submit_week("ana")).id


@pytest.mark.parametrize("name", REQUESTS)
async def test_both_ways_give_the_same_answer_and_the_same_record(
    house: House, running: InProcess, sheet: UUID, name: str
) -> None:
    who, method, behind, headers, status = REQUESTS[name]
    path = f"/v1/timesheets/{sheet}{behind}"
    answers = []
    for more in ({}, ORIGIN):
        before = await house.count("audit_record")
        answer = await running.send(method, path, token(running, who), headers={**headers, **more})
        assert answer.status_code == status, answer.text
        answers.append((comparable(answer), await recorded(house, before)))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("name", PAGES)
async def test_both_ways_give_the_same_page_and_the_same_record(house: House, running: InProcess, name: str) -> None:
    who, path, status = PAGES[name]
    for week in range(3):
        await house.submit_week("ana", MONDAY + timedelta(weeks=week))
    if "CURSOR" in path:
        first = await running.send("GET", path.replace("cursor=CURSOR", "").strip("&"), token(running, who))
        path = path.replace("CURSOR", first.json()["next_cursor"])
    answers = []
    for more in ({}, ORIGIN):
        before = await house.count("audit_record")
        answer = await running.send("GET", path, token(running, who), headers=more)
        assert answer.status_code == status, answer.text
        answers.append((comparable(answer), await recorded(house, before)))
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("takes", "gives"),
    [
        ("ALTER TABLE {} RENAME TO away", "ALTER TABLE away RENAME TO {}"),
        ("REVOKE SELECT ON {} FROM timewarden_app", "GRANT SELECT ON {} TO timewarden_app"),
    ],
)
@pytest.mark.parametrize("more", [{}, ORIGIN])
async def test_a_table_that_a_restore_takes_away_is_a_database_that_is_away(
    house: House, running: InProcess, sheet: UUID, takes: str, gives: str, more: dict[str, str]
) -> None:
    path, ana = f"/v1/timesheets/{sheet}", token(running, "ana")
    assert (await running.send("GET", path, ana, headers=more)).status_code == 200
    await house.owner.execute(takes.format("entry"))
    answer = await running.send("GET", path, ana, headers=more)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:timewarden:problem:database-unavailable")
    assert "Retry-After" in answer.headers
    await house.owner.execute(gives.format("entry"))
    assert (await running.send("GET", path, ana, headers=more)).status_code == 200


async def test_plain_requests_are_answered_directly_and_others_by_litestar(
    running: InProcess, sheet: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    original = direct_routes.DirectRoutes._find

    def find(self: Any, scope: Any) -> Any:
        found.append(original(self, scope) is not None)
        return original(self, scope)

    monkeypatch.setattr(direct_routes.DirectRoutes, "_find", find)
    path = f"/v1/timesheets/{sheet}"
    mine = token(running, "ana")
    for method, asked, headers, direct in (
        ("GET", path, {}, True),
        ("POST", f"{path}/approve", {"If-Match": '"3"'}, True),
        ("GET", path, ORIGIN, False),
        ("GET", f"{path}?include=actions", {}, False),
        ("GET", f"/v1/timesheets/{str(sheet).upper()}", {}, False),
        ("GET", "/v1/timesheets/no-id", {}, False),
        ("GET", f"{path}/", {}, False),
        ("DELETE", path, {"If-Match": '"3"'}, False),
        ("POST", f"{path}/withdraw", {"If-Match": '"3"', "Idempotency-Key": "k"}, False),
        ("GET", f"{path}?limit=5", {}, False),
        ("GET", "/v1/timesheets", {}, True),
        ("GET", "/v1/timesheets?limit=200", {}, True),
        ("GET", "/v1/timesheets?limit=5&cursor=bm90aGluZw", {}, True),
        ("GET", "/v1/timesheets?limit=201", {}, False),
        ("GET", "/v1/timesheets?limit=0", {}, False),
        ("GET", "/v1/timesheets?limit=+5", {}, False),
        ("GET", "/v1/timesheets?limit=5&limit=6", {}, False),
        ("GET", "/v1/timesheets?limit=5&", {}, False),
        ("GET", "/v1/timesheets?cursor=", {}, False),
        ("GET", "/v1/timesheets?cursor=a%20b", {}, False),
        ("GET", "/v1/timesheets?limit=5&state=draft", {}, False),
        ("GET", "/v1/me?limit=5", {}, False),
    ):
        await running.send(method, asked, mine, headers=headers)
        assert found.pop() is direct, asked
    await running.send("GET", path)
    assert found == [False]


async def test_a_missing_sheet_is_unknown_both_ways(running: InProcess) -> None:
    answers = [
        await running.send("GET", f"/v1/timesheets/{MISSING}", token(running, "ana"), headers=more)
        for more in ({}, ORIGIN)
    ]
    assert comparable(answers[0]) == comparable(answers[1])
    assert answers[0].status_code == 404


async def test_an_error_of_ours_is_answered_without_detail_both_ways(
    running: InProcess, sheet: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(Timesheets, "read_stored", fail)
    answers = [
        await running.send("GET", f"/v1/timesheets/{sheet}", token(running, "ana"), headers=more)
        for more in ({}, ORIGIN)
    ]
    assert comparable(answers[0]) == comparable(answers[1])
    assert answers[0].status_code == 500
    assert "secret" not in answers[0].text


def comparable(answer: httpx2.Response) -> tuple[dict[str, str], Any]:
    headers = {name: value for name, value in answer.headers.items() if name not in OWN_HEADERS}
    if not answer.content:
        return headers, None
    body: dict[str, Any] = answer.json()
    return headers, {name: value for name, value in body.items() if name not in OWN_MEMBERS}


async def recorded(house: House, before: int) -> list[dict[str, Any]]:
    """The records since there were `before`."""
    rows = await house.owner.fetch("SELECT body FROM audit_record ORDER BY id OFFSET $1", before)
    bodies: list[dict[str, Any]] = [read_body(row["body"]) for row in rows]
    for body in bodies:
        body["request"].pop("id", None)
    return [{name: value for name, value in body.items() if name not in OWN_RECORDED} for body in bodies]


async def test_a_direct_handler_that_only_litestar_can_call_is_refused_at_the_start() -> None:
    @get("/count", opt=direct_routes.DIRECT)
    async def count(caller: FromQuery[str], wanted: FromQuery[str]) -> None: ...

    with pytest.raises(TypeError, match="count"):
        direct_routes.DirectRoutes(app := Litestar([count]), [], Problems(None), app)


def test_an_answered_error_frees_at_once_what_its_frames_hold() -> None:
    held: list[weakref.ref[set[int]]] = []

    def refuse() -> NoReturn:
        local = {1}
        held.append(weakref.ref(local))
        # The frame holds the error, whose traceback holds the frame.
        error = Forbidden(())
        raise error

    scope: Any = {"type": "http", "headers": [], "state": {}}
    gc.disable()
    try:
        try:
            refuse()
        except Forbidden as error:
            Problems(None).answer(scope, error)
        assert held[0]() is None
    finally:
        gc.enable()
