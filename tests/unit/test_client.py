"""The client against a server that is busy, breaks off or refuses tokens: retries and errors."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest

from service import errors
from service.standalone.client import (
    Busy,
    Conflict,
    Denied,
    Invalid,
    Problem,
    Stale,
    Timesheet,
    Timewarden,
    TokenRefused,
    Unauthenticated,
    UploadRow,
    client_credentials,
    refreshing,
    transport,
)
from service.standalone.client import tokens as client_tokens
from service.standalone.client.problems import UNCHANGED
from service.web.http.idempotency import PREFIXES_WITHOUT_KEY

FOLDER = Path(client_tokens.__file__).parent
TYPESCRIPT = FOLDER.parent / "typescript" / "src" / "transport.ts"
URL = "https://api.example"
TOKENS = "https://sign-in.example/oauth/token"
MADE: dict[str, Any] = {
    "id": "s1",
    "owner": "p1",
    "period_start": "2026-11-23",
    "period_end": "2026-11-29",
    "time_zone": "UTC",
    "state": "draft",
    "version": 7,
    "minutes": 0,
    "reason": None,
    "created_at": "2026-11-23T09:00:00Z",
    "updated_at": "2026-11-23T09:00:00Z",
    "entries": [],
    "invented_later": True,
}
Answer = httpx2.Response | Exception | Callable[[httpx2.Request], httpx2.Response]


class Server:
    """Answers each request with the next prepared response and records the requests."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.seen: list[httpx2.Request] = []

    @property
    def http(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer))

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        # A copy: the next attempt changes the headers.
        seen = httpx2.Request(request.method, request.url, headers=request.headers, content=request.content)
        seen.extensions = request.extensions
        self.seen.append(seen)
        now = self._answers.pop(0)
        if isinstance(now, Exception):
            raise now
        return now if isinstance(now, httpx2.Response) else now(request)


def sheet(**changed: object) -> httpx2.Response:
    headers = {"Decision-Id": "d1", "Decision-Leaf": "aa", "X-Request-Id": "r1"}
    return httpx2.Response(200, json=MADE | changed, headers=headers)


def problem(status: int, slug: str, headers: dict[str, str] | None = None, **more: object) -> httpx2.Response:
    body = {"type": f"urn:timewarden:problem:{slug}", "title": "t", "status": status, "detail": "why", **more}
    return httpx2.Response(status, json=body, headers={"Decision-Id": "d9", **(headers or {})})


def token(name: str, **more: object) -> httpx2.Response:
    return httpx2.Response(200, json={"access_token": name, "token_type": "Bearer", "expires_in": 3600, **more})


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits of the client, which are skipped."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr("service.standalone.client.transport.asyncio.sleep", sleep)
    return found


async def read_sheet(api: Timewarden) -> Timesheet:
    return await api.timesheet("s1")


async def test_a_response_has_its_receipt_and_ignores_unknown_members() -> None:
    found = await read_sheet(Timewarden(URL, "t", http=Server(sheet()).http))

    assert (found.version, found.period_start) == (7, date(2026, 11, 23))
    assert (found.receipt.decision, found.receipt.leaf, found.receipt.request_id) == ("d1", "aa", "r1")


async def test_a_change_sends_the_version_that_was_read() -> None:
    server = Server(sheet(), sheet(version=8), sheet(version=9, state="submitted"))
    api = Timewarden(URL, "t", http=server.http)
    added = await api.add_entry(await read_sheet(api), date(2026, 11, 23), "ATLAS", 60)
    await api.submit(added)

    assert [request.headers.get("If-Match") for request in server.seen] == [None, '"7"', '"8"']
    assert json.loads(server.seen[1].content) == {"day": "2026-11-23", "project": "ATLAS", "minutes": 60}
    assert server.seen[2].content == b""


SUBMITTED: dict[str, Any] = {"state": "submitted", "submitted_at": "2026-11-27T16:00:00Z"}


async def test_a_sheet_that_others_approved_meanwhile_is_read_and_approved() -> None:
    stale, approvals = problem(412, "precondition-failed"), [{"by": "p2", "at": "2026-11-28T09:00:00Z"}]
    newer = sheet(version=8, approvals=approvals, approvals_given=1, approvals_needed=3, **SUBMITTED)
    given = sheet(version=10, approvals_given=3, approvals_needed=3, **SUBMITTED | {"state": "approved"})
    server = Server(sheet(**SUBMITTED), stale, newer, stale, sheet(version=9, **SUBMITTED), given)
    api = Timewarden(URL, "t", http=server.http)
    done = await api.approve(await read_sheet(api))
    assert (done.state, done.approvals_given, done.approvals_needed) == ("approved", 3, 3)
    assert [request.headers.get("If-Match") for request in server.seen if request.method == "POST"] == [
        '"7"',
        '"8"',
        '"9"',
    ]


