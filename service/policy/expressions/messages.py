"""Says CEL's complaints about a text in plain English, with the place and a suggestion."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from service.policy.expressions.flaw import FlawFoundError
from service.policy.expressions.source import PRESENCE, ROOTS
from service.policy.expressions.tree import FUNCTIONS
from service.policy.nearest_word import nearest

if TYPE_CHECKING:
    from collections.abc import Collection

_LONGEST = 200
_FIRST = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*?)(?:\n \||\nERROR: | \[[A-Z_]+\]$|$)", re.DOTALL)
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_NO_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '\(([^']*)\)'")
_SELECT = re.compile(r"expression of type '.*' cannot be the operand of a select operation")
_DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\s*\.\s*[A-Za-z_][A-Za-z0-9_]*)+")
_UNEXPECTED = re.compile(r"Syntax error: (?:mismatched|extraneous) input '(.*?)' expecting", re.DOTALL)
_NO_TOKEN = re.compile(r"Syntax error: token recognition error at: '(.*)'$", re.DOTALL)
# Operators of other languages.
_ELSEWHERE: Final = {
    "and": "write &&", "or": "write ||", "not": "write !", "=": "write ==", "is": "write ==", "&": "write &&",
    "|": "write ||", "<>": "write !=", "AND": "write &&", "OR": "write ||", "NOT": "write !",
}  # fmt: skip


def explain_complaint(complaint: str, text: str, known: Collection[str]) -> FlawFoundError:
    """The first complaint of CEL about a text. `known`: the names of the attributes."""
    found = _FIRST.search(complaint)
    if found is None or int(found[1]) < 1:
        if "recursion" in complaint:
            return FlawFoundError("The expression is nested too deeply", 0, "split it into several facts")
        return FlawFoundError(f"This is not CEL: {_shorten(complaint)}", 0)
    lines = text.split("\n")
    before = lines[: int(found[1]) - 1]
    place = min(sum(len(line) + 1 for line in before) + int(found[2]) - 1, len(text))
    message = found[3].strip()
    if undeclared := _UNDECLARED.match(message):
        return _explain_name(undeclared[1], text, place, known)
    if _SELECT.match(message):
        around = next((name for name in _DOTTED.finditer(text) if name.start() <= place < name.end()), None)
        if around is not None:
            return _explain_name(around[0], text, place, known)
    if overload := _NO_OVERLOAD.match(message):
        return _explain_types(overload[1], overload[2], place)
    return _explain_syntax(message, text, place)


def _explain_syntax(message: str, text: str, place: int) -> FlawFoundError:
    if _NO_TOKEN.match(message) and text[place : place + 1] in {"'", '"'}:
        return FlawFoundError("The string is not closed", place)
    unexpected = _UNEXPECTED.match(message) or _NO_TOKEN.match(message)
    if unexpected is None:
        return FlawFoundError(f"This is not CEL: {_shorten(message)}", place)
    word = unexpected[1].strip()
    if word == "<EOF>":
        return FlawFoundError("The expression ends too early", place)
    return FlawFoundError(f"'{_shorten(word)}' was not expected here", place, _ELSEWHERE.get(word))


def _explain_name(name: str, text: str, place: int, known: Collection[str]) -> FlawFoundError:
    name = name.removeprefix(PRESENCE)
    root, _, rest = name.partition(".")
    start = text.rfind(root, 0, place + len(root))
    place = place if start < 0 else start
    if root in ROOTS:
        if not rest:
            return FlawFoundError(f"'{name}' alone is not a value", place, f"name an attribute: {_few(name, known)}")
        return FlawFoundError(f"There is no attribute '{_shorten(name)}' here", place, nearest(name, known))
    if text[place + len(name) :].lstrip().startswith("("):
        return FlawFoundError(f"{_shorten(name)}() cannot be used here", place, nearest(name, FUNCTIONS))
    suggestion = _ELSEWHERE.get(name) or nearest(name, known) or "put a text in quotes"
    return FlawFoundError(f"There is no attribute '{_shorten(name)}' here", place, suggestion)


def _explain_types(function: str, types: str, place: int) -> FlawFoundError:
    kinds = types.split(", ")
    operator = function.strip("_").replace("_", "") if function != "@in" else "in"
    suggestion = "write 40, not 40.0" if "double" in kinds or "uint" in kinds else None
    if function in {"_&&_", "_||_", "!_"}:
        suggestion = suggestion or "each side must be true or false: compare the value with something"
    message = f"{operator} does not take {' and '.join(kinds)}"
    return FlawFoundError(_shorten(message), place, suggestion)


def _few(root: str, known: Collection[str]) -> str:
    names = sorted(name for name in known if name.startswith(f"{root}."))
    return ", ".join(names[:3])


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
