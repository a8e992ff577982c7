"""Every page for every reader: accessible by axe, light and dark, wide and at 320 px, and without a sideways scroll."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import MAX_JUMPS, SCREENSHOTS, SIZES, Desk, look_at
from tests.browser.pages import PAGES, PageOfConsole

if TYPE_CHECKING:
    from tests.browser.story_of_weeks import Weeks


# A page takes three seconds of CPU: these show each layout, and the long tier looks at all.
IN_SHORT = ("week-draft", "inbox", "decisions", "no-such-page")
LOOKED_AT = [
    pytest.param(page, id=page.name, marks=() if page.name in IN_SHORT else pytest.mark.long) for page in PAGES
]


@pytest.mark.parametrize("shown", LOOKED_AT)
async def test_a_page_is_accessible_fits_320_pixels_and_does_not_jump(
    desk: Desk, weeks: Weeks, shown: PageOfConsole
) -> None:
    async with desk.window(shown.login) as page:
        await page.goto(desk.console + shown.path)
        if shown.link:
            await page.get_by_role("main").get_by_role("link", name=shown.link, exact=True).first.click()
        # What a reader sees first, for the README, with what comes a moment later.
        await page.wait_for_load_state("networkidle")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=SCREENSHOTS / f"{shown.name}-first.png")
        await look_at(page, shown.name, shown.ignored)
        for size in SIZES.values():
            await page.set_viewport_size(size)
            await page.reload()
            await page.wait_for_load_state("networkidle")
            assert await page.evaluate("window.jumps") <= MAX_JUMPS, f"something jumps at {size['width']} px"