@pytest.mark.parametrize(
    "newer",
    [
        {"version": 9, "state": "draft", "submitted_at": None},
        {"version": 9, "state": "submitted", "submitted_at": "2026-11-28T16:00:00Z"},
        {"version": 8, "state": "approved"},
        {"version": 7},
    ],
)
async def test_a_sheet_that_changed_in_another_way_is_not_approved(newer: dict[str, object]) -> None:
    server = Server(sheet(**SUBMITTED), problem(412, "precondition-failed"), sheet(**SUBMITTED | newer))
    api = Timewarden(URL, "t", http=server.http)
    with pytest.raises(Stale):
        await api.approve(await read_sheet(api))
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    "failure",
    [
        problem(503, "log-unavailable", {"Retry-After": "2"}),
        problem(503, "database-unavailable", {"Retry-After": "2"}),
        problem(429, "too-many-requests", {"Retry-After": "2"}),
        httpx2.ConnectError("no"),
        httpx2.ReadError("broken off"),
        httpx2.ReadTimeout("late"),
        httpx2.Response(502, text="<html>bad gateway"),
        httpx2.Response(504, text="<html>gateway timeout"),
    ],
)
async def test_a_change_is_retried_with_the_same_key_after_retry_after(waits: list[float], failure: Answer) -> None:
    server = Server(failure, sheet(), sheet())
    api = Timewarden(URL, "t", http=server.http)
    await api.open_week(date(2026, 11, 23))
    await api.open_week(date(2026, 11, 23))

    keys = [request.headers["Idempotency-Key"] for request in server.seen]
    assert keys[0] == keys[1] != keys[2]
    assert len(waits) == 1
    if isinstance(failure, httpx2.Response) and "Retry-After" in failure.headers:
        assert 2 <= waits[0] < 3


async def test_it_gives_up_after_its_attempts_with_the_last_problem(waits: list[float]) -> None:
    server = Server(*[problem(503, "log-unavailable")] * 4)
    with pytest.raises(Busy, match="503 log-unavailable: why"):
        await read_sheet(Timewarden(URL, "t", http=server.http))

    assert (len(server.seen), len(waits)) == (4, 3)


async def test_a_broken_connection_is_raised_after_all_attempts(waits: list[float]) -> None:
    server = Server(httpx2.ConnectError("no"), httpx2.ConnectError("no"))
    with pytest.raises(httpx2.ConnectError):
        await read_sheet(Timewarden(URL, "t", http=server.http, attempts=2))

    assert len(waits) == 1


@pytest.mark.parametrize(
    ("failure", "sent"),
    [
        (httpx2.ReadError("broken off"), 1),
        (httpx2.Response(504, text="late"), 1),
        (problem(503, "database-unavailable"), 1),
        (problem(503, "policy-unavailable"), 1),
        (httpx2.Response(503, text="upstream connect error"), 1),
        (httpx2.ConnectError("no"), 2),
        (problem(503, "log-unavailable"), 2),
        (problem(503, "try-later"), 2),
        (problem(429, "too-many-requests"), 2),
    ],
)
async def test_a_policy_change_has_no_key_and_is_not_retried_if_it_may_have_been_made(
    waits: list[float], failure: Answer, sent: int
) -> None:
    server = Server(failure, problem(409, "stale-expectation"))
    with pytest.raises((httpx2.ReadError, Problem)):
        await Timewarden(URL, "t", http=server.http).activate_policy(2, instead_of=1)

    assert len(server.seen) == sent
    assert not any("Idempotency-Key" in request.headers for request in server.seen)


def test_a_503_leaves_open_whether_a_change_was_made_if_the_service_promises_nothing() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.TryLater)]
    slugs = {kind.slug for kind in kinds}
    assert slugs - UNCHANGED == {"database-unavailable", "policy-unavailable"}
    assert slugs > UNCHANGED


def read_list_in_typescript(name: str) -> list[str]:
    text = TYPESCRIPT.read_text(encoding="utf-8")
    (items,) = re.findall(rf"^const {name} = (\[.*?\]);$", text, re.MULTILINE | re.DOTALL)
    return cast("list[str]", ast.literal_eval(items))


