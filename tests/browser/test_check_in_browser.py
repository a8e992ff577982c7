"""The check of a record in the browser, and attacks on it: on tiles, on the record, on the checkpoint, on the key."""

from __future__ import annotations

import base64
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from service.commands.running import DEVELOPMENT_KEY
from service.log.checkpoint import Checkpoint, Signer, sign
from service.log.key_files import read_key
from service.log.merkle import HASH_SIZE, root_hash
from service.log.tiles import WIDTH, path_of_index, split_hashes, width_at
from tests.browser.conftest import look_at
from tests.browser.test_log_proof import make_tiles
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Page, Route

    from tests.acceptance.caller import Caller, Callers
    from tests.acceptance.running_service import RunningService
    from tests.browser.conftest import Desk
    from tests.browser.story_of_weeks import Weeks


# The key type of Ed25519, and a key of zeros.
ZERO_KEY = base64.b64encode(bytes([1]) + bytes(HASH_SIZE)).decode()
SHRINK = """name => {
  const seen = JSON.parse(localStorage.getItem(name));
  localStorage.setItem(name, JSON.stringify({...seen, size: 1e9}));
}"""


@pytest.fixture(scope="module")
def signer(service: RunningService) -> Signer:
    """The log's own key, as a thief or an operator with two logs would use it."""
    return read_key(service.state / DEVELOPMENT_KEY)


@pytest.fixture(scope="module")
async def auditor(callers: Callers) -> Caller:
    return await callers("audrey")


@pytest.fixture(scope="module")
async def record(auditor: Caller, weeks: Weeks) -> str:
    """A sealed decision that a signed checkpoint covers."""

    async def covered() -> bool:
        return (await auditor.send("GET", f"/v1/audit/records/{uid}/proof")).is_success

    found = await anext(auditor.api.decisions(action="approve"))
    uid = found.id
    await until(covered)
    return uid


@asynccontextmanager
async def check_page(desk: Desk, record: str, signer: Signer) -> AsyncIterator[Page]:
    async with desk.window("audrey") as page:
        await page.goto(f"{desk.console}/check/{record}")
        await page.get_by_label("The log's public key").fill(signer.verifier.vkey)
        yield page


async def check(page: Page) -> None:
    await page.get_by_role("button", name="Check this record").click()


async def test_an_intact_record_is_shown_to_be_in_the_log_and_the_browser_remembers_what_it_saw(
    desk: Desk, record: str, signer: Signer, auditor: Caller
) -> None:
    leaf = (await auditor.send("GET", f"/v1/audit/records/{record}")).json()["leaf"]
    async with check_page(desk, record, signer) as page:
        await check(page)
        await expect(page.get_by_role("heading", name="The record is intact")).to_be_visible()
        await expect(page.locator(".verdict > p")).to_contain_text(
            re.compile(r"[A-Z]\w+ \w+.? \([0-9a-f-]{36}\) asked to approve")
        )
        await expect(page.get_by_text("Whose id it is")).to_be_visible()
        await page.reload()
        await expect(page.get_by_label("The log's public key")).to_have_value(signer.verifier.vkey)
        await page.get_by_label("The leaf that you kept").fill(leaf)
        await check(page)
        await expect(page.get_by_text("The log extends what this browser saw")).to_be_visible()
        await expect(page.get_by_text("It is the record whose leaf you kept")).to_be_visible()
        await look_at(page, "check")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("**/log/tile/0/**", "do not lead to the root"),
        ("**/log/tile/entries/**", "tampered with"),
        ("**/log/checkpoint", "signature of the checkpoint is wrong"),
    ],
    ids=["tile", "record", "checkpoint"],
)
async def test_one_changed_byte_is_found(desk: Desk, record: str, signer: Signer, path: str, told: str) -> None:
    async def spoil(route: Route) -> None:
        answer = await route.fetch()
        content = bytearray(await answer.body())
        for place in _places(route.request.url, content):
            content[place] ^= 1
        await route.fulfill(response=answer, body=bytes(content))

    async with check_page(desk, record, signer) as page:
        await page.route(path, spoil)
        await check(page)
        await expect(page.get_by_role("heading", name="tampered with")).to_be_visible()
        await expect(page.locator(".verdict")).to_contain_text(told)


