"""The flaw of a text in a policy, such as an expression, with its place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a policy cannot use a text: an expression, a path or a sentence. `line` and `column` from 1 in the text."""

    message: str
    line: int
    column: int
    suggestion: str | None = None


class FlawFoundError(Exception):
    """Ends the reading of an expression. `place` is the offset in the text, in characters."""

    def __init__(self, message: str, place: int, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.message, self.place, self.suggestion = message, place, suggestion


def flaw_at(text: str, found: FlawFoundError) -> Flaw:
    """The flaw with its line and column."""
    before = text[: found.place]
    line = before.count("\n") + 1
    return Flaw(found.message, line, found.place - before.rfind("\n"), found.suggestion)