def test_the_clients_send_no_key_where_the_service_takes_none() -> None:
    assert transport.WITHOUT_KEY == PREFIXES_WITHOUT_KEY
    assert tuple(read_list_in_typescript("WITHOUT_KEY")) == PREFIXES_WITHOUT_KEY


def test_both_clients_know_the_same_promises_of_a_503() -> None:
    assert set(read_list_in_typescript("UNCHANGED")) == UNCHANGED


async def test_it_waits_for_an_earlier_attempt_that_is_still_running(waits: list[float]) -> None:
    server = Server(httpx2.ReadTimeout("late"), problem(409, "idempotency-key-in-use"), sheet())
    opened = await Timewarden(URL, "t", http=server.http).open_week(date(2026, 11, 23))

    assert opened.id == "s1"
    assert len({request.headers["Idempotency-Key"] for request in server.seen}) == 1


async def test_it_does_not_wait_longer_than_the_limit(waits: list[float]) -> None:
    server = Server(problem(429, "too-many-requests", {"Retry-After": "3600"}))
    with pytest.raises(Busy):
        await read_sheet(Timewarden(URL, "t", http=server.http))

    assert waits == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (problem(403, "forbidden", reasons=["these are your own hours"], rules=["never-own-hours"]), Denied),
        (problem(409, "wrong-state", state="submitted"), Conflict),
        (problem(412, "precondition-failed"), Stale),
        (problem(422, "invalid-field", fields=[{"field": "minutes", "message": "too many"}]), Invalid),
        (problem(418, "teapot"), Problem),
        (httpx2.Response(302, headers={"Location": "https://elsewhere.example"}), Problem),
        (httpx2.Response(500, text="<html>oops"), Problem),
        (httpx2.Response(500, json=["no", "document"]), Problem),
        (problem(403, "forbidden", reasons=None, rules=7, required_scope="x", fields=None), Denied),
        (
            problem(422, "invalid-field", fields=[None, "x", {"field": "minutes"}, {"field": "a", "message": 1}]),
            Invalid,
        ),
        (httpx2.Response(422, json={"type": None, "detail": 7, "fields": {"a": 1}}), Invalid),
        (httpx2.Response(500, text="[" * 100_000), Problem),
    ],
)
async def test_a_refusal_is_typed_and_not_retried(answer: httpx2.Response, kind: type[Problem]) -> None:
    server = Server(answer)
    with pytest.raises(Problem) as raised:
        await read_sheet(Timewarden(URL, "t", http=server.http))

    assert type(raised.value) is kind
    assert len(server.seen) == 1
    assert raised.value.receipt.status == answer.status_code
    assert raised.value.receipt.decision == answer.headers.get("Decision-Id")
    if kind is Denied and raised.value.rules:
        assert (raised.value.reasons, raised.value.rules) == (["these are your own hours"], ["never-own-hours"])
    if kind is Invalid:
        assert raised.value.fields in ([("minutes", "too many")], [("a", "1")], [])
    if kind is Conflict:
        assert raised.value.members["state"] == "submitted"


async def test_pages_are_fetched_when_needed() -> None:
    first = httpx2.Response(200, json={"items": [MADE, MADE | {"id": "s2"}], "next_cursor": "c2"})
    last = httpx2.Response(200, json={"items": [MADE | {"id": "s3"}], "next_cursor": None})
    server = Server(first, last)
    listed = Timewarden(URL, "t", http=server.http).timesheets(state="draft", since=date(2026, 1, 5))
    assert [(await anext(listed)).id, (await anext(listed)).id] == ["s1", "s2"]
    assert len(server.seen) == 1
    assert [item.id async for item in listed] == ["s3"]

    assert dict(server.seen[1].url.params) == {
        "state": "draft",
        "since": "2026-01-05",
        "limit": "200",
        "cursor": "c2",
    }


async def test_filters_are_encoded_as_the_service_parses_them() -> None:
    server = Server(httpx2.Response(200, json={"items": [], "next_cursor": None}))
    since = datetime(2026, 11, 23, 9, tzinfo=UTC)
    found = Timewarden(URL, "t", http=server.http).decisions(since=since, outcome="deny", rule=None)

    assert [item async for item in found] == []
    assert dict(server.seen[0].url.params) == {"since": "2026-11-23T09:00:00+00:00", "outcome": "deny", "limit": "200"}


