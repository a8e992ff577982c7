"""Pictures and figures of pages are those of the code and of docs/performance.json; `make golden` makes them anew."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.golden import performance_page
from tests.golden.pictures import FOLDER, draw_all
from tests.golden.rooms_picture import PLACES, imports, shortest_imports

ROOT = Path(__file__).resolve().parents[2]
# Folders that the picture draws as a bar, or that the README describes beside it.
OUTSIDE = {"commands", "console", "development", "standalone", "migrations"}


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    """Every picture by its file name."""
    return draw_all()


def test_the_pictures_are_what_the_code_draws(drawn: dict[str, str]) -> None:
    assert {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()} == drawn


def test_the_pages_show_the_figures_that_were_kept() -> None:
    for page in performance_page.PAGES:
        text = page.read_text(encoding="utf-8")
        assert "<!-- figures: " in text
        assert performance_page.rewrite_figures(text) == text


def test_the_readme_shows_every_picture(drawn: dict[str, str]) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, picture in drawn.items():
        ET.fromstring(picture)  # noqa: S314 — our own file
        assert f"docs/pictures/{name}" in readme


def test_every_room_has_a_place_in_the_picture() -> None:
    packages = {path.parent.relative_to(ROOT / "service") for path in ROOT.glob("service/**/__init__.py")}
    rooms = {str(path) for path in packages if path.parts and path.parts[0] not in OUTSIDE}
    drawn = {room for room in PLACES if room != "events"}
    floors = {room.split("/")[0] for room in drawn if "/" in room}
    # A package within a room is drawn with it.
    within = {room for room in rooms if {str(parent) for parent in Path(room).parents} & drawn}
    assert rooms - within == drawn | floors


def test_a_room_of_a_higher_floor_is_drawn_higher() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    layers = re.findall(r'^  "(service\..+)",$', project.split("name = ")[2], re.MULTILINE)
    floors = [
        [box for room, box in PLACES.items() if room.split("/")[0] in re.findall(r"service\.(\w+)", layer)]
        for layer in layers
    ]
    drawn = [floor for floor in floors if floor]
    assert len(drawn) == 5
    assert all(max(box.bottom for box in above) < min(box.y for box in below) for above, below in pairwise(drawn))


def test_what_the_arrows_leave_out_can_be_reached_by_arrows() -> None:
    reached = set(shortest_imports())
    while longer := {(room, last) for room, via in reached for start, last in reached if start == via} - reached:
        reached |= longer
    assert reached >= imports()
