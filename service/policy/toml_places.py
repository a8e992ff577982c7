"""Complaints about vocabulary.toml, with the line and column of the key or of the text that they are about. Pure."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

from service.places import Complaint
from service.policy.nearest_word import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from service.policy.expressions.flaw import Flaw

FILE = "vocabulary.toml"
# The time to find the nearest word adds up.
MAX_GUESSES = 100
# Remedies by the beginning of a complaint of tomllib.
_ADVICE = {
    "Invalid value": 'put texts in quotes, such as is = "resource.minutes > 2400"',
    "Expected newline": "within double quotes, put texts in single quotes: is = \"principal.country == 'DE'\"",
    "Illegal character": "a text ends in the line in which it begins, with the same quote",
    "Cannot declare": "write all words of a table below its first header",
    "Cannot overwrite": "give each name once",
    "Expected '='": 'write NAME = "VALUE"',
    "Unescaped": "within single quotes, \\ stands for itself",
    "Invalid statement": "a line is a header, NAME = VALUE, or a comment that starts with #",
}
_QUOTES = ('"""', "'''")


def advise_toml(message: str) -> str | None:
    """The remedy for a complaint of tomllib, if one is known."""
    return next((advice for begins, advice in _ADVICE.items() if message.startswith(begins)), None)


@dataclass(slots=True)
class Complaints:
    """The complaints so far, about the file `text`. A path leads from the root of the file to a key."""

    text: str
    found: list[Complaint] = field(default_factory=list)
    _places: Mapping[tuple[str, ...], tuple[int, int]] = field(init=False)
    _line_starts: Sequence[int] = field(init=False)

    def __post_init__(self) -> None:
        self._places = _find_places(self.text)
        self._line_starts = [0, *accumulate(len(line) + 1 for line in self.text.split("\n"))]

    def complain(self, at: tuple[str, ...], message: str, suggestion: str | None = None) -> None:
        """Complain at the longest part of the path that is a header or key in the text, or at (0, 0)."""
        line, column = self._find(at)
        self.found.append(Complaint(FILE, line, column, message, suggestion))

    def complain_inside(self, at: tuple[str, ...], value: str, flaw: Flaw) -> None:
        """Complain of a flaw within the string `value` of a key, or at the key if the file writes the string in another
        way."""
        line, column = self._find(at)
        start = self.text.find(value, self._line_starts[line - 1] + column - 1) if line else -1
        if start >= 0:
            first = bisect_right(self._line_starts, start)
            line = first + flaw.line - 1
            column = flaw.column + (start - self._line_starts[first - 1] if flaw.line == 1 else 0)
        self.found.append(Complaint(FILE, line, column, flaw.message, flaw.suggestion))

    def suggest(self, word: str, known: Collection[str]) -> str | None:
        """The nearest known word, unless there are too many complaints to look for it."""
        return nearest(word, known) if len(self.found) < MAX_GUESSES else None

    def _find(self, at: tuple[str, ...]) -> tuple[int, int]:
        shown = (self._places.get(at[:length]) for length in range(len(at), 0, -1))
        return next((place for place in shown if place is not None), (0, 0))


def _find_places(text: str) -> dict[tuple[str, ...], tuple[int, int]]:
    """The line and column at which each header and key first appears, and each table that one of them only implies, as
    `[a.b]` does `a`."""
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    implied: dict[tuple[str, ...], tuple[int, int]] = {}
    section: tuple[str, ...] = ()
    for number, line in _lines_outside_strings(text):
        bare = line.strip()
        if bare.startswith("["):
            section = here = tuple(part.strip().strip("\"'") for part in bare.split("]")[0].strip("[]").split("."))
        elif "=" in bare and not bare.startswith("#"):
            here = (*section, *(part.strip().strip("\"'") for part in _split_key(bare.split("=")[0].strip())))
        else:
            continue
        place = (number, len(line) - len(line.lstrip()) + 1)
        found.setdefault(here, place)
        for length in range(1, len(here)):
            implied.setdefault(here[:length], place)
    return implied | found


def _split_key(key: str) -> list[str]:
    """The parts of a dotted key. A quoted key has one."""
    return [key] if key[:1] in {'"', "'"} else key.split(".")


def _lines_outside_strings(text: str) -> Iterator[tuple[int, str]]:
    """Each line with its number, from 1, without those that continue a string of several lines."""
    closing = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if closing:
            closing = "" if closing in line else closing
            continue
        yield number, line
        closing = next((quote for quote in _QUOTES if line.count(quote) == 1), "")
