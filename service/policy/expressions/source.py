"""Prepares the text of an expression for CEL: bounds it, and replaces `has(NAME)`.

CEL's checker knows attributes as variables with dotted names, and takes `has(resource.minutes)` for the value of that
variable. So `has(resource.minutes)` becomes `has_resource.minutes`, a variable of its own, with spaces to keep every
place in the text.
"""

from __future__ import annotations

import re
from typing import Final

from service.policy.expressions.flaw import FlawFoundError

MAX_EXPRESSION_CHARACTERS: Final = 1_000
PRESENCE: Final = "has_"
ROOTS: Final = frozenset({"principal", "resource", "context"})
_TOKEN = re.compile(
    r"""
    (?P<comment>//[^\n]*)
    | (?P<string>[rRbB]{0,2}(?:\"\"\"|'''|"|'))
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<quote>`)
    """,
    re.VERBOSE,
)
_HAS = re.compile(r"has\s*\(\s*(?P<name>[a-z]+(?:\.[A-Za-z_][A-Za-z0-9_]*)+)\s*\)")


def prepare(text: str) -> str:
    """The text with `has(NAME)` replaced. Raises FlawFoundError for a text that must not reach the parser."""
    if len(text) > MAX_EXPRESSION_CHARACTERS:
        raise FlawFoundError(
            f"The expression has more than {MAX_EXPRESSION_CHARACTERS} characters", 0, "split it into several facts"
        )
    if not text.strip():
        raise FlawFoundError("The expression is empty", 0)
    for place, character in enumerate(text):
        if not (character.isprintable() or character in "\n\t"):
            raise FlawFoundError(f"The expression contains the character U+{ord(character):04X}", place)
    return _replace_presence(text)


def find_comment(text: str) -> int | None:
    """The offset of the first comment, which CEL starts with //. None without one."""
    place = 0
    while found := _TOKEN.search(text, place):
        if found["comment"]:
            return found.start()
        place = _find_string_end(text, found[0], found.end()) if found["string"] else found.end()
    return None


def _replace_presence(text: str) -> str:
    prepared, place = [], 0
    while found := _TOKEN.search(text, place):
        prepared.append(text[place : found.start()])
        place = found.end()
        piece = found[0]
        if found["string"]:
            place = _find_string_end(text, piece, place)
            piece = text[found.start() : place]
        elif found["quote"]:
            raise FlawFoundError("A name cannot be quoted with `", found.start(), "put a text in quotes")
        elif piece.startswith(PRESENCE):
            raise FlawFoundError(f"There is no attribute '{piece}'", found.start(), 'write has(NAME), or "X" in LIST')
        elif piece == "has":
            call = _HAS.match(text, found.start())
            if call is None:
                raise FlawFoundError(
                    "has() takes the name of an attribute", found.start(), "write has(resource.submitted_at)"
                )
            piece, place = f"{PRESENCE}{call['name']}".ljust(len(call[0])), call.end()
        prepared.append(piece)
    return "".join(prepared) + text[place:]


def _find_string_end(text: str, opening: str, place: int) -> int:
    """The offset behind a string constant, or the end of the text if it is not closed."""
    quote = opening.lstrip("rRbB")
    raw = "r" in opening.lower()
    while place < len(text) and not text.startswith(quote, place):
        place += 2 if text[place] == "\\" and not raw else 1
    return min(place + len(quote), len(text))
