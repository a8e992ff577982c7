"""Sessions of the running console under attack: forged forms, planted cookies, stolen answers, tokens that ran out."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from datetime import date
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import msgspec
from playwright.async_api import expect

from events.stream import open_redis
from service.console.application import ROOMS
from service.console.protection import SAFE_METHODS
from service.console.sessions import ConsoleSession, SessionStore
from service.development.server_directory import secret
from tests.browser.conftest import change_rules, find_violations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Page

    from tests.acceptance.caller import Callers
    from tests.acceptance.running_service import RunningService
    from tests.browser.conftest import Desk

EXAMPLES = {"date": "2026-03-02", "uuid": "0198c0de-0000-7000-8000-000000000000", "str": "x", "int": "1"}
CHANGES = sorted(
    (method, re.sub(r"\{[^}:]+:(\w+)\}", lambda found: EXAMPLES[found[1]], path))
    for room in ROOMS
    for handler in room.handlers
    for path in handler.paths
    for method in handler.http_methods - SAFE_METHODS
)


@asynccontextmanager
async def browse(desk: Desk, cookies: dict[str, str]) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=desk.console, cookies=cookies, trust_env=False, timeout=60) as http:
        yield http


async def cookies_of(desk: Desk, page: Page) -> dict[str, str]:
    """The values of the cookies that the browser of a page has for the console."""
    return {cookie["name"]: cookie["value"] for cookie in await page.context.cookies(desk.console)}


async def sign_in(desk: Desk, login: str = "ben") -> dict[str, str]:
    """The cookies of a fresh session."""
    async with desk.window() as page:
        await desk.sign_in(page, login)
        return await cookies_of(desk, page)


def token_of(page: httpx2.Response) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert found
    return found[1]


def session_of(cookies: dict[str, str]) -> str:
    (name,) = (name for name in cookies if name.startswith("timewarden-console"))
    return cookies[name]


@asynccontextmanager
async def open_store(service: RunningService) -> AsyncIterator[SessionStore]:
    redis = open_redis(service.addresses.redis_url)
    yield SessionStore(redis, [secret(service.state, "console-key")])
    await redis.aclose()


async def test_a_change_without_the_token_of_the_session_or_from_another_site_is_refused(desk: Desk) -> None:
    assert ("POST", "/inbox") in CHANGES
    mine, theirs = await sign_in(desk), await sign_in(desk, "max")
    async with browse(desk, theirs) as other:
        foreign = token_of(await other.get("/week"))
    async with browse(desk, mine) as http:
        token = token_of(await http.get("/week"))
        for method, path in [*CHANGES, ("POST", "/sign-out")]:
            forms: list[dict[str, Any]] = [
                {"data": {}},
                {"data": {"csrf_token": foreign}},
                {"data": {"csrf_token": token}, "headers": {"Sec-Fetch-Site": "cross-site"}},
                {"data": {"csrf_token": token}, "headers": {"Sec-Fetch-Site": "same-site"}},
                {"data": {"csrf_token": token}, "headers": {"Origin": "https://evil.example"}},
                {"data": {"csrf_token": token}, "headers": {"Origin": "null"}},
            ]
            for form in forms:
                answer = await http.request(method, path, **form)
                assert answer.status_code == 403, (method, path, form)
                assert "This form is too old" in answer.text
        assert (await http.get("/week")).status_code == 200


async def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites_forms(desk: Desk) -> None:
    async with desk.window() as page:
        await desk.sign_in(page, "ben")
        (cookie,) = (
            cookie
            for cookie in await page.context.cookies(desk.console)
            if cookie["name"].startswith("timewarden-console-") and not cookie["name"].endswith("attempt")
        )
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"], cookie["expires"]) == (True, "Lax", "/", -1)
        assert cookie["value"] not in await page.evaluate("document.cookie")
        assert "eyJ" not in await page.content()
        kept = await page.evaluate("JSON.stringify([localStorage, sessionStorage])")
        assert kept == '[{},{"htmx-current-path-for-history":"/week"}]'


async def test_a_planted_session_is_not_continued_and_the_former_session_ends(desk: Desk) -> None:
    async with desk.window() as page:
        await desk.sign_in(page, "ben")
        before = await cookies_of(desk, page)
        await page.goto(f"{desk.console}/sign-in?next=/week")
        await desk.prove(page, "ben")
        after = await cookies_of(desk, page)
    assert session_of(before) != session_of(after)
    async with browse(desk, before) as http:
        assert (await http.get("/week")).status_code == 303


async def test_an_answer_that_another_browser_asked_for_signs_nobody_in(desk: Desk, service: RunningService) -> None:
    async with desk.window() as page:
        answers: list[str] = []
        page.on("request", lambda sent: answers.append(sent.url) if "/sign-in/callback" in sent.url else None)
        await desk.sign_in(page, "max")
    stolen = urlsplit(answers[0])
    async with browse(desk, {}) as victim:
        begun = await victim.get("/sign-in")
        asked = parse_qs(urlsplit(begun.headers["location"]).query)
        for query, reason in (
            (parse_qs(stolen.query), "not begun in this browser"),
            (parse_qs(stolen.query) | {"state": asked["state"]}, "did not accept the code"),
        ):
            answer = await victim.get("/sign-in/callback", params=query)
            assert answer.status_code == 403
            assert reason in answer.text
            assert {name for name in victim.cookies if not name.endswith("-attempt")} == set()


async def test_signing_out_ends_the_session_its_tokens_and_the_sign_in(desk: Desk, service: RunningService) -> None:
    async with desk.window() as page:
        await desk.sign_in(page, "ben")
        cookies = await cookies_of(desk, page)
        async with open_store(service) as store:
            session = await store.find(session_of(cookies))
        assert session is not None
        await page.get_by_role("button", name="Sign out").click()
        await page.wait_for_url(f"{desk.console}/signed-out")
        await page.goto(f"{desk.console}/sign-in")
        assert await page.locator("[name=password]").count() == 1
    async with browse(desk, cookies) as http:
        assert (await http.get("/week")).status_code == 303
    form = {"grant_type": "refresh_token", "refresh_token": session.grant.refresh_token}
    async with httpx2.AsyncClient(base_url=service.addresses.issuer, trust_env=False) as http:
        client = ("timewarden-console", "timewarden-console-demo")
        refused = await http.post("/token", data=form, auth=client)
    assert refused.json()["error"] == "invalid_grant"


async def expire(store: SessionStore, cookies: dict[str, str], **changed: Any) -> ConsoleSession:
    session = await store.find(session_of(cookies))
    assert session is not None
    session.grant = msgspec.structs.replace(session.grant, expires_at=0.0, **changed)
    await store.save(session)
    return session


async def test_what_was_typed_in_a_session_that_ended_is_sent_in_the_next_one(
    desk: Desk, service: RunningService
) -> None:
    async with desk.window() as page:
        await desk.sign_in(page, "ben")
        await page.goto(f"{desk.console}/week/2025-09-01")
        await page.get_by_label("Add a project").select_option("SITE")
        await page.get_by_label("SITE, Monday 1 September 2025").fill("7:30")
        async with open_store(service) as store:
            session = await store.find(session_of(await cookies_of(desk, page)))
            assert session is not None
            await store.end(session)
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_role("heading", name="Your session has ended")).to_be_visible()
        assert await find_violations(page) == []
        async with page.context.expect_page() as opened:
            await page.get_by_role("link", name="Sign in again").click()
        other = await opened.value
        await desk.prove(other, "ben")
        await expect(other).to_have_url(f"{desk.console}/week/2025-09-01")
        # The new session has another token, so a person confirms that the form is theirs.
        await page.get_by_role("button", name="Send again").click()
        await expect(page.get_by_role("heading", name="This form is too old")).to_be_visible()
        await page.get_by_role("button", name="Send again").click()
        await expect(page.get_by_role("status")).to_have_text("Your hours are saved.")
        await expect(page.get_by_label("SITE, Monday 1 September 2025")).to_have_value("7:30")


async def end_session(desk: Desk, page: Page, service: RunningService) -> None:
    async with open_store(service) as store:
        session = await store.find(session_of(await cookies_of(desk, page)))
        assert session is not None
        await store.end(session)


async def test_what_was_typed_is_kept_after_a_sign_out_in_another_tab(desk: Desk) -> None:
    async with desk.window() as page:
        await desk.sign_in(page, "ben")
        await page.goto(f"{desk.console}/week/2025-09-22")
        await page.get_by_label("Add a project").select_option("SITE")
        await page.get_by_label("SITE, Monday 22 September 2025").fill("7:30")
        other = await page.context.new_page()
        await other.goto(f"{desk.console}/week")
        await other.get_by_role("button", name="Sign out").click()
        await other.wait_for_url(f"{desk.console}/signed-out")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_role("heading", name="Your session has ended")).to_be_visible(timeout=20_000)
        await page.get_by_text("What you sent", exact=True).click()
        await expect(page.locator("dl.words")).to_contain_text("SITE/2025-09-227:30")


async def test_what_htmx_sends_or_asks_in_a_session_that_ended_is_not_lost(desk: Desk, service: RunningService) -> None:
    async with desk.window() as page:
        await desk.sign_in(page, "adam")
        await page.goto(f"{desk.console}/directory/groups?group=")
        await page.get_by_label("Name", exact=True).fill("early-shift")
        await end_session(desk, page, service)
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.get_by_role("heading", name="Your session has ended")).to_be_visible(timeout=20_000)
        async with page.context.expect_page() as opened:
            await page.get_by_role("link", name="Sign in again").click()
        await desk.prove(await opened.value, "adam")
        await page.get_by_role("button", name="Send again").click()
        await expect(page.get_by_role("heading", name="This form is too old")).to_be_visible()
        await page.get_by_role("button", name="Send again").click()
        await expect(page.get_by_role("status")).to_have_text("It is changed.")
        await page.goto(f"{desk.console}/delegations")
        await page.get_by_label("Until, including that day").fill("2032-03-03")
        await end_session(desk, page, service)
        await page.get_by_label("Delegate", exact=True).press_sequentially("web")
        await expect(page.get_by_role("alert")).to_contain_text("Your session has ended", timeout=20_000)
        await expect(page.get_by_role("link", name="Sign in again")).to_have_attribute("target", "_blank")
        await expect(page.get_by_label("Until, including that day")).to_have_value("2032-03-03")


async def test_a_check_of_a_draft_never_leaves_the_draft(desk: Desk, callers: Callers, service: RunningService) -> None:
    async with desk.window() as page:
        await desk.sign_in(page, "paula")
        await page.goto(f"{desk.console}/draft")
        await page.get_by_label("Why").fill("Not lost")
        # A stronger sign-in is needed, and later there is no session.
        async with change_rules((await callers("paula")).api, r"always(, *policy-propose\n)", r"mfa\1"):
            await page.get_by_role("button", name="Check", exact=True).click()
            await expect(page.get_by_role("alert")).to_contain_text("Sign in again", timeout=20_000)
        await end_session(desk, page, service)
        await page.get_by_role("button", name="Check", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("Your session has ended", timeout=20_000)
        await expect(page.get_by_label("Why")).to_have_value("Not lost")


async def test_what_was_typed_is_there_to_send_after_a_stronger_sign_in(
    desk: Desk, callers: Callers, service: RunningService
) -> None:
    monday = date(2025, 9, 15)
    async with (
        change_rules((await callers("paula")).api, r"always(, *create-own\n)", r"mfa\1"),
        desk.window() as page,
    ):
        await desk.sign_in(page, "ben")
        await page.goto(f"{desk.console}/week/{monday}")
        await page.get_by_label("Add a project").select_option("SITE")
        await page.get_by_label("SITE, Monday 15 September 2025").fill("7:30")
        before = await cookies_of(desk, page)
        await page.get_by_role("button", name="Save", exact=True).click()
        # The session ends while its person signs in again.
        async with open_store(service) as store:
            session = await store.find(session_of(before))
            assert session is not None
            await store.end(session)
        await desk.prove(page, "ben")
        kept = page.url
        assert re.fullmatch(rf"{desk.console}/week/{monday}\?kept=[\w-]+", kept)
        await expect(page.get_by_role("alert")).to_contain_text(f"SITE/{monday}7:30")
        assert [sheet async for sheet in (await callers("ben")).api.timesheets(since=monday, until=monday)] == []
        assert await find_violations(page) == []
        # Nobody else sees it.
        async with desk.window("max") as other:
            await other.goto(kept)
            await expect(other.get_by_role("heading", level=1)).to_be_visible()
            await expect(other.get_by_role("alert")).to_have_count(0)
        await page.get_by_role("button", name="Send again").click()
        await expect(page.get_by_role("status")).to_have_text("Your hours are saved.")
        await expect(page.get_by_label("SITE, Monday 15 September 2025")).to_have_value("7:30")
        await expect(page.get_by_role("alert")).to_have_count(0)


async def test_a_long_draft_is_folded_and_there_to_send_after_a_stronger_sign_in(desk: Desk, callers: Callers) -> None:
    async with (
        change_rules((await callers("paula")).api, r"always(, *policy-propose\n)", r"mfa\1"),
        desk.window() as page,
    ):
        await desk.sign_in(page, "paula")
        await page.goto(f"{desk.console}/draft")
        await page.get_by_role("textbox", name="policy.csv").press_sequentially("# a comment")
        await page.get_by_label("Why").fill("Kept while signing in")
        await page.get_by_role("button", name="Propose").click()
        await page.wait_for_url(lambda url: not url.startswith(desk.console))
        await desk.prove(page, "paula")
        await expect(page.get_by_role("button", name="Send again")).to_be_in_viewport(timeout=20_000)
        await page.get_by_role("button", name="Send again").click()
        await expect(page.locator("header.page")).to_contain_text("Kept while signing in")


async def test_what_was_typed_into_a_part_of_a_page_is_there_to_send_after_a_stronger_sign_in(
    desk: Desk, callers: Callers
) -> None:
    async with (
        change_rules((await callers("paula")).api, r"always(, *directory-manage\n)", r"mfa\1"),
        desk.window() as page,
    ):
        await desk.sign_in(page, "adam")
        await page.goto(f"{desk.console}/directory/groups")
        await page.get_by_label("Name", exact=True).fill("late-shift")
        await page.get_by_role("button", name="Add", exact=True).click()
        await page.wait_for_url(lambda url: not url.startswith(desk.console))
        await desk.prove(page, "adam")
        await expect(page.get_by_role("alert")).to_contain_text("late-shift")
        await page.get_by_role("button", name="Send again").click()
        await expect(page.get_by_role("status")).to_have_text("It is changed.")


async def test_a_form_of_unknown_origin_without_the_token_is_not_offered_again(desk: Desk) -> None:
    cookies = await sign_in(desk)
    async with browse(desk, cookies) as http:
        for headers in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "none"}):
            answer = await http.post("/week/2025-09-08", data={"SITE/2025-09-08": "7:30"}, headers=headers)
            assert answer.status_code == 403
            assert "Send again" not in answer.text
            assert token_of(await http.get("/week")) not in answer.text


async def test_a_form_of_an_earlier_session_is_offered_again_to_the_same_person_alone(desk: Desk) -> None:
    async with browse(desk, await sign_in(desk, "ben")) as http:
        form = {"csrf_token": token_of(await http.get("/week")), "SITE/2025-09-08": "7:30"}
    for login, offered in (("ben", True), ("max", False)):
        async with browse(desk, await sign_in(desk, login)) as http:
            answer = await http.post("/week/2025-09-08", data=form, headers={"Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 403
        assert "This form is too old" in answer.text
        assert (login, "Send again" in answer.text, "7:30" in answer.text) == (login, offered, offered)


async def test_many_pages_at_once_renew_an_expired_token_once(desk: Desk, service: RunningService) -> None:
    cookies = await sign_in(desk)
    async with open_store(service) as store, browse(desk, cookies) as http:
        before = await expire(store, cookies)
        answers = await asyncio.gather(*(http.get(f"/week/2025-0{number}-03") for number in range(1, 9)))
        assert {answer.status_code for answer in answers} <= {200, 303}
        assert all("/sign-in" not in answer.headers.get("location", "") for answer in answers)
        # A second use of the refresh token would have revoked all of its family.
        await expire(store, cookies)
        assert (await http.get("/week")).status_code == 200
        after = await store.find(session_of(cookies))
        assert after is not None
        assert after.grant.refresh_token != before.grant.refresh_token


async def test_a_refresh_token_that_is_refused_ends_the_session_and_says_so(
    desk: Desk, service: RunningService
) -> None:
    cookies = await sign_in(desk)
    async with open_store(service) as store, browse(desk, cookies) as http:
        await expire(store, cookies, access_token="forged", refresh_token="forged")
        answer = await http.get("/inbox?who=x")
        assert answer.headers["location"] == "/sign-in?next=%2Finbox%3Fwho%3Dx&ended=1"
        assert "Your session has ended" in (await http.get(answer.headers["location"])).text
        assert await store.find(session_of(cookies)) is None
