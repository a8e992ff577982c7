"""docs/pictures/rooms-*.svg: the rooms of the service as rows of floors, and the imports between them.

An arrow is left out when a longer path of arrows says the same. The places of the rooms are set by hand.
"""

from __future__ import annotations

from tests.golden.picture_svg import PALETTES, Box, Drawing
from tests.house_report import imports_by_room

TITLE = "The rooms of the service and the imports between them"

PLACES = {
    "web/http": Box(32, 98, 80, 38),
    "web/openapi": Box(122, 98, 84, 38),
    "web/timesheets": Box(232, 98, 100, 38),
    "web/uploads": Box(342, 98, 90, 38),
    "web/directory": Box(442, 98, 100, 38),
    "web/identity": Box(552, 98, 90, 38),
    "web/policy": Box(652, 98, 90, 38),
    "web/audit": Box(932, 98, 116, 38),
    "timesheets": Box(140, 200, 250, 50),
    "directory": Box(404, 200, 200, 50),
    "administration/replay": Box(630, 200, 76, 38),
    "administration/versions": Box(748, 200, 80, 38),
    "administration/checks": Box(848, 200, 60, 38),
    "audit": Box(932, 200, 128, 50),
    "authorization/enforcement": Box(32, 318, 560, 46),
    "authorization/active": Box(632, 318, 114, 46),
    "authorization/engine": Box(792, 318, 114, 46),
    "policy": Box(632, 418, 274, 46),
    "identity": Box(20, 500, 340, 46),
    "log": Box(420, 500, 640, 46),
    "events": Box(20, 582, 1040, 46),
}
FRAMES = {
    "web": Box(20, 74, 1040, 84),
    "administration": Box(618, 188, 300, 74),
    "authorization": Box(20, 306, 898, 80),
}
# All rooms of routes import this one, with one arrow.
SHARED = "web/http"
# The purpose of each room, below its name where there is space.
NOTES = {
    "timesheets": "weeks, entries, uploads, approvals",
    "directory": "people, teams, roles, merges",
    "audit": "search, export, prove",
    "authorization/enforcement": "the gate: every read, list and change (PEP, PIP)",
    "authorization/active": "active version",
    "authorization/engine": "decides (PDP)",
    "policy": "the policy language and its laws",
    "identity": "tokens and keys",
    "log": "append-only decision log",
    "events": "CloudEvents: envelope, relay, consumer",
}


def draw_rooms(palette: str) -> str:
    """The picture as SVG; raises KeyError for a room that has no place yet."""
    drawing = Drawing(1080, 700, TITLE, PALETTES[palette])
    _draw_bar(
        drawing,
        Box(20, 16, 1040, 40),
        "commands · app · keeper",
        "put the rooms together, so they import from all of them",
    )
    for name, frame in FRAMES.items():
        drawing.box(frame, fill="page")
        drawing.text(frame.x + 12, frame.bottom - 8, f"{name}/", size=12, ink="faint")
    arrows = shortest_imports()
    sharing = sorted(room for room, other in arrows if other == SHARED)
    _draw_shared(drawing, [PLACES[room] for room in sharing], PLACES[SHARED])
    for room, other in sorted(arrows):
        if other != SHARED:
            _draw_import(drawing, PLACES[room], PLACES[other])
    for room, box in PLACES.items():
        drawing.box(box)
        _label(drawing, box, room.split("/")[-1], NOTES.get(room, ""))
    _draw_bar(
        drawing, Box(20, 644, 1040, 40), "errors · settings · database · …", "small modules that every floor may import"
    )
    return drawing.svg()


def imports() -> set[tuple[str, str]]:
    """Every pair of rooms with a place of which the first imports from the second."""
    return {
        (room, other)
        for room, others in imports_by_room().items()
        for other in others
        if room in PLACES and other in PLACES
    }


def shortest_imports() -> set[tuple[str, str]]:
    """The imports that no longer path says as well."""
    pairs = imports()

    def reaches(start: str, goal: str) -> bool:
        return any(room == start and (other == goal or reaches(other, goal)) for room, other in pairs)

    return {
        (room, other)
        for room, other in pairs
        if not any(start == room and middle != other and reaches(middle, other) for start, middle in pairs)
    }


def _draw_import(drawing: Drawing, room: Box, other: Box) -> None:
    """From the edge of one room to the edge of another: sideways within a floor, else downwards."""
    if room.y < other.bottom and other.y < room.bottom:
        drawing.arrow((room.right, room.middle[1]), (other.x, other.middle[1]))
        return
    left, right = max(room.x, other.x), min(room.right, other.right)
    start = end = (left + right) / 2
    if left + 16 > right:
        start, end = (room.right - 16, other.x + 16) if room.x < other.x else (room.x + 16, other.right - 16)
    drawing.arrow((start, room.bottom), (end, other.y))


def _draw_shared(drawing: Drawing, rooms: list[Box], other: Box) -> None:
    """One arrow for several rooms of a floor that import the same other room of it."""
    height = other.y - 12
    middles = [room.middle[0] for room in rooms]
    for middle in middles:
        drawing.arrow((middle, height), (middle, other.y), head=False)
    drawing.arrow((min(*middles, other.middle[0]), height), (max(*middles, other.middle[0]), height), head=False)
    drawing.arrow((other.middle[0], height), (other.middle[0], other.y))


def _label(drawing: Drawing, box: Box, name: str, note: str) -> None:
    x, y = box.middle
    drawing.text(x, y + (-3 if note else 4), name, anchor="middle", bold=True)
    if note:
        drawing.text(x, y + 14, note, anchor="middle", size=11, ink="faint")


def _draw_bar(drawing: Drawing, box: Box, name: str, note: str) -> None:
    drawing.box(box, fill="page", dashed=True)
    _label(drawing, box, name, note)
