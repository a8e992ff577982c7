"""Every page for every reader: accessible by axe, light and dark, wide and at 320 px, and without a sideways scroll."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Literal

import pytest

from tests.browser.conftest import SCREENSHOTS, SIZES, Desk, find_violations
from tests.browser.pages import PAGES, PageOfConsole

if TYPE_CHECKING:
    from tests.browser.story_of_weeks import Weeks

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@pytest.mark.parametrize("shown", PAGES, ids=lambda shown: shown.name)
async def test_a_page_is_accessible_in_light_and_dark_and_fits_320_pixels(
    desk: Desk, weeks: Weeks, shown: PageOfConsole
) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    async with desk.window(shown.login) as page:
        await page.goto(desk.console + shown.path)
        await page.wait_for_load_state("networkidle")
        for scheme, size in product(SCHEMES, SIZES):
            await page.emulate_media(color_scheme=scheme)
            await page.set_viewport_size(SIZES[size])
            await page.screenshot(path=SCREENSHOTS / f"{shown.name}-{scheme}-{size}.png", full_page=True)
            beyond = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert beyond <= 0, f"{size}: {beyond} px too wide"
            # axe takes long. These two combinations show it each colour and each layout.
            if (scheme, size) in {("light", "wide"), ("dark", "narrow")}:
                assert await find_violations(page, shown.ignored) == [], f"{scheme}, {size}"