async def test_a_token_is_shared_until_shortly_before_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("service.standalone.client.tokens.time.monotonic", lambda: now[0])
    server = Server(token("a"), token("b"))
    tokens = client_credentials(TOKENS, "job", "s:/ecret", ["batch:upload"], http=server.http)

    assert set(await asyncio.gather(*(tokens() for _ in range(5)))) == {"a"}
    now[0] += 3600 - client_tokens.RENEW_EARLY_SECONDS - 1
    assert await tokens() == "a"
    now[0] += 1
    assert await tokens() == "b"
    assert server.seen[0].content == b"grant_type=client_credentials&scope=batch%3Aupload"
    # RFC 6749 section 2.3.1: form-encoded before it is joined: job:s%3A%2Fecret
    assert server.seen[0].headers["Authorization"] == "Basic am9iOnMlM0ElMkZlY3JldA=="


@pytest.mark.parametrize("lasts", ["abc", None, True, -5, [], "1e3", "NaN", 10**400])
async def test_an_invalid_lifetime_is_ignored(lasts: object) -> None:
    server = Server(token("a", expires_in=lasts))
    tokens = client_credentials(TOKENS, "job", "s", http=server.http)
    assert [await tokens(), await tokens()] == ["a", "a"]


async def test_a_lifetime_as_a_string_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("service.standalone.client.tokens.time.monotonic", lambda: now[0])
    tokens = client_credentials(TOKENS, "job", "s", http=Server(token("a", expires_in="3600"), token("b")).http)
    await tokens()
    now[0] += 3600
    assert await tokens() == "b"


async def test_a_step_up_names_the_required_sign_in() -> None:
    challenge = {"WWW-Authenticate": 'Bearer realm="t", error="x", acr_values="mfa gold", max_age="300"'}
    server = Server(problem(401, "step-up-needed", challenge), problem(401, "step-up-needed"))
    api = Timewarden(URL, "t", http=server.http)
    found = []
    for _ in range(2):
        with pytest.raises(Unauthenticated) as raised:
            await read_sheet(api)
        found.append((raised.value.max_age, raised.value.acr_values))
    assert found == [(300, ["mfa", "gold"]), (None, [])]


@pytest.mark.parametrize(
    ("failure", "sent"),
    [
        (httpx2.ReadTimeout("late"), 1),
        (httpx2.WriteTimeout("late"), 1),
        (httpx2.Response(504, text="late"), 1),
        (httpx2.ConnectTimeout("late"), 2),
        (httpx2.ReadError("broken off"), 2),
        (problem(503, "try-later"), 2),
        (problem(503, "database-unavailable"), 2),
    ],
)
async def test_a_file_is_not_sent_again_while_it_may_be_processed(
    waits: list[float], failure: Answer, sent: int
) -> None:
    server = Server(failure, httpx2.Response(200, json={"rows": [], "decisions": ["d1"]}))
    api = Timewarden(URL, "t", http=server.http)
    with suppress(httpx2.TransportError, Problem):
        await api.upload_file(b"owner", per_row=True)
    assert len(server.seen) == sent
    assert {request.extensions["timeout"]["read"] for request in server.seen} == {600}
    assert not any("Idempotency-Key" in request.headers for request in server.seen)


async def test_rows_have_a_key_if_the_service_stores_the_response() -> None:
    answer = httpx2.Response(200, json={"rows": [], "decisions": ["d1"]})
    server = Server(answer, answer, answer)
    api = Timewarden(URL, "t", http=server.http)
    await api.upload([])
    await api.upload([], per_row=True)
    await api.upload([], dry_run=True)
    assert ["Idempotency-Key" in request.headers for request in server.seen] == [True, False, False]


