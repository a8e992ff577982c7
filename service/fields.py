"""Checks fields of requests, and collects their errors, so that a caller gets all of them at once. Owns no state."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

from service.errors import InvalidField
from service.places import FieldError

# Codes of projects and of their activities. The latter are short: a record of the log may describe 200 of them.
PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
ACTIVITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,19}")
# Of an entry.
MAX_TAGS = 10
MAX_TAG_CHARS = 30
UNWRITABLE = frozenset({"Cc", "Cs"})
# Letters and symbols that are invisible: Hangul fillers, the empty Braille pattern.
EMPTY = frozenset("\u115f\u1160\u2800\u3164\uffa0")


@dataclass(slots=True)
class Fields:
    """The errors found so far."""

    found: list[FieldError] = field(default_factory=list)

    def wrong(self, name: str, message: str) -> None:
        self.found.append(FieldError(name, message))

    def text(self, name: str, value: str, longest: int) -> None:
        """Add an error unless `value` has 1 to `longest` characters, all writable and at least one visible."""
        if not 1 <= len(value) <= longest:
            self.wrong(name, f"must have 1 to {longest} characters")
        elif not is_writable(value):
            self.wrong(name, "must have no control characters, such as line breaks")
        elif not is_legible(value):
            self.wrong(name, "must have a visible character")

    def refuse(self) -> None:
        """Raise InvalidField if there are errors."""
        if self.found:
            raise InvalidField(*self.found)


def is_legible(text: str) -> bool:
    """Whether any character is visible: not a space, a format character such as a zero-width space, or a filler."""
    return any(unicodedata.category(character)[0] not in "ZC" and character not in EMPTY for character in text)


def is_writable(text: str) -> bool:
    """Whether every character can be written, also on a terminal: no control character, no lone surrogate."""
    return text.isprintable() or not any(unicodedata.category(character) in UNWRITABLE for character in text)
