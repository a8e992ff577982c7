"""Times the console's pages: `make bench ARGS="pages [--requests N]"`, at demo size and, after `large`, at its size.

Each page is asked for one after the other, by a person who is signed in. Median and worst are of the answer of the
console; processor time is that of console, API and Postgres together. Figures only.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import httpx2

from service.development.authorization_server.page_walk import Account, walk
from service.development.people import PEOPLE
from tests.acceptance.caller import Callers
from tests.acceptance.running_service import POSTGRES, SERVE, RunningService
from tests.benchmarks import figures, large
from tests.benchmarks.cost import processor_seconds
from tests.browser.story_of_weeks import THIS_WEEK
from tests.until import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import Iterator

CONSOLE: Final = "-m service console"
# After the events of the large log were published, nothing else runs.
QUIET_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class TimedPage:
    """Milliseconds of one answer, its bytes, how many requests to the API it took, and processor time."""

    median: float
    worst: float
    bytes: int
    calls: int
    processor: float


async def main(requests: int = 10) -> None:
    found = {}
    with tempfile.TemporaryDirectory(prefix="timewarden-bench-") as folder:
        found["demo"] = await _measure(RunningService(Path(folder) / "state", console=True), requests, is_large=False)
    if large.DONE.exists():
        print(f"\n{large.FOLDER}: {large.DONE.read_text(encoding='utf-8')}")
        found["large"] = await _measure(RunningService(large.FOLDER.resolve(), console=True), requests, is_large=True)
    else:
        print(f"\n{large.FOLDER} is not there: make bench ARGS=large makes it, in an hour")
    figures.keep("pages", {size: {name: asdict(page) for name, page in pages.items()} for size, pages in found.items()})


async def _measure(service: RunningService, requests: int, *, is_large: bool) -> dict[str, TimedPage]:
    service.start()
    try:
        if is_large:
            await _wait_quiet(service)
        else:
            await large.play_story(service)
        async with httpx2.AsyncClient(base_url=service.addresses.api, timeout=PATIENCE_SECONDS, trust_env=False) as api:
            pages = [*await _list_pages(Callers(api, service.addresses), is_large=is_large)]
        print(
            f"\n{'milliseconds of a page':<40}{'median':>8}{'worst':>8}{'CPU':>8}{'kB':>8}{'requests to the API':>21}"
        )
        browsers = {login: await _sign_in(service.addresses.console, login) for login in {page[1] for page in pages}}
        found = {}
        for name, login, path in pages:
            timed = found[name] = await _time_page(service, browsers[login], path, requests)
            print(f"{name:<40}{timed.median:>8.0f}{timed.worst:>8.0f}{timed.processor:>8.0f}{timed.bytes / 1e3:>8.0f}"
                  f"{timed.calls:>21}", flush=True)  # fmt: skip
        for browser in browsers.values():
            await browser.aclose()
    finally:
        service.stop()
    return found


async def _sign_in(console: str, login: str) -> httpx2.AsyncClient:
    """A browser of this person. The console's cookies are for its host, and so are those of the sign-in."""
    browser = httpx2.AsyncClient(base_url=console, timeout=PATIENCE_SECONDS, trust_env=False)
    begun = await browser.get("/sign-in")
    account = Account.of(login, PEOPLE[login].password, None)
    back = await walk(browser, httpx2.URL(begun.headers["location"]), account, f"{console}/sign-in/callback")
    assert (await browser.get(back)).status_code == httpx2.codes.SEE_OTHER
    return browser


