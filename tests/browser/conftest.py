"""A real browser on a real console: Chromium of this machine, one service for all tests, and people who are signed in.

Without a browser these tests are left out, with a reason that says how to install one. A page that logs an error, that
breaks the content policy, or that loads anything from elsewhere fails its test. Screenshots are kept in
`.local/screenshots`.
"""

from __future__ import annotations

import re
import shutil
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit

import httpx2
import pytest
from playwright.async_api import Browser, BrowserContext, Page, ViewportSize, async_playwright, expect

from events.stream import open_redis
from service.console.application import connect, create
from service.console.sign_in_server import Demand, Grant
from service.development.people import PEOPLE
from tests.acceptance.caller import Callers
from tests.acceptance.running_service import ROOT, RunningService
from tests.browser.story_of_weeks import Weeks, fill_weeks
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from service.standalone.client import Timewarden
    from tests.acceptance.caller import Caller

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCREENSHOTS = ROOT / ".local" / "screenshots"
AXE = (Path(__file__).parent / "axe.min.js").read_text(encoding="utf-8")
SIZES: dict[str, ViewportSize] = {"wide": {"width": 1280, "height": 850}, "narrow": {"width": 320, "height": 700}}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
ZONE = "Europe/Berlin"
# 200 % zoom of a usual window.
ZOOMED: ViewportSize = {"width": 640, "height": 425}
# Chromium's measure of what moves by itself, without a click or a key: 0.1 is what the web calls good.
WATCH_JUMPS = """window.jumps = 0; new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.jumps += entry.value;
}).observe({ type: "layout-shift", buffered: true });"""
MAX_JUMPS = 0.01

