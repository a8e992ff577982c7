"""Where input is wrong: a field of a request, or a place in a policy file. Pure: owns no state.

They travel in errors.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_COMPLAINTS = 100
# What is said of one place; a word that is quoted in it may be as long as a file.
LONGEST_MESSAGE = 1_000
MAX_HIDDEN_CHARACTERS_TOLD = 10
# A line feed, alone or behind a carriage return, ends a line in every editor; these do in some only.
_LINE_ENDS = frozenset("\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
_REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
_PLAIN = r"\t\n\x20-\x7e"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field: `field` is a path such as `rows[3].minutes` or `query.cursor`; `message` says what is wanted."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Complaint:
    """One reason why a policy is refused: `file` as in policies/, `line` and `column` from 1, 0 for a whole file.

    It quotes what stands there, on terminals and in answers, so what cannot be printed is written as an escape.
    """

    file: str
    line: int
    column: int
    message: str
    suggestion: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", printable(self.file))
        object.__setattr__(self, "message", printable(self.message))
        if self.suggestion is not None:
            object.__setattr__(self, "suggestion", printable(self.suggestion))

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: "
        return place + self.message + (f" ({self.suggestion})" if self.suggestion else "")


def hidden_characters(file: str, text: str) -> list[Complaint]:
    """A complaint for each of the first characters that make a text look like another one than is read: what ends a
    line in some editors, what changes the order in which text is shown (CVE-2021-42574), and other characters that
    cannot be seen. A tab, a line end and a byte order mark at the beginning are none."""
    found: list[Complaint] = []
    for match in re.finditer(rf"\r(?!\n)|[^\r{_PLAIN}]", text):
        character = match.group()
        if unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} or (
            character == _BOM and match.start() == 0
        ):
            continue
        if character in _LINE_ENDS:
            why = "ends a line in some editors, so that a comment can look like a row"
        elif character in _REORDERING:
            why = "changes the order in which text is shown"
        else:
            why = "cannot be seen"
        line = text.count("\n", 0, match.start()) + 1
        column = match.start() - text.rfind("\n", 0, match.start())
        called = unicodedata.name(character, "")
        shown = f"U+{ord(character):04X}" + (f" ({called})" if called else "")
        found.append(Complaint(file, line, column, f"The character {shown} {why}", "remove it"))
        if len(found) == MAX_HIDDEN_CHARACTERS_TOLD:
            break
    return found


def bounded(complaints: Sequence[Complaint]) -> tuple[Complaint, ...]:
    """These, or of very many the first hundred, and how many more there are."""
    more = complaints[MAX_COMPLAINTS:]
    if not more:
        return tuple(complaints)
    left_out = Complaint(more[0].file, 0, 0, f"{len(more):,} more are left out here")
    return (*complaints[:MAX_COMPLAINTS], left_out)


def printable(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """The text on one line, no longer than this, with an escape for every character that does not print: a control
    character would speak to the terminal, and half of a surrogate pair stands in no UTF-8."""
    if len(text) > longest:
        text = f"{text[:longest]}..."
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
