"""Collects what is wrong with the fields of a request, so that a caller learns all of it at once. Owns no state."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

from service.errors import InvalidField
from service.places import FieldError

UNWRITABLE = frozenset({"Cc", "Cs"})
# Letters and symbols that show nothing: fillers of Hangul, the empty Braille pattern.
EMPTY = frozenset("\u115f\u1160\u2800\u3164\uffa0")


@dataclass(slots=True)
class Fields:
    """Collects field errors, so that a caller learns all of them at once."""

    found: list[FieldError] = field(default_factory=list)

    def wrong(self, name: str, message: str) -> None:
        self.found.append(FieldError(name, message))

    def text(self, name: str, value: str, longest: int) -> None:
        """Wrong unless `value` has 1 to `longest` characters that can be written: no control character, no half of a
        surrogate pair (which no UTF-8 can hold); and something in it can be seen."""
        if not 1 <= len(value) <= longest:
            self.wrong(name, f"must have 1 to {longest} characters")
        elif not writable(value):
            self.wrong(name, "must have no control characters, such as line breaks")
        elif not legible(value):
            self.wrong(name, "must have a character that can be seen")

    def refuse(self) -> None:
        """Raise InvalidField if anything was found."""
        if self.found:
            raise InvalidField(*self.found)


def legible(text: str) -> bool:
    """Whether anything of it can be seen: not only spaces, marks of format such as a zero-width space, and fillers."""
    return any(unicodedata.category(one)[0] not in "ZC" and one not in EMPTY for one in text)


def writable(text: str) -> bool:
    """Whether every character can be written, also on a terminal: no control character, no half of a surrogate pair."""
    return text.isprintable() or not any(unicodedata.category(one) in UNWRITABLE for one in text)
