"""Errors of input: of a field of a request, or of a line of a policy file. Pure: owns no state."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_COMPLAINTS = 100
# A message may quote a word that is as long as a file.
MAX_MESSAGE_LENGTH = 1_000
MAX_HIDDEN_CHARACTERS_LISTED = 10
# Every editor ends a line at LF and CR LF; only some do at these.
_LINE_ENDS = frozenset("\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
_REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
_PLAIN = r"\t\n\x20-\x7e"


@dataclass(frozen=True, slots=True)
class FieldError:
    """The error of a field: `field` is a path such as `rows[3].minutes` or `query.cursor`; `message` says what is
    valid."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Complaint:
    """A reason why a policy is refused: `file` as in policies/, `line` and `column` from 1, 0 for a whole file.

    It may quote the file on terminals and in responses, so characters that cannot be printed are escaped.
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
    """A complaint for each of the first characters that make a text look different from what is parsed: line ends of
    some editors, characters that reorder the text (CVE-2021-42574), and other invisible characters. Tabs, line ends and
    a byte order mark at the beginning are allowed."""
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
        if len(found) == MAX_HIDDEN_CHARACTERS_LISTED:
            break
    return found


def limit_complaints(complaints: Sequence[Complaint]) -> tuple[Complaint, ...]:
    """The first hundred complaints, and one that says how many more there are."""
    more = complaints[MAX_COMPLAINTS:]
    if not more:
        return tuple(complaints)
    left_out = Complaint(more[0].file, 0, 0, f"{len(more):,} more complaints are not listed")
    return (*complaints[:MAX_COMPLAINTS], left_out)


def printable(text: str, longest: int = MAX_MESSAGE_LENGTH) -> str:
    """The text on one line, cut at `longest` characters, with an escape for every character that cannot be printed:
    control characters would act on a terminal, and a lone surrogate cannot be encoded."""
    if len(text) > longest:
        text = f"{text[:longest]}..."
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
