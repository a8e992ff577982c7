"""Suggests a known word for an unknown one, and names letters that only look like those of known words. Pure."""

from __future__ import annotations

import unicodedata
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

FEW = 12
# The time to find the nearest word grows with both.
LONGEST_GUESSED, MAX_KNOWN = 100, 1_000


def nearest(word: str, known: Collection[str]) -> str | None:
    """A suggestion for an unknown word: the nearest known word, or all known words if there are few. Dotted words are
    compared behind what they share, so that `resource.reason` is not near `resource.days`."""
    if len(word) > LONGEST_GUESSED or len(known) > MAX_KNOWN:
        return None
    shared = word
    while shared := shared.rpartition(".")[0]:
        inside = [name for name in known if name.startswith(f"{shared}.")]
        if inside:
            known, shared = inside, f"{shared}."
            break
    names = {name.removeprefix(shared): name for name in sorted(known)}
    close = get_close_matches(word.removeprefix(shared).lower(), list(names), n=1, cutoff=0.6)
    if close:
        return f"did you mean '{names[close[0]]}'?"
    return f"known: {', '.join(sorted(known))}" if 0 < len(known) <= FEW else None


def explain_unknown(word: str, what: str) -> str:
    """The complaint about an unknown word."""
    return f"'{word}' is not a known {what}{describe_foreign_letter(word)}"


def describe_foreign_letter(word: str) -> str:
    """The addition to a complaint that names the first character of a word that no known word has, such as a Cyrillic
    letter that looks like a Latin one. Empty if there is none."""
    foreign = next((character for character in word if not character.isascii()), None)
    if foreign is None:
        return ""
    name = unicodedata.name(foreign, "")
    return f", it has the character U+{ord(foreign):04X}" + (f" ({name})" if name else "")
