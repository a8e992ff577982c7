"""Boxes, arrows and text as SVG, in the colours of a light or a dark page. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PALETTES: Mapping[str, Mapping[str, str]] = {
    "light": {"ink": "#1f2328", "faint": "#59636e", "line": "#8c959f", "box": "#f6f8fa", "frame": "#d1d9e0"}
    | {"page": "#ffffff", "accent": "#0969da", "good": "#1a7f37", "bad": "#cf222e"},
    "dark": {"ink": "#f0f6fc", "faint": "#9198a1", "line": "#7d8590", "box": "#161b22", "frame": "#3d444d"}
    | {"page": "#0d1117", "accent": "#4493f8", "good": "#3fb950", "bad": "#f85149"},
}
FONT = "ui-sans-serif, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
MONOSPACE = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle by its left, top, width and height, in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def middle(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2


@dataclass(slots=True)
class Drawing:
    """One picture; its parts are drawn in the order in which they are added."""

    width: int
    height: int
    title: str
    palette: Mapping[str, str]
    parts: list[str] = field(default_factory=list)

    def box(self, box: Box, *, fill: str = "box", line: str = "frame", dashed: bool = False) -> None:
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        self.parts.append(
            f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" rx="6" '
            f'fill="{self.palette[fill]}" stroke="{self.palette[line]}"{dash}/>'
        )

    def text(
        self, x: float, y: float, words: str, *, anchor: str = "start", size: float = 13, ink: str = "ink",
        bold: bool = False, code: bool = False,
    ) -> None:  # fmt: skip
        weight = ' font-weight="600"' if bold else ""
        family = f' font-family="{MONOSPACE}"' if code else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size:g}" '
            f'fill="{self.palette[ink]}"{weight}{family}>{escape(words)}</text>'
        )

    def dot(self, x: float, y: float) -> None:
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="4.5" fill="{self.palette["accent"]}"/>')

    def arrow(self, *points: tuple[float, float], ink: str = "line", head: bool = True) -> None:
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        marker = f' marker-end="url(#{ink})"' if head else ""
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{self.palette[ink]}" stroke-width="1.5"{marker}/>'
        )

    def svg(self) -> str:
        """The whole file."""
        heads = "".join(
            f'<marker id="{ink}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0,0.5 L8,4 L0,7.5 z" fill="{self.palette[ink]}"/></marker>'
            for ink in ("line", "accent", "good", "bad")
        )
        parts = "\n".join(self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" font-family="{FONT}" role="img">\n'
            f"<title>{escape(self.title)}</title>\n<defs>{heads}</defs>\n"
            f'<rect width="{self.width}" height="{self.height}" rx="8" fill="{self.palette["page"]}"/>\n'
            f"{parts}\n</svg>\n"
        )
