"""The console when a part does not answer: pages that say which, and never a signed-in page by mistake."""

from __future__ import annotations

import html
import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import httpx2
import msgspec
import pytest

from events.stream import open_redis
from service.console.application import MAX_BODY_BYTES, connect, create
from service.console.sessions import KEPT_SECONDS, MAX_KEPT_BYTES, SessionStore
from service.console.sign_in_server import Demand, Grant
from service.console.static_files import path_of
from service.standalone.client import Me
from tests.ports import unused_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.console.visits import Console

URL = "http://127.0.0.1:8070"
KEYS = ["k" * 32]


@asynccontextmanager
async def open_console(redis_url: str) -> AsyncIterator[Console]:
    """A console whose API and authorization server are at ports where nothing listens."""
    nothing = f"http://127.0.0.1:{unused_port()}"
    redis = open_redis(redis_url, timeout=1)
    async with httpx2.AsyncClient(trust_env=False) as http:
        yield connect(
            url=URL,
            api=nothing,
            issuer=nothing,
            audience="https://api.example",
            audience_parameter="resource",
            client="console",
            secret="",
            scopes=("read:timesheets",),
            keys=KEYS,
            redis=redis,
            http=http,
        )
    await redis.aclose()


@pytest.fixture
async def console(redis_url: str) -> AsyncIterator[Console]:
    async with open_console(redis_url) as console:
        yield console


def browser(console: Console, cookie: str = "") -> httpx2.AsyncClient:
    cookies = {console.cookie: cookie} if cookie else None
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(cast("Any", create(console))), base_url=URL, cookies=cookies, trust_env=False
    )


async def test_without_the_api_a_page_says_that_the_api_does_not_answer(console: Console) -> None:
    session = await console.sessions.start(Grant("token", time.time() + 600), Demand())
    async with browser(console, session.id) as person:
        page = await person.get("/week")
    assert page.status_code == 503
    assert "The API does not answer" in page.text


async def test_without_the_api_and_the_authorization_server_people_can_sign_out(console: Console) -> None:
    session = await console.sessions.start(Grant("token", time.time() + 600, "refresh"), Demand())
    async with browser(console, session.id) as person:
        forged = await person.post("/sign-out")
        assert forged.status_code == 403
        assert await console.sessions.find(session.id) is not None
        for path in ("/", "/week"):
            page = await person.get(path)
            assert page.text.count('action="/sign-out"') == page.text.count(f'value="{session.csrf}"') == 1
        signed_out = await person.post("/sign-out", data={"csrf_token": session.csrf})
    assert (signed_out.status_code, signed_out.headers["location"]) == (303, "/signed-out")
    assert await console.sessions.find(session.id) is None


HOURS = {"csrf_token": "t", "ATLAS/2026-03-02": '7:30"><b>', "note:1": "two\nlines", "then": "submit"}


def hidden_fields(page: httpx2.Response) -> dict[str, str]:
    """The form of a page about a failure, as a browser would send it again. The form to sign out comes after it."""
    kept = page.text.partition('action="/sign-out"')[0]
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', kept)
    return {html.unescape(name): html.unescape(value) for name, value in found}


async def test_without_the_api_what_was_typed_is_kept_to_be_sent_again(console: Console) -> None:
    session = await console.sessions.start(Grant("token", time.time() + 600), Demand())
    sent = HOURS | {"csrf_token": session.csrf}
    async with browser(console, session.id) as person:
        page = await person.post("/week/2026-03-02?x=1", data=sent)
    assert page.status_code == 503
    assert 'action="/week/2026-03-02?x=1"' in page.text
    assert list(hidden_fields(page).items()) == list(sent.items())


async def test_without_redis_what_was_typed_is_kept_to_be_sent_again() -> None:
    nowhere = f"redis://127.0.0.1:{unused_port()}/0"
    async with open_console(nowhere) as console, browser(console, "c" * 43) as person:
        page = await person.post("/week/2026-03-02", data=HOURS)
    assert page.status_code == 503
    assert hidden_fields(page) == HOURS


async def test_a_failed_upload_leads_back_to_its_page_and_not_to_where_it_was_sent(console: Console) -> None:
    session = await console.sessions.start(Grant("token", time.time() + 600), Demand())
    around = {"Referer": f"{URL}/directory/people/{session.id}?x=1"}
    async with browser(console, session.id) as person:
        page = await person.post(
            "/directory/memberships",
            data={"csrf_token": session.csrf},
            files={"file": ("a.csv", b"a,b", "text/csv")},
            headers=around,
        )
    assert page.status_code == 503
    assert hidden_fields(page) == {}
    assert f'href="/directory/people/{session.id}?x=1">Try again' in page.text