async def test_reports_access_delegations_and_reminders_have_methods() -> None:
    total = {"key": "ATLAS", "name": None, "minutes": 60, "sheets": 1}
    report = {
        "by": "project",
        "since": "2026-11-23",
        "until": "2026-11-29",
        "minutes": 60,
        "sheets": 1,
        "items": [total],
    }
    way = {"rule": "read-own", "scope": "read:timesheets", "sign_in": []}
    somebody = {"person": "p1", "client": None, "relations": ["owner"], "may": {"read": [way]}}
    access = {
        "timesheet": "s1",
        "state": "draft",
        "version": 3,
        "items": [somebody],
        "tokens_with": {},
        "cut_short": False,
    }
    delegate = {"id": "g1", "delegator": "p1", "delegate": "p2", "valid_from": "2026-11-23T00:00:00Z", "valid_to": None}
    answers = [report, MADE, {**access, "next_cursor": "c2"}, {**access, "next_cursor": None}]
    answers += [delegate, delegate, {"reminded": 2, "more": False}]
    server = Server(*(httpx2.Response(200, json=answer) for answer in answers))
    api = Timewarden(URL, "t", http=server.http)

    found = await api.hours("project", date(2026, 11, 23), date(2026, 11, 29))
    assert [(item.key, item.minutes) for item in found.items] == [("ATLAS", 60)]
    sheet_access = await api.access(await read_sheet(api))
    assert [item.may["read"][0].rule for item in sheet_access.items] == ["read-own", "read-own"]
    assert (await api.grant_delegation("p2", valid_to=datetime(2026, 12, 1, tzinfo=UTC))).delegate == "p2"
    await api.end_delegation("g1")
    assert (await api.remind(3)).reminded == 2
    asked = [(request.method, request.url.path, request.content) for request in server.seen]
    assert asked[3][1] == "/v1/timesheets/s1/access"
    assert asked[4] == ("POST", "/v1/delegations", b'{"delegate":"p2","valid_to":"2026-12-01T00:00:00Z"}')
    assert asked[5:] == [
        ("POST", "/v1/delegations/g1/end", b"{}"),
        ("POST", "/v1/approvals/reminders", b'{"waiting_days":3}'),
    ]


async def test_access_requests_have_methods_and_a_refusal_says_what_to_ask_for() -> None:
    request = {
        "id": "r1",
        "relation": "temporary_approver",
        "team": "t1",
        "project": None,
        "person": "p1",
        "state": "open",
        "from": "2026-11-23T00:00:00Z",
        "until": "2026-11-25T00:00:00Z",
        "reason": "away",
        "requested_at": "2026-11-23T00:00:00Z",
        "decision": "d1",
    }
    asked = {"relation": "temporary_approver", "decision": "d1"}
    refusal = {"type": "urn:timewarden:problem:forbidden", "detail": "no", "request_access": asked}
    page = {"items": [request], "next_cursor": None}
    answers = [httpx2.Response(403, json=refusal), *(httpx2.Response(200, json=request) for _ in range(6))]
    server = Server(*answers, httpx2.Response(200, json=page), httpx2.Response(403, json={}))
    api = Timewarden(URL, "t", http=server.http)
    until = datetime(2026, 11, 25, tzinfo=UTC)

    with pytest.raises(Denied) as refused:
        await api.access_request("r1")
    assert refused.value.request_access == asked
    made = await api.request_access(until, "away", decision="d1")
    assert (made.from_, made.state) == (datetime(2026, 11, 23, tzinfo=UTC), "open")
    await api.request_access(until, "away", relation="temporary_approver", team="Atlas", from_=until)
    await api.grant_access("r1", until=until)
    await api.decline_access("r1", "no")
    await api.withdraw_access_request("r1")
    await api.end_access("r1")
    assert [item.id async for item in api.access_requests(to_decide=True)] == ["r1"]
    with pytest.raises(Denied) as refused:
        await api.access_request("r1")
    assert refused.value.request_access is None
    sent = [
        (request.method, request.url.path.removeprefix("/v1/access-requests"), request.content)
        for request in server.seen
    ]
    times = b'"until":"2026-11-25T00:00:00Z","reason":"away"'
    assert sent[1:7] == [
        ("POST", "", b"{" + times + b',"decision":"d1"}'),
        ("POST", "", b"{" + times + b',"relation":"temporary_approver","team":"Atlas","from":"2026-11-25T00:00:00Z"}'),
        ("POST", "/r1/grant", b'{"until":"2026-11-25T00:00:00Z"}'),
        ("POST", "/r1/decline", b'{"reason":"no"}'),
        ("POST", "/r1/withdraw", b""),
        ("POST", "/r1/end", b""),
    ]
    assert server.seen[7].url.params["to_decide"] == "true"


async def test_a_list_with_some_fields_has_its_items_as_they_were_sent() -> None:
    pages = [
        {"items": [{"id": f"s{place}"}], "next_cursor": next_cursor} for place, next_cursor in ((1, "c2"), (2, None))
    ]
    server = Server(*(httpx2.Response(200, json=page) for page in pages))
    api = Timewarden(URL, "t", http=server.http)
    found = [item async for item in api.timesheet_fields("id", "minutes", sort="-minutes", state=["draft", "rejected"])]
    assert found == [{"id": "s1"}, {"id": "s2"}]
    first, second = (request.url.query.decode() for request in server.seen)
    assert first == "fields=id&fields=minutes&sort=-minutes&state=draft&state=rejected&limit=200"
    assert second == f"{first}&cursor=c2"