async def _list_pages(callers: Callers, *, is_large: bool) -> Iterator[tuple[str, str, str]]:
    """Every page with something on it: its name, who opens it, and its address."""
    audrey, adam = await callers("audrey"), await callers("adam")
    approvals = (await audrey.get("/v1/decisions", action="approve", outcome="allow", limit=1)).json()["items"]
    approval = approvals[0]["record"]
    decision, sheet = approvals[0]["id"], approval["resource"]["id"]
    listed = (await audrey.get("/v1/decisions", limit=50)).json()
    person = (await adam.get("/v1/people", limit=1, name="Ada" if is_large else "Ana")).json()["items"][0]["id"]
    team = (await adam.get("/v1/memberships", limit=1, person=approval["principal"]["person"])).json()["items"][0][
        "team"
    ]
    today = datetime.now(UTC).date()
    filters: dict[str, dict[str, Any]] = {
        "person": {"person": approval["principal"]["person"]},
        "action": {"action": "approve"},
        "denied": {"outcome": "deny"},
        "resource": {"resource": sheet},
        "a week": {"since": today - timedelta(days=27), "until": today - timedelta(days=20)},
        "92 days": {"since": today - timedelta(days=90)},
        "client": {"client": approval["principal"]["client"]},
        "rule": {"rule": approval["rules"][0]},
        "a frequent rule": {"rule": "read-own"},
        "reason": {"reason": "no-rule"},
        "applied": {"applied": "true"},
        "not applied": {"applied": "false"},
        "owner": {"owner": approval["resource"]["owner"]},
        "policy version": {"policy_version": "1"},
        "actor": {"actor": "assistant"} if is_large else {"policy_version": "1"},
    }
    return iter(
        [
            ("my week", "ana", "/week"),
            ("my week, with hours", "ana", f"/week/{THIS_WEEK}"),
            ("done in my name", "ana", "/in-my-name"),
            ("access for a time", "mia", "/access"),
            ("inbox, lead of a division", "mia", "/inbox"),
            ("inbox, lead of all", "dora", "/inbox"),
            ("delegations", "mia", "/delegations"),
            ("decisions", "audrey", "/decisions"),
            ("counts", "audrey", "/decisions/counts"),
            ("decisions, next page", "audrey", f"/decisions?{urlencode({'cursor': listed['next_cursor'] or ''})}"),
            *(
                (f"{what}, by {name}", "audrey", f"{path}?{urlencode(given)}")
                for name, given in filters.items()
                for what, path in (("decisions", "/decisions"), ("counts", "/decisions/counts"))
            ),
            ("a decision", "audrey", f"/decisions/{decision}"),
            ("story of a timesheet", "audrey", f"/timesheets/{sheet}/story"),
            ("check of a record", "audrey", f"/check/{decision}"),
            ("check of a record, checkpoint", "audrey", "/log/checkpoint"),
            ("check of a record, tile", "audrey", "/log/tile/0/000.p/50"),
            ("export", "audrey", "/export"),
            ("people", "adam", "/directory/people"),
            ("people by name", "adam", "/directory/people?q=ada"),
            ("suggested names", "adam", "/directory/names?person=ada"),
            ("a person", "adam", f"/directory/people/{person}"),
            ("teams", "adam", "/directory/teams"),
            ("a team", "adam", f"/directory/teams/{team}"),
            ("projects", "adam", "/directory/projects"),
            ("groups", "adam", "/directory/groups"),
            ("import", "adam", "/directory/import"),
            ("policy versions", "paula", "/policies"),
            ("a policy version", "paula", "/policies/1"),
            ("policy editor", "paula", "/draft"),
            ("replays", "paula", "/replays"),
            ("try a request", "paula", "/try"),
            ("health", "adam", "/service"),
            *(
                (f"export as {form}, first bytes", "audrey", f"/export/file?format={form}")
                for form in ("csv", "bundle")
            ),
        ]
    )


async def _time_page(service: RunningService, browser: httpx2.AsyncClient, path: str, requests: int) -> TimedPage:
    is_file = path.startswith("/export/file")
    # Once to warm it, which also counts.
    read_from = service.log.stat().st_size
    size, _ = await _ask(browser, path, is_file=is_file)
    await asyncio.sleep(0.1)
    with service.log.open("rb") as log:
        log.seek(read_from)
        calls = sum(b'"event":"request"' in line for line in log)
    before = _processor_seconds(service)
    taken = [(await _ask(browser, path, is_file=is_file))[1] * 1e3 for _ in range(requests)]
    spent = (_processor_seconds(service) - before) * 1e3 / requests
    return TimedPage(statistics.median(taken), max(taken), size, calls, spent)


async def _ask(browser: httpx2.AsyncClient, path: str, *, is_file: bool) -> tuple[int, float]:
    """Bytes and seconds of an answer; of a file, only of its beginning."""
    started = time.perf_counter()
    size = 0
    async with browser.stream("GET", path) as answer:
        assert answer.status_code == httpx2.codes.OK, (path, await answer.aread())
        async for chunk in answer.aiter_bytes():
            size += len(chunk)
            if is_file:
                break
    return size, time.perf_counter() - started


def _processor_seconds(service: RunningService) -> float:
    return sum(
        processor_seconds(process.pid)
        for mark in (CONSOLE, SERVE, POSTGRES)
        for process in service.processes(mark)
        if mark is not POSTGRES or POSTGRES in process.line
    )


async def _wait_quiet(service: RunningService) -> None:
    """Wait until the signer and the relay have done what the load left to them."""

    async def is_quiet() -> bool:
        before = _processor_seconds(service)
        await asyncio.sleep(2)
        return _processor_seconds(service) - before < 0.4

    await until(is_quiet, QUIET_SECONDS)


if __name__ == "__main__":
    asyncio.run(main())