async def test_without_redis_people_are_signed_out_and_told_so() -> None:
    nowhere = f"redis://127.0.0.1:{unused_port()}/0"
    async with open_console(nowhere) as console, browser(console, "c" * 43) as person:
        page, health = await person.get("/week"), await person.get("/health")
    assert (page.status_code, health.status_code) == (503, 503)
    assert "You are signed out for the moment" in page.text


async def test_a_session_that_redis_lost_leads_to_a_page_that_says_so(console: Console) -> None:
    async with browser(console, "c" * 43) as person:
        answer = await person.get("/week/2026-03-02")
        assert answer.headers["location"] == "/sign-in?next=%2Fweek%2F2026-03-02&ended=1"
        page = await person.get(answer.headers["location"])
    assert "Your session has ended" in page.text
    assert "Changes that you had not saved are lost." in page.text
    assert 'href="/sign-in?next=%2Fweek%2F2026-03-02"' in page.text


async def test_without_the_authorization_server_nobody_signs_in_and_the_page_says_why(console: Console) -> None:
    async with browser(console) as person:
        page = await person.get("/sign-in")
    assert page.status_code == 503
    assert "The sign-in server does not answer" in page.text


async def test_an_expired_token_that_cannot_be_renewed_ends_in_a_page_and_not_in_a_sign_out(console: Console) -> None:
    session = await console.sessions.start(Grant("token", time.time() - 1, "refresh"), Demand())
    async with browser(console, session.id) as person:
        page = await person.get("/week")
    assert page.status_code == 503
    assert await console.sessions.find(session.id) is not None


async def test_a_session_is_unreadable_without_its_cookie_and_without_the_key(console: Console, redis_url: str) -> None:
    session = await console.sessions.start(Grant("secret-token", time.time() + 600, "secret-refresh"), Demand())
    redis = open_redis(redis_url)
    keys = [key async for key in redis.scan_iter("timewarden:console:*")]
    assert len(keys) == 1
    stored = await redis.get(keys[0])
    assert isinstance(stored, bytes)
    assert b"secret" not in stored
    assert session.id.encode() not in keys[0] + stored
    assert await SessionStore(redis, ["x" * 32]).find(session.id) is None
    assert (await SessionStore(redis, ["x" * 32, *KEYS]).find(session.id)) is not None
    # Nor does it open under the cookie of another session.
    other = await console.sessions.start(Grant("t", 0.0), Demand())
    (theirs,) = {key async for key in redis.scan_iter("timewarden:console:*")} - set(keys)
    await redis.set(theirs, stored)
    assert await console.sessions.find(other.id) is None
    await redis.aclose()


async def test_a_form_is_kept_unreadably_for_its_person_alone_and_within_bounds(
    console: Console, redis_url: str
) -> None:
    kept = [await console.sessions.keep("ana", f"/week?{number}", [("note", "secret")]) for number in range(5)]
    found = [await console.sessions.find_kept("ana", form.id) for form in kept if form]
    assert found == [None, *kept[1:]]
    assert [await console.sessions.find_kept("ben", form.id) for form in kept if form] == [None] * 5
    assert await console.sessions.keep("ana", "/week", [("note", "x" * MAX_KEPT_BYTES)]) is None
    redis = open_redis(redis_url)
    (key,) = [key async for key in redis.scan_iter("timewarden:console:*")]
    stored = await redis.get(key)
    assert isinstance(stored, bytes)
    assert b"secret" not in stored
    assert 0 < await redis.ttl(key) <= KEPT_SECONDS
    await redis.aclose()


@pytest.mark.parametrize("cookie", ["", "x", "c" * 43, "../" + "c" * 40, "é" * 43, "c" * 5000])
async def test_a_cookie_that_is_no_session_is_nobody(console: Console, cookie: str) -> None:
    assert await console.sessions.find(cookie) is None


