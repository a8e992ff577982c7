"""Where input is wrong: a field of a request, or a place in a policy file. Pure: owns no state.

They travel in errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_COMPLAINTS = 100
# What is said of one place; a word that is quoted in it may be as long as a file.
LONGEST_MESSAGE = 1_000


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


def bounded(complaints: Sequence[Complaint]) -> tuple[Complaint, ...]:
    """These, or of very many the first hundred, and how many more there are."""
    more = complaints[MOST_COMPLAINTS:]
    if not more:
        return tuple(complaints)
    left_out = Complaint(more[0].file, 0, 0, f"{len(more):,} more are left out here")
    return (*complaints[:MOST_COMPLAINTS], left_out)


def printable(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """The text on one line, no longer than this, with an escape for every character that does not print: a control
    character would speak to the terminal, and half of a surrogate pair stands in no UTF-8."""
    if len(text) > longest:
        text = f"{text[:longest]}..."
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
