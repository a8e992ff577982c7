"""Says CEL's complaints about a text in plain English, with the place and a suggestion."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from service.policy.directory_tables import TAKEN
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
    "|": "write ||", "<>": "write !=", "AND": "write &&", "OR": "write ||", "NOT": "write !", "===": "write ==",
    "contains": 'write "X" in LIST, or TEXT.contains("x")', "startsWith": 'write TEXT.startsWith("x")',
    "endsWith": 'write TEXT.endsWith("x")', "not_in": "write !(X in LIST)", ":": "put a text in quotes",
}  # fmt: skip
# An author's words for CEL's names of types.
_TYPES: Final = {
    "google.protobuf.Timestamp": "timestamp", "google.protobuf.Duration": "duration", "list(string)": "list<string>",
    "list(int)": "list<int>", "list(bool)": "list<bool>", "null_type": "null",
}  # fmt: skip
_AFTER_A_NUMBER: Final = re.compile(r"[0-9][hms]?$")
_IN_A_LIST: Final = 'in looks into a list, on its right; for a part of a text write TEXT.contains("x")'
_WHAT_CAN_BE_WRITTEN: Final = "policies/README.md says under Expressions what can be written"
# Where a vocabulary declares the attributes below a prefix, the longest first.
_DECLARED: Final = {
    "resource.owner.teams.": "[directory.teams]",
    "resource.projects.": "[directory.projects]",
    "resource.owner.": "[directory.people]",
    "principal.": "[directory.people]",
}


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
        return FlawFoundError("The expression ends too early", place, _WHAT_CAN_BE_WRITTEN)
    before = text[:place].rstrip()
    if re.search(r"(^|[^\w.])not$", before):
        return FlawFoundError("'not' was not expected here", len(before) - len("not"), _ELSEWHERE["not"])
    return FlawFoundError(f"'{_shorten(word)}' was not expected here", place, _suggest_instead(word, text[:place]))


def _suggest_instead(word: str, before: str) -> str:
    if _AFTER_A_NUMBER.search(before):
        if word in {"h", "m", "s", "d"}:
            return 'write a duration, such as duration("48h"), or minutes as a number'
        if word[0] in {",", "_"}:
            return "write a number without separators: 2400"
    return _ELSEWHERE.get(word, _WHAT_CAN_BE_WRITTEN)


def _explain_name(name: str, text: str, place: int, known: Collection[str]) -> FlawFoundError:
    name = name.removeprefix(PRESENCE)
    root, _, rest = name.partition(".")
    start = text.rfind(root, 0, place + len(root))
    place = place if start < 0 else start
    if root in ROOTS:
        if not rest:
            return FlawFoundError(f"'{name}' alone is not a value", place, f"name an attribute: {_few(name, known)}")
        return FlawFoundError(f"There is no attribute '{_shorten(name)}' here", place, _suggest_attribute(name, known))
    if text[place + len(name) :].lstrip().startswith("("):
        return FlawFoundError(f"{_shorten(name)}() cannot be used here", place, nearest(name, FUNCTIONS))
    suggestion = _ELSEWHERE.get(name) or nearest(name, known) or "put a text in quotes"
    return FlawFoundError(f"There is no attribute '{_shorten(name)}' here", place, suggestion)


def _suggest_attribute(name: str, known: Collection[str]) -> str:
    if name == "resource.state":
        return "name states in the row of the rule"
    close = nearest(name, known)
    prefix = next((prefix for prefix in _DECLARED if name.startswith(prefix)), None)
    word = name.rpartition(".")[2]
    if prefix is None or word in TAKEN or not any(f"{other}.".startswith(prefix) for other in known):
        return close or _WHAT_CAN_BE_WRITTEN
    declare = f"declare {word} under {_DECLARED[prefix]}"
    return f"{close} Or {declare}" if close and close.startswith("did") else declare


def _explain_types(function: str, types: str, place: int) -> FlawFoundError:
    kinds = [_TYPES.get(kind, kind) for kind in types.split(", ")]
    operator = function.strip("_").replace("_", "") if function != "@in" else "in"
    message = f"{operator} does not take {' and '.join(kinds)}"
    return FlawFoundError(_shorten(message), place, _suggest_types(operator, kinds))


def _suggest_types(operator: str, kinds: Collection[str]) -> str:
    if "null" in kinds:
        return "has(NAME) says whether an attribute has a value"
    if "double" in kinds or "uint" in kinds:
        return "write 40, not 40.0"
    if operator in {"&&", "||", "!"}:
        return "each side must be true or false: compare the value with something"
    if "timestamp" in kinds and "string" in kinds:
        return 'write timestamp("2026-01-31T00:00:00Z")'
    if any(kind.startswith("list") for kind in kinds):
        return "write X in LIST, size(LIST), LIST.exists(x, ...) or LIST.all(x, ...)"
    return _IN_A_LIST if operator == "in" else "both sides must be of one type"


def _few(root: str, known: Collection[str]) -> str:
    names = sorted(name for name in known if name.startswith(f"{root}."))
    return ", ".join(names[:3])


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