async def test_a_session_ends_by_its_age_however_often_it_is_used(
    console: Console, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await console.sessions.start(Grant("t", 0.0), Demand())
    monkeypatch.setattr("service.console.sessions.MAX_SECONDS", 0)
    assert await console.sessions.find(session.id) is None
    redis = open_redis(redis_url)
    assert [key async for key in redis.scan_iter("timewarden:console:*")] == [], "its tokens are kept"
    await redis.aclose()


async def test_a_head_is_answered_like_a_get_without_the_body(console: Console) -> None:
    async with browser(console) as person:
        for path in ("/", "/signed-out", "/week", "/health", "/nothing", path_of("console.css")):
            page, head = await person.get(path), await person.head(path)
            assert (head.status_code, head.content) == (page.status_code, b""), path
            assert head.headers["content-type"] == page.headers["content-type"], path


def answer_me(_: httpx2.Request) -> httpx2.Response:
    me = Me(kind="person", person="a", client="", scopes=[], roles=[], teams_led=[], may=[], policy_version=1)
    return httpx2.Response(200, content=msgspec.json.encode(me))


# An API that knows who asks, and no more.
KNOWS_WHO = httpx2.MockTransport(answer_me)


async def test_a_head_of_an_export_asks_for_no_records(console: Console) -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        may = [{"kind": "log", "action": "read", "may": "always"}]
        me = Me(kind="person", person="a", client="", scopes=[], roles=[], teams_led=[], may=may, policy_version=1)
        return httpx2.Response(200, content=msgspec.json.encode(me))

    session = await console.sessions.start(Grant("token", time.time() + 600), Demand())
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as console.http:
        async with browser(console, session.id) as person:
            head = await person.head("/export/file?format=csv")
            assert asked == ["/v1/me"]
            page = await person.get("/export/file?format=csv")
            wrong = await person.head("/export/file?format=doc")
        stranger = await browser(console).head("/export/file?format=csv")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == page.headers["content-type"]
    assert head.headers["content-disposition"].endswith('.csv"')
    assert (wrong.status_code, stranger.status_code) == (404, 303)


@pytest.mark.parametrize(("path", "asked"), [("/policies", "/v1/policies/versions"), ("/replays", "/v1/replays")])
async def test_a_list_that_goes_on_leads_to_its_next_page(console: Console, path: str, asked: str) -> None:
    cursors: list[str | None] = []
    replay: dict[str, Any] = {"id": "r", "state": "done", "version": 1, "progress": 1.0, "problem": None}
    replay |= {"filters": {"since": None, "until": None}, "ended_at": None}
    replay |= {"asked_at": "2026-03-02T09:00:00Z", "asked_by": None, "asked_by_client": "x"}
    version: dict[str, Any] = {"number": 1, "digest": "d", "state": "active", "message": "m", "parent": None}
    version |= {"proposed_at": "2026-03-02T09:00:00Z", "active": True}

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/me":
            me = Me(kind="person", person="a", client="", scopes=[], roles=[], teams_led=[], may=[], policy_version=1)
            return httpx2.Response(200, content=msgspec.json.encode(me))
        if request.url.path != asked:
            return httpx2.Response(200, json={"items": []})
        cursors.append(request.url.params.get("cursor"))
        items = [version if path == "/policies" else replay]
        return httpx2.Response(200, json={"items": items, "next_cursor": "c&d"})

    session = await console.sessions.start(Grant("token", time.time() + 600), Demand())
    api = httpx2.MockTransport(answer)
    async with httpx2.AsyncClient(transport=api) as console.http, browser(console, session.id) as person:
        page = await person.get(path)
        (link,) = re.findall(r'href="([^"]+)" rel="next"', page.text)
        await person.get(path + link)
    assert cursors == [None, "c&d"]


async def test_a_week_of_many_that_needs_another_sign_in_has_a_link_to_it(console: Console) -> None:
    step_up = {"acr_values": "mfa", "max_age": 900}
    problem = {"type": "urn:timewarden:problem:step-up-needed", "title": "t", "status": 401, "detail": "Too old"}
    about = {"decision_id": "d", "decision_leaf": "00"}
    done = {"id": "s1", "status": 200, "version": 2, "state": "approved", **about, "problem": None}
    refused = {"id": "s2", "status": 401, "version": None, "state": None, **about}
    results = [done, {**refused, "problem": {**problem, "step_up": step_up}}]

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/me":
            me = Me(kind="person", person="a", client="", scopes=[], roles=[], teams_led=[], may=[], policy_version=1)
            return httpx2.Response(200, content=msgspec.json.encode(me))
        if request.url.path == "/v1/timesheets/batch-approve":
            return httpx2.Response(200, json={"changed": 1, "items": results})
        if request.url.path.startswith("/v1/timesheets/"):
            return httpx2.Response(404, json={})
        return httpx2.Response(200, json={"items": [], "next_cursor": None})

    session = await console.sessions.start(Grant("token", time.time() + 600), Demand())
    form = {"csrf_token": session.csrf, "decision": "approve", "sheet": ["s1/1", "s2/1"]}
    api = httpx2.MockTransport(answer)
    async with httpx2.AsyncClient(transport=api) as console.http, browser(console, session.id) as person:
        page = await person.post("/inbox?who=Ana", data=form)
    (link,) = re.findall(r'Too old</bdi>.*?<a href="([^"]+)">Sign in again</a>', page.text, re.DOTALL)
    assert html.unescape(link) == "/sign-in?next=%2Finbox%3Fwho%3DAna&acr_values=mfa&max_age=900"


async def test_a_form_that_is_too_large_is_told_in_words(console: Console) -> None:
    async with browser(console, "c" * 43) as person:
        page = await person.post("/directory/import", data={"text": "x" * MAX_BODY_BYTES})
    assert (page.status_code, "takes 4 MB at once" in page.text) == (413, True)


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/policies/0",
        "/policies/-1",
        "/policies/2147483648",
        "/policies/" + "9" * 5000,
        "/draft?from=0",
        "/draft?from=2147483648",
        "/week/2026-13-01",
        "/decisions/x",
        "/sign-in?max_age=-1",
        "/sign-in?acr_values=" + "x" * 501,
    ],
    ids=lambda path: path[:30],
)
async def test_an_address_that_leads_nowhere_has_a_page_that_says_so(console: Console, path: str) -> None:
    session = await console.sessions.start(Grant("token", time.time() + 600), Demand())
    async with httpx2.AsyncClient(transport=KNOWS_WHO) as console.http, browser(console, session.id) as person:
        page, head = await person.get(path), await person.head(path)
        stranger = await browser(console).get(path)
    assert (page.status_code, "No such page" in page.text, "Go to the first page" in page.text) == (404, True, True)
    assert (head.status_code, head.content) == (404, b"")
    if not path.startswith("/sign-in"):
        assert 'aria-label="Pages"' in page.text
        assert f'value="{session.csrf}"' in page.text
    assert 'aria-label="Pages"' not in stranger.text


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/sign-out", "OPTIONS, POST"),
        ("HEAD", "/sign-out", "OPTIONS, POST"),
        ("POST", "/decisions", "GET, HEAD, OPTIONS"),
        ("DELETE", "/inbox", "GET, HEAD, OPTIONS, POST"),
    ],
)
async def test_a_method_that_an_address_has_not_is_answered_with_those_that_it_has(
    console: Console, method: str, path: str, allowed: str
) -> None:
    session = await console.sessions.start(Grant("token", time.time() + 600), Demand())
    async with httpx2.AsyncClient(transport=KNOWS_WHO) as console.http, browser(console, session.id) as person:
        page = await person.request(method, path)
    assert (page.status_code, page.headers["Allow"]) == (405, allowed)
    assert ("No such page" in page.text and 'aria-label="Pages"' in page.text) is (method != "HEAD")