async def test_changes_of_a_sheet_with_names_ask_for_names() -> None:
    named = httpx2.Response(200, json={**MADE, "names": {"p1": "Ana"}})
    server = Server(httpx2.Response(200, json=MADE), *[named] * 5)
    api = Timewarden(URL, "t", http=server.http)
    await api.submit(await read_sheet(api))
    sheet = await api.open_week(date(2026, 11, 23), names=True)
    await api.note_days(await api.withdraw(sheet), {date(2026, 11, 23): None})
    assert [request.url.query for request in server.seen] == [b"", b"", *[b"names=true"] * 3]


async def test_groups_and_leads_of_projects_have_methods() -> None:
    times = {"valid_from": "2026-11-23T00:00:00Z", "valid_to": None}
    member = {"id": "m1", "group": "night-shift", "person": "p1", **times}
    lead = {"id": "l1", "project": "A.1", "person": "p1", **times}
    answers = [{"name": "night-shift"}, member, lead, {"items": [member], "next_cursor": None}]
    answers += [{"items": [lead], "next_cursor": None}, {"items": [{"name": "night-shift"}], "next_cursor": None}]
    answers += [member, lead]
    server = Server(*(httpx2.Response(200, json=answer) for answer in answers))
    api = Timewarden(URL, "t", http=server.http)

    group = await api.add_group("night-shift")
    joined = await api.add_group_member(group.name, "p1")
    named = await api.name_project_lead("A.1", "p1", valid_to=datetime(2026, 12, 1, tzinfo=UTC))
    assert [found.id async for found in api.group_members(group.name)] == [joined.id]
    assert [found.id async for found in api.project_leads("A.1")] == [named.id]
    assert [found.name async for found in api.groups(person="p1")] == ["night-shift"]
    await api.end_group_member(joined)
    await api.end_project_lead(named, datetime(2026, 12, 1, tzinfo=UTC))
    assert [(request.method, request.url.path, request.content) for request in server.seen] == [
        ("POST", "/v1/groups", b'{"name":"night-shift"}'),
        ("POST", "/v1/groups/night-shift/members", b'{"person":"p1"}'),
        ("POST", "/v1/projects/A.1/leads", b'{"person":"p1","valid_to":"2026-12-01T00:00:00Z"}'),
        ("GET", "/v1/groups/night-shift/members", b""),
        ("GET", "/v1/projects/A.1/leads", b""),
        ("GET", "/v1/groups", b""),
        ("POST", "/v1/groups/night-shift/members/m1/end", b"{}"),
        ("POST", "/v1/projects/A.1/leads/l1/end", b'{"at":"2026-12-01T00:00:00Z"}'),
    ]


def with_etag(version: int, **body: object) -> httpx2.Response:
    return httpx2.Response(200, json=body, headers={"ETag": f'"{version}"'})


async def test_people_teams_and_projects_send_the_version_that_was_read() -> None:
    person: dict[str, object] = {"id": "p1", "display_name": "Ana", "email": None, "merged_into": None}
    team: dict[str, object] = {"id": "t1", "name": "Atlas", "parent": None}
    project: dict[str, object] = {"code": "A.1", "name": "Atlas", "active": True}
    asked = (person, person | {"email": "a@example.com"}, team, team, project, project)
    server = Server(*(with_etag(place + 3, **call) for place, call in enumerate(asked)))
    api = Timewarden(URL, "t", http=server.http)

    ana = await api.person("ana+1@example.com")
    assert (ana.version, (await api.amend_person(ana, email="a@example.com", display_name=None)).version) == (3, 4)
    assert (await api.replace_team(await api.team("Atlas?"), name="Atlas", parent="t0")).version == 6
    assert (await api.replace_project(await api.project("A.1"), name="Atlas", active=False)).version == 8
    sent = [
        (request.method, request.url.raw_path.decode(), request.headers.get("If-Match"), request.content)
        for request in server.seen
    ]
    assert sent == [
        ("GET", "/v1/people/ana%2B1@example.com", None, b""),
        ("PATCH", "/v1/people/p1", '"3"', b'{"email":"a@example.com","display_name":null}'),
        ("GET", "/v1/teams/Atlas%3F", None, b""),
        ("PUT", "/v1/teams/t1", '"5"', b'{"name":"Atlas","parent":"t0"}'),
        ("GET", "/v1/projects/A.1", None, b""),
        ("PUT", "/v1/projects/A.1", '"7"', b'{"name":"Atlas","active":false}'),
    ]
    assert server.seen[1].headers["Content-Type"] == "application/merge-patch+json"