async def test_another_record_at_the_position_is_found(desk: Desk, record: str, signer: Signer) -> None:
    async with check_page(desk, record, signer) as page:
        await page.eval_on_selector("form.check", "form => { form.dataset.position = '0'; }")
        await check(page)
        await expect(page.get_by_text("At position 0 stands another record")).to_be_visible()


async def test_a_fork_that_the_right_key_has_signed_is_found_by_who_saw_the_log_before(
    desk: Desk, record: str, signer: Signer, auditor: Caller
) -> None:
    found = (await auditor.send("GET", f"/v1/audit/records/{record}")).json()
    checkpoint = Checkpoint.parse((await auditor.send("GET", "/v1/log/checkpoint")).text.split("\n\n")[0] + "\n")
    leaves = await _leaves(auditor, checkpoint.size)
    other = 0 if found["position"] else 1
    leaves[other] = bytes(HASH_SIZE)
    tiles = make_tiles(leaves)
    forked = sign(Checkpoint(checkpoint.origin, checkpoint.size, root_hash(leaves)).text, [signer])

    async def lie(route: Route) -> None:
        path = route.request.url.partition("/log/")[2]
        if path == "checkpoint":
            await route.fulfill(body=forked, content_type="text/plain")
        elif path.startswith("tile/entries/"):
            await route.continue_()
        else:
            await route.fulfill(
                body=b"".join(tiles[path.removeprefix("tile/")]), content_type="application/octet-stream"
            )

    async with check_page(desk, record, signer) as page:
        await page.route("**/log/**", lie)
        await check(page)
        # Alone, the fork is a log like any other: nothing but an earlier look tells.
        await expect(page.get_by_role("heading", name="The record is intact")).to_be_visible()
        await page.unroute("**/log/**")
        await check(page)
        await expect(page.get_by_text("The log was rewritten")).to_be_visible()


async def test_a_log_that_has_shrunk_is_found(desk: Desk, record: str, signer: Signer) -> None:
    async with check_page(desk, record, signer) as page:
        await check(page)
        await expect(page.get_by_role("heading", name="The record is intact")).to_be_visible()
        await page.evaluate(SHRINK, f"timewarden-seen-{signer.name}")
        await check(page)
        await expect(page.get_by_text("The log has shrunk")).to_be_visible()


@pytest.mark.parametrize("spoiled", ["other key", "changed name", "changed key", "no key"])
async def test_a_wrong_key_trusts_nothing(desk: Desk, record: str, signer: Signer, spoiled: str) -> None:
    name, digest, key = signer.verifier.vkey.split("+", 2)
    lines = {
        "other key": Signer(signer.name, bytes(32)).verifier.vkey,
        "changed name": f"{name}x+{digest}+{key}",
        "changed key": f"{name}+{digest}+{ZERO_KEY}",
        "no key": "<script>alert(1)</script>",
    }
    async with check_page(desk, record, signer) as page:
        await page.get_by_label("The log's public key").fill(lines[spoiled])
        await check(page)
        await expect(page.get_by_role("heading", name="Not signed by a key that you trust")).to_be_visible()


async def test_a_check_that_cannot_be_finished_says_so(desk: Desk, record: str, signer: Signer) -> None:
    async with check_page(desk, record, signer) as page:
        await page.route("**/log/tile/**", lambda route: route.abort())
        await check(page)
        await expect(page.get_by_role("heading", name="The check could not be finished")).to_be_visible()
    desk.complaints[:] = [text for text in desk.complaints if "net::ERR_FAILED" not in text]


async def _leaves(auditor: Caller, size: int) -> list[bytes]:
    """All leaf hashes of the log, from its tiles."""
    leaves: list[bytes] = []
    for index in range((size + WIDTH - 1) // WIDTH):
        width = width_at(0, index, size)
        path = path_of_index(index) + ("" if width == WIDTH else f".p/{width}")
        leaves += split_hashes((await auditor.send("GET", f"/v1/log/tile/0/{path}")).content)
    return leaves


def _places(url: str, content: bytes | bytearray) -> range:
    """What to spoil: of a checkpoint its root, of a tile each hash, of a bundle bytes within its records."""
    if url.endswith("/checkpoint"):
        root = content.index(b"\n", content.index(b"\n") + 1) + 3
        return range(root, root + 1)
    return range(60, len(content), 50) if "/entries/" in url else range(0, len(content), HASH_SIZE)
