"""docs/pictures/speed-*.svg: a read beside its rivals, and how its cost grows, as docs/performance.json has them.

`make bench ARGS=chart` puts the newest figures into that file.
"""

from __future__ import annotations

import json
from math import ceil, log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.golden.picture_svg import PALETTES, Box, Drawing

if TYPE_CHECKING:
    from collections.abc import Mapping

FIGURES = Path(__file__).resolve().parents[2] / "docs" / "performance.json"
TITLE = "A read of a timesheet beside its rivals, and what it costs as things grow"
AS_INSTALLED = "as make run leaves it"
# What each server of the benchmark does, in the order of the bars.
SERVERS = {
    "naive": ("PyJWT, casbin, INSERT", "decides and records; reads no sheet"),
    "Cerbos": ("Cerbos", "verifies, decides, local audit; reads no sheet"),
    "stock": ("unprotected", "reads the sheet; asyncpg's pool as it comes"),
    "kept": ("unprotected, tuned", "the same; connections are not reset"),
    "ours": ("Timewarden", "verifies, decides, reads, records durably"),
}


def read_figures() -> dict[str, Any]:
    """The figures that the page and the chart show."""
    found: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))
    return found


def draw_speed(palette: str) -> str:
    """The picture as SVG."""
    figures = read_figures()
    drawing = Drawing(1080, 400, TITLE, PALETTES[palette])
    _draw_rates(drawing, figures["http"][AS_INSTALLED]["measured"])
    _draw_growth(drawing, figures["growth"])
    return drawing.svg()


def _draw_rates(drawing: Drawing, measured: Mapping[str, Mapping[str, float]]) -> None:
    """A bar for each server, by its rate at 32 connections."""
    rates = {name: measured[f"{name} at 32"]["rate"] for name in SERVERS if f"{name} at 32" in measured}
    drawing.text(20, 34, "Reads a second, 32 connections, one worker", bold=True)
    for place, (name, rate) in enumerate(rates.items()):
        title, note = SERVERS[name]
        top, width = 64 + place * 66, max(4.0, rate / max(rates.values()) * 250)
        drawing.text(20, top + 10, title, bold=name == "ours")
        drawing.text(20, top + 27, note, size=11, ink="faint")
        ink = "accent" if name == "ours" else "line"
        drawing.box(Box(20, top + 35, width, 12), fill=ink, line=ink)
        drawing.text(20 + width + 8, top + 46, f"{rate:,.0f}", size=12)


def _draw_growth(drawing: Drawing, growth: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """A strip for each dimension: processor time of a read by size."""
    left, right = 590, 1000
    most = max(_cost(value) for points in growth.values() for value in points.values())
    sizes = [int(size) for points in growth.values() for size in points]
    decades = range(1, max(6, ceil(log10(max(sizes)))) + 1)
    drawing.text(430, 34, "Microseconds of processor time for a read, by the number of …", bold=True)

    def place(size: int) -> float:
        return left + (log10(size) - decades[0]) / (decades[-1] - decades[0]) * (right - left)

    for strip, (dimension, points) in enumerate(sorted(growth.items())):
        base = 104 + strip * 62
        drawing.text(430, base - 10, dimension, size=13)
        drawing.arrow((left, base), (right, base), ink="frame", head=False)
        found = sorted((int(size), _cost(value)) for size, value in points.items())
        line = [(place(size), base - cost / most * 44) for size, cost in found]
        drawing.arrow(*line, ink="accent", head=False)
        for (x, y), (_, cost) in zip(line, found, strict=True):
            drawing.dot(x, y)
            drawing.text(x, y - 9, f"{cost:.0f}", anchor="middle", size=11, ink="faint")
    for decade in decades:
        drawing.text(place(10**decade), 376, f"{10**decade:,}", anchor="middle", size=11, ink="faint")


def _cost(value: Mapping[str, float]) -> float:
    """The time of the service and of Postgres."""
    return value["server"] + value["postgres"]
