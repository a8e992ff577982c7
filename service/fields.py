"""Collects what is wrong with the fields of a request, so that a caller learns all of it at once. Owns no state."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

from service.errors import InvalidField
from service.places import FieldError

UNWRITABLE = frozenset({"Cc", "Cs"})


@dataclass(slots=True)
class Fields:
    """Collects field errors, so that a caller learns all of them at once."""

    found: list[FieldError] = field(default_factory=list)

    def wrong(self, name: str, message: str) -> None:
        self.found.append(FieldError(name, message))

    def text(self, name: str, value: str, longest: int) -> None:
        """Wrong unless `value` has 1 to `longest` characters that can be written: no control character, no half of a
        surrogate pair (which no UTF-8 can hold)."""
        if not 1 <= len(value) <= longest:
            self.wrong(name, f"must have 1 to {longest} characters")
        elif not writable(value):
            self.wrong(name, "must have no control characters, such as line breaks")

    def refuse(self) -> None:
        """Raise InvalidField if anything was found."""
        if self.found:
            raise InvalidField(*self.found)


def writable(text: str) -> bool:
    """Whether every character can be written, also on a terminal: no control character, no half of a surrogate pair."""
    return text.isprintable() or not any(unicodedata.category(one) in UNWRITABLE for one in text)
