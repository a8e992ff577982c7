"""The pictures of the README, drawn from the code and from docs/performance.json: `docs/pictures/NAME-light.svg` and
`NAME-dark.svg`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.golden.picture_svg import PALETTES
from tests.golden.request_picture import draw_request
from tests.golden.rooms_picture import draw_rooms
from tests.golden.speed_picture import draw_speed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"
PICTURES: Mapping[str, Callable[[str], str]] = {"rooms": draw_rooms, "request": draw_request, "speed": draw_speed}


def draw_all() -> dict[str, str]:
    """The text of every picture by its file name."""
    return {f"{name}-{palette}.svg": draw(palette) for name, draw in PICTURES.items() for palette in PALETTES}