async def test_attributes_are_sent_only_if_they_are_given() -> None:
    person: dict[str, object] = {"id": "p1", "display_name": None, "email": None, "attributes": {"level": 3}}
    team: dict[str, object] = {"id": "t1", "name": "Atlas", "parent": None}
    project: dict[str, object] = {"code": "A.1", "name": "Atlas", "active": True, "attributes": {"customer": "acme"}}
    asked = (person, person, team, team, project, project)
    server = Server(*(with_etag(place + 3, **call) for place, call in enumerate(asked)))
    api = Timewarden(URL, "t", http=server.http)

    ana = await api.person("p1")
    await api.amend_person(ana, attributes={"level": None, "country": "DE"})
    east = await api.team("t1")
    assert (ana.attributes, east.attributes) == ({"level": 3}, {})
    await api.replace_team(east, name="Atlas", parent=None, attributes={})
    await api.replace_project(await api.project("A.1"), name="Atlas", active=True, attributes={"customer": "other"})
    assert [json.loads(request.content) for request in server.seen if request.content] == [
        {"attributes": {"level": None, "country": "DE"}},
        {"name": "Atlas", "parent": None, "attributes": {}},
        {"name": "Atlas", "active": True, "attributes": {"customer": "other"}},
    ]


@pytest.mark.parametrize(
    ("etag", "version"),
    [('"3"', 3), ('W/"3"', 3), ('"3-0-2"', 3), (None, None), ('"x"', None), ('"²"', None), ('""', None)],
)
async def test_only_an_etag_of_the_service_gives_a_version(etag: str | None, version: int | None) -> None:
    body = {"id": "p1", "display_name": "Ana", "email": None}
    headers = [(b"ETag", etag.encode())] if etag else []
    server = Server(httpx2.Response(200, json=body, headers=headers), problem(428, "precondition-required"))
    api = Timewarden(URL, "t", http=server.http)
    ana = await api.person("p1")
    with pytest.raises(Problem, match="428"):
        await api.amend_person(ana, email=None)
    assert ana.version == version
    assert server.seen[1].headers.get("If-Match") == (f'"{version}"' if version else None)


async def test_merges_roles_locks_and_replays_have_methods() -> None:
    person = {"id": "p2", "display_name": None, "email": None, "merged_into": None}
    role = {"person": "p2", "role": "auditor", "valid_from": "2026-11-23T00:00:00Z", "valid_to": None}
    replay = {
        "id": "r1", "version": 4, "state": "queued", "progress": 0.0, "filters": {}, "asked_at": "2026-11-23T09:00:00Z",
        "ended_at": None, "problem": None,
    }  # fmt: skip
    batch = {"changed": 1, "items": []}
    answers = [person, {"items": [role]}, role, role, batch, batch, replay | {"result": {"decided": 0}}, replay]
    server = Server(
        *(httpx2.Response(200, json=answer) for answer in [*answers, {"items": [replay], "next_cursor": None}])
    )
    api = Timewarden(URL, "t", http=server.http)

    assert (await api.merge_people("p1", into="p2")).id == "p2"
    assert [item.role for item in await api.roles("p2")] == ["auditor"]
    await api.give_role("p2", "auditor", valid_from=datetime(2026, 11, 23, tzinfo=UTC))
    await api.take_role("p2", "auditor")
    await api.lock_all([], "Payroll")
    await api.unlock_all([], "Mistake", per_item=True)
    assert (await api.start_replay(4, kind="timesheet")).result == {"decided": 0}
    assert (await api.replay("r1")).result is None
    assert [item.id async for item in api.replays()] == ["r1"]
    assert [(request.method, request.url.path, request.content) for request in server.seen] == [
        ("POST", "/v1/people/p1/merge", b'{"into":"p2"}'),
        ("GET", "/v1/people/p2/roles", b""),
        ("POST", "/v1/people/p2/roles", b'{"role":"auditor","valid_from":"2026-11-23T00:00:00Z"}'),
        ("DELETE", "/v1/people/p2/roles/auditor", b""),
        ("POST", "/v1/timesheets/batch-lock", b'{"reason":"Payroll","items":[],"mode":"all-or-nothing"}'),
        ("POST", "/v1/timesheets/batch-unlock", b'{"reason":"Mistake","items":[],"mode":"per-item"}'),
        ("POST", "/v1/replays", b'{"version":4,"kind":"timesheet"}'),
        ("GET", "/v1/replays/r1", b""),
        ("GET", "/v1/replays", b""),
    ]