async def test_the_first_and_the_last_week_lead_to_no_page_that_is_not_there(console: Console) -> None:
    session = await console.sessions.start(Grant("token", time.time() + 600), Demand())

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/me":
            return KNOWS_WHO.handle_request(request)
        return httpx2.Response(200, json={"items": [], "next_cursor": None})

    api = httpx2.MockTransport(answer)
    async with httpx2.AsyncClient(transport=api) as console.http, browser(console, session.id) as person:
        for week in ("2000-01-03", "2026-03-02", "2099-12-28"):
            page = await person.get(f"/week/{week}")
            links = re.findall(r'href="(/week/[0-9-]+)" rel="(\w+)"', page.text)
            assert [rel for _, rel in links] == {"2000-01-03": ["next"], "2099-12-28": ["prev"]}.get(
                week, ["prev", "next"]
            )
            assert [(await person.get(path)).status_code for path, _ in links] == [200] * len(links)


async def test_another_host_name_is_refused(console: Console) -> None:
    async with browser(console) as person:
        assert (await person.get("/", headers={"Host": "evil.example"})).status_code == 400


async def test_every_response_keeps_other_sites_and_injected_scripts_out(console: Console) -> None:
    async with browser(console) as person:
        pages = [await person.get(path) for path in ("/", "/signed-out", "/nothing", "/week", "/health", "/static/x/y")]
        pages.append(await person.post("/sign-out"))
    for page in pages:
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert page.headers["X-Frame-Options"] == "DENY"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Cache-Control"] == "no-store"