expect.set_options(timeout=PATIENCE_SECONDS * 1000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the tests of this folder out where there is no browser."""
    if CHROMIUM is None:
        reason = "no browser: install Chromium (Debian: apt-get install chromium)"
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    running = RunningService(tmp_path_factory.mktemp("browser") / "state", console=True)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="package")
async def callers(service: RunningService) -> AsyncIterator[Callers]:
    """People who call the API directly, to prepare what a page shows."""
    async with httpx2.AsyncClient(base_url=service.addresses.api, timeout=PATIENCE_SECONDS, trust_env=False) as http:
        yield Callers(http, service.addresses)


@pytest.fixture(scope="package")
async def weeks(callers: Callers) -> Weeks:
    """Weeks of Ana and Ben in every state."""
    return await fill_weeks(callers)


@pytest.fixture(scope="package")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        await browser.close()


@dataclass
class Desk:
    """Opens pages for people. Signs each in once, through the pages of the authorization server."""

    browser: Browser
    console: str
    signed_in: dict[str, Any] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def window(self, login: str | None = None, **options: Any) -> AsyncIterator[Page]:
        """A window of this person, or of a stranger; `options` of playwright's `new_context`."""
        if login is not None and login not in self.signed_in:
            async with self._context({}) as context:
                await self.sign_in(await self._page(context), login)
                self.signed_in[login] = await context.storage_state()
        state = {"storage_state": self.signed_in[login]} if login else {}
        async with self._context({**state, **options}) as context:
            yield await self._page(context)

    async def sign_in(self, page: Page, login: str) -> None:
        """Sign in from the first page, as a person would."""
        await page.goto(self.console)
        await page.get_by_role("link", name="Sign in").click()
        await self.prove(page, login)

    async def prove(self, page: Page, login: str) -> None:
        """Fill in the pages of the authorization server, whichever it shows, until they lead back."""
        while urlsplit(page.url).netloc != urlsplit(self.console).netloc:
            # A click waits until the next page begins to arrive, and a count waits for nothing.
            await page.wait_for_load_state("domcontentloaded")
            if await page.locator("[name=password]").count():
                await page.fill("[name=login]", login)
                await page.fill("[name=password]", PEOPLE[login].password)
                await page.get_by_role("button", name="Sign in").click()
            elif await page.locator("[name=second_factor]").count():
                await page.fill("[name=second_factor]", await page.locator("code").last.inner_text())
                await page.get_by_role("button", name="Continue").click()
            else:
                await page.get_by_role("button", name="Allow").click()

    @asynccontextmanager
    async def _context(self, options: dict[str, Any]) -> AsyncIterator[BrowserContext]:
        context = await self.browser.new_context(
            **{"viewport": SIZES["wide"], "timezone_id": ZONE, "reduced_motion": "reduce", **options}
        )
        context.set_default_timeout(30_000)
        try:
            yield context
        finally:
            await context.close()

    async def _page(self, context: BrowserContext) -> Page:
        page = await context.new_page()
        await page.add_init_script(WATCH_JUMPS)
        page.on("console", lambda said: self._complain(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self._complain(str(error)))
        return page

    def _complain(self, text: str) -> None:
        # Chromium logs every answer that is an error; those are what some tests are about.
        if not text.startswith("Failed to load resource: the server responded with a status"):
            self.complaints.append(text)


@pytest.fixture(scope="package")
def shared_desk(chromium: Browser, service: RunningService) -> Desk:
    return Desk(chromium, service.addresses.console)


@pytest.fixture
def desk(shared_desk: Desk) -> Iterator[Desk]:
    """The desk; no page may log an error during the test."""
    shared_desk.complaints.clear()
    yield shared_desk
    assert shared_desk.complaints == []


@asynccontextmanager
async def open_console_that_loses(
    service: RunningService, caller: Caller, is_lost: Callable[[httpx2.Request], bool]
) -> AsyncIterator[tuple[httpx2.AsyncClient, str]]:
    """Another console on the same service, whose network loses some requests to the API: a client with the session of
    this caller, and what its forms must contain."""

    async def lose(asked: httpx2.Request) -> None:
        if is_lost(asked):
            raise httpx2.ConnectError("the network is gone")

    redis = open_redis(service.addresses.redis_url)
    async with httpx2.AsyncClient(trust_env=False, event_hooks={"request": [lose]}) as http:
        console = connect(
            url="http://console.example",
            api=service.addresses.api,
            issuer=service.addresses.issuer,
            audience="",
            audience_parameter="",
            client="console",
            secret="",
            scopes=(),
            keys=["k" * 32],
            redis=redis,
            http=http,
        )
        session = await console.sessions.start(Grant(str(caller.token), time.time() + 600), Demand())
        transport = httpx2.ASGITransport(cast("Any", create(console)))
        async with httpx2.AsyncClient(transport=transport, base_url=console.url, trust_env=False) as person:
            person.cookies.set(console.cookie, session.id)
            yield person, session.csrf
    await redis.aclose()


@asynccontextmanager
async def change_rules(paula: Timewarden, pattern: str, replacement: str) -> AsyncIterator[None]:
    """Activate a version without cases whose rules are these instead, until the end of the block."""
    shipped = await paula.policy_version()
    rules = re.sub(pattern, replacement, shipped.rules)
    assert rules != shipped.rules
    other = await paula.propose_policy(
        "other rules", model=shipped.model, rules=rules, vocabulary=shipped.vocabulary, cases={}
    )
    await paula.activate_policy(other.number, instead_of=shipped.number)
    try:
        yield
    finally:
        await paula.activate_policy(shipped.number, instead_of=other.number)


async def look_at(page: Page, name: str, ignored: Sequence[str] = ()) -> None:
    """Keep screenshots of the page in light and dark, wide and narrow. It must be accessible, and fit 320 px and a
    zoom of 200 %."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    await page.wait_for_load_state("networkidle")
    for scheme, size in product(SCHEMES, SIZES):
        await page.emulate_media(color_scheme=scheme)
        await page.set_viewport_size(SIZES[size])
        await page.screenshot(path=SCREENSHOTS / f"{name}-{scheme}-{size}.png", full_page=True)
        beyond = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert beyond <= 0, f"{size}: {beyond} px too wide"
        # axe takes long. These two combinations show it each colour and each layout.
        if (scheme, size) in {("light", "wide"), ("dark", "narrow")}:
            assert await find_violations(page, ignored) == [], f"{scheme}, {size}"

    await page.set_viewport_size(ZOOMED)
    beyond = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert beyond <= 0, f"zoomed: {beyond} px too wide"


async def find_violations(page: Page, ignored: Sequence[str] = ()) -> list[str]:
    """What axe finds wrong with the accessibility of a page, by WCAG 2.2 AA and best practice."""
    await page.evaluate(AXE)
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]}"
        for violation in found["violations"]
        if violation["id"] not in ignored
        for node in violation["nodes"]
    ]