async def test_a_refused_token_is_renewed_once_for_all_tasks() -> None:
    signed_in = Server(token("old"), token("new"))
    tokens = client_credentials(TOKENS, "job", "s", http=signed_in.http)

    def api(request: httpx2.Request) -> httpx2.Response:
        ok = request.headers["Authorization"] == "Bearer new"
        return sheet() if ok else problem(401, "invalid-token")

    server = Server(*[api] * 6)
    caller = Timewarden(URL, tokens, http=server.http)
    assert [sheet.id for sheet in await asyncio.gather(*(read_sheet(caller) for _ in range(3)))] == ["s1"] * 3
    assert len(signed_in.seen) == 2


@pytest.mark.parametrize("slug", ["invalid-token", "step-up-needed"])
async def test_a_token_that_stays_refused_is_raised(slug: str) -> None:
    server = Server(problem(401, slug), problem(401, slug))
    tokens = client_credentials(TOKENS, "job", "s", http=Server(token("a"), token("b")).http)
    with pytest.raises(Problem, match=f"401 {slug}"):
        await read_sheet(Timewarden(URL, tokens, http=server.http))

    assert len(server.seen) == (2 if slug == "invalid-token" else 1)


async def test_a_rotated_refresh_token_is_stored_and_used_next(monkeypatch: pytest.MonkeyPatch) -> None:
    server, kept = Server(token("a", refresh_token="r2"), token("b")), list[str]()
    tokens = refreshing(TOKENS, "app", "r1", keep=kept.append, http=server.http)

    assert [await tokens(), await tokens("a")] == ["a", "b"]
    assert kept == ["r2"]
    assert [b"refresh_token=r1" in server.seen[0].content, b"refresh_token=r2" in server.seen[1].content] == [True] * 2
    assert b"client_id=app" in server.seen[0].content


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx2.Response(400, json={"error": "invalid_grant", "error_description": "spent"}), "invalid_grant: spent"),
        (httpx2.Response(500, text="oops"), "500"),
        (httpx2.Response(200, json={"token_type": "Bearer"}), "200"),
        (httpx2.Response(200, json={"access_token": ["a"]}), "200"),
        (httpx2.Response(200, json=[]), "200"),
        (httpx2.Response(400, json="x"), "400"),
        (httpx2.Response(401, text="null"), "401"),
    ],
)
async def test_a_failed_sign_in_reveals_no_secret(answer: httpx2.Response, error: str) -> None:
    with pytest.raises(TokenRefused) as raised:
        await client_credentials(TOKENS, "job", "hush", http=Server(answer).http)()

    assert str(raised.value) == error


@pytest.mark.parametrize("url", ["http://api.example", "ftp://api.example", "http://127.0.0.1.example", "api.example"])
def test_tokens_are_sent_over_https_only_or_to_this_machine(url: str) -> None:
    with pytest.raises(ValueError, match="https only"):
        Timewarden(url, "t")
    with pytest.raises(ValueError, match="https only"):
        client_credentials(url, "job", "s")


async def test_an_upload_omits_members_that_are_not_set() -> None:
    server = Server(httpx2.Response(200, json={"rows": [], "decisions": ["d1"]}))
    row = UploadRow(owner="p", day=date(2026, 11, 23), project="ATLAS", minutes=60, external_ref="1")
    await Timewarden(URL, "t", http=server.http).upload([row], key="job-7")

    assert json.loads(server.seen[0].content)["rows"][0].keys() == {
        "owner",
        "day",
        "project",
        "minutes",
        "external_ref",
    }
    assert server.seen[0].headers["Idempotency-Key"] == '"job-7"'


def test_the_client_runs_without_the_service(tmp_path: Path) -> None:
    """Copied into another project, with all imports of this project forbidden."""
    shutil.copytree(FOLDER, tmp_path / "copied")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.modules['service'] = None; sys.modules['events'] = None\n"
        "from copied import Timewarden\n"
        "print(Timewarden.__name__, sorted(one for one in sys.modules if one.startswith(('litestar', 'casbin'))))"
    )
    command = [sys.executable, "-I", "-c", program, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "Timewarden []", run.stderr
