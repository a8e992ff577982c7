"""Says CEL's complaints about a text in plain English, with the place and a suggestion."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Final

from service.policy.directory_tables import TAKEN
from service.policy.expressions import other_languages
from service.policy.expressions.flaw import FlawFoundError
from service.policy.expressions.source import PRESENCE, ROOTS
from service.policy.expressions.tree import FUNCTIONS
from service.policy.known_words import FACTS, RELATIONS, REQUEST_FACTS
from service.policy.nearest_word import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_LONGEST = 200
_FIRST = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*?)(?:\n \||\nERROR: | \[[A-Z_]+\]$|$)", re.DOTALL)
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_NO_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '\(([^']*)\)'")
_SELECT = re.compile(r"expression of type '.*' cannot be the operand of a select operation")
_DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\s*\.\s*[A-Za-z_][A-Za-z0-9_]*)+")
_UNEXPECTED = re.compile(
    r"(?:Syntax error: (?:mismatched|extraneous) input '(?P<input>.*?)' expecting|reserved identifier: (?P<word>\w+)"
    r"|Syntax error: no viable alternative at input '\.?(?P<unfit>.*)'$)",
    re.DOTALL,
)
_NOT_CLOSED = re.compile(r"Syntax error: missing '[)\]}]' at|.* expecting '[)\]]'$", re.DOTALL)
_NO_TOKEN = re.compile(r"Syntax error: token recognition error at: '(.*)'$", re.DOTALL)
# An author's words for CEL's names of types.
_TYPES: Final = {
    "google.protobuf.Timestamp": "timestamp", "google.protobuf.Duration": "duration", "list(string)": "list<string>",
    "list(int)": "list<int>", "list(bool)": "list<bool>", "null_type": "null",
}  # fmt: skip
_UNITS: Final = frozenset({"h", "m", "s", "d", "hours", "minutes", "seconds", "days", "hour", "day", "weeks"})
_AFTER_A_NUMBER: Final = re.compile(r"[0-9][hms]?$")
_IN_A_LIST: Final = 'in looks into a list, on its right; for a part of a text write TEXT.contains("x")'
# Remedies for a comparison of true or false with another type, by operator.
_COMPARED_WITH_TRUTH: Final = {
    **dict.fromkeys(("==", "!="), "write NAME or !NAME, without a comparison"),
    **dict.fromkeys(("<", "<=", ">", ">="), other_languages.RANGE),
}
_NOT_WHOLE: Final = "write a value behind its last sign"
_DOT: Final = "write the name with a dot, such as resource.minutes"
# The words of rows that the service supplies, with the column in which they stand.
_OF_ROWS: Final = {
    **dict.fromkeys(chain.from_iterable(RELATIONS.values()), "who"),
    **dict.fromkeys(chain(REQUEST_FACTS, *FACTS.values()), "when"),
}
_WHAT_CAN_BE_WRITTEN: Final = "policies/README.md says under Expressions what can be written"
_ATTRIBUTES: Final = "policies/README.md says under Attributes which there are"
_NO_RESOURCE: Final = "a fact about the sign-in sees no resource: declare it under [kinds.KIND.facts]"
# Where a vocabulary declares the attributes below a prefix, the longest first.
_DECLARED: Final = {
    "resource.owner.teams.": "[directory.teams]",
    "resource.projects.": "[directory.projects]",
    "resource.owner.": "[directory.people]",
    "principal.": "[directory.people]",
}


def explain_complaint(complaint: str, text: str, known: Collection[str]) -> FlawFoundError:
    """The first complaint of CEL about a text. `known`: the names of the attributes."""
    found = _choose_complaint(complaint)
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


def complain_of_comment(place: int) -> FlawFoundError:
    """The complaint about a comment in an expression that is otherwise good."""
    remedy = f"{other_languages.NO_DIVISION}; {other_languages.COMMENT}"
    return FlawFoundError("What stands behind // is a comment, and has no effect", place, remedy)


def mention_comment(found: FlawFoundError) -> FlawFoundError:
    """The flaw of a text with a comment, which may be its cause: an author may have meant a division."""
    hint = f"what stands behind // is a comment: {other_languages.NO_DIVISION}"
    return FlawFoundError(found.message, found.place, f"{found.suggestion}; {hint}" if found.suggestion else hint)


def _choose_complaint(complaint: str) -> re.Match[str] | None:
    """The first complaint, or a later one about a function of another language: `LIST.any(x, ...)` is first complained
    of for its variable."""
    found = list(_FIRST.finditer(complaint))
    for later in found[1:] if found and _UNDECLARED.match(found[0][3]) else []:
        undeclared = _UNDECLARED.match(later[3])
        if undeclared and undeclared[1] in other_languages.OVER_LISTS:
            return later
    return found[0] if found else None


def _explain_syntax(message: str, text: str, place: int) -> FlawFoundError:
    if _NO_TOKEN.match(message) and text[place : place + 1] in {"'", '"'}:
        return FlawFoundError("The string is not closed", place)
    found = _UNEXPECTED.match(message) or _NO_TOKEN.match(message)
    word = next((part for part in found.groups() if part), "").strip() if found else ""
    if word in {"", "<EOF>"} and _NOT_CLOSED.match(message):
        return FlawFoundError("A bracket is not closed", place)
    if found is None:
        return FlawFoundError(f"This is not CEL: {_shorten(message)}", place)
    if word == "<EOF>":
        remedy = other_languages.CHOICE if message.endswith("expecting ':'") else _NOT_WHOLE
        remedy = other_languages.OPERATORS["?."] if "?." in text else remedy
        return FlawFoundError("The expression ends too early", place, remedy)
    before = text[:place].rstrip()
    if re.search(r"(^|[^\w.])not$", before):
        return FlawFoundError("'not' was not expected here", len(before) - len("not"), other_languages.OPERATORS["not"])
    suggestion = _suggest_instead(word, text[:place], text[place + len(word) :])
    return FlawFoundError(f"'{_shorten(word)}' was not expected here", place, suggestion)


def _suggest_instead(word: str, before: str, after: str) -> str:
    if _AFTER_A_NUMBER.search(before.rstrip()):
        if word in _UNITS:
            return 'write a duration, such as duration("48h"), or minutes as a number'
        if word[0] == "_" or (word == "," and after[:1].isdigit()):
            return "write a number without separators: 2400"
    return other_languages.suggest_sign(word, before, after) or _WHAT_CAN_BE_WRITTEN


def _explain_name(name: str, text: str, place: int, known: Collection[str]) -> FlawFoundError:
    name = name.removeprefix(PRESENCE)
    root, _, rest = name.partition(".")
    start = text.rfind(root, 0, place + len(root))
    place = place if start < 0 else start
    after = text[place + len(name) :].lstrip()
    if root in ROOTS:
        if not rest:
            remedy = _DOT if after.startswith("[") else f"name an attribute: {_few(name, known)}"
            return FlawFoundError(f"'{name}' alone is not a value", place, remedy)
        return FlawFoundError(f"There is no attribute '{_shorten(name)}' here", place, _suggest_attribute(name, known))
    if after.startswith("("):
        suggestion = other_languages.suggest_function(name, FUNCTIONS)
        return FlawFoundError(f"{_shorten(name)}() cannot be used here", place, suggestion)
    suggestion = _find_column(name) or other_languages.suggest_name(name, known, alone=not after.startswith("."))
    if text[:place].rstrip().endswith("--"):
        suggestion = other_languages.OPERATORS["--"]
    return FlawFoundError(f"There is no attribute '{_shorten(name)}' here", place, suggestion)


def _find_column(name: str) -> str | None:
    """The column of rows for a word that stands there and not in expressions."""
    word = name.rpartition(".")[2]
    return f"name {word} under '{_OF_ROWS[word]}' in the row of the rule" if word in _OF_ROWS else None


def _suggest_attribute(name: str, known: Collection[str]) -> str:
    if instead := _suggest_elsewhere(name, known):
        return instead
    close = nearest(name, known)
    if (close is None or not close.startswith("did")) and (column := _find_column(name)):
        return column
    prefix = next((prefix for prefix in _DECLARED if name.startswith(prefix)), None)
    word = name.rpartition(".")[2]
    if prefix is None or word in TAKEN or not any(f"{other}.".startswith(prefix) for other in known):
        return close or _ATTRIBUTES
    declare = f"declare {word} under {_DECLARED[prefix]}"
    return f"{close} Or {declare}" if close and close.startswith("did") else declare


def _suggest_elsewhere(name: str, known: Collection[str]) -> str | None:
    """The remedy for a name that no near attribute replaces."""
    owner, _, last = name.rpartition(".")
    if name == "resource.state":
        return "name states in the row of the rule"
    if owner in known and (instead := other_languages.FUNCTIONS.get(last)):
        return instead.replace("(X)", f"({owner})")
    if owner == "context":
        return other_languages.NAMES.get(last) or other_languages.PARTS_OF_TIME.get(last)
    has_resource = any(other.startswith("resource.") for other in known)
    return None if has_resource or not name.startswith("resource.") else _NO_RESOURCE


def _explain_types(function: str, types: str, place: int) -> FlawFoundError:
    kinds = [_TYPES.get(kind, kind) for kind in types.split(", ")]
    operator = function.strip("_").replace("_", "") if function != "@in" else "in"
    message = f"{operator} does not take {' and '.join(kinds)}"
    return FlawFoundError(_shorten(message), place, _suggest_types(operator, kinds))


def _suggest_types(operator: str, kinds: Sequence[str]) -> str:
    if "null" in kinds:
        return "has(NAME) says whether an attribute has a value"
    if "double" in kinds or "uint" in kinds:
        return "write 40, not 40.0"
    if operator == "!":
        return "write !(X > 3) for a comparison, !has(NAME) for a missing value"
    if operator in {"&&", "||"}:
        return 'each side must be true or false: compare the value, such as X == "DE" || X == "AT"'
    if any(kind.startswith("list") for kind in kinds):
        both = operator == "in" and kinds[0].startswith("list")
        return (
            other_languages.OVER_A_LIST
            if both
            else "write X in LIST, size(LIST), LIST.exists(x, ...) or LIST.all(x, ...)"
        )
    return _IN_A_LIST if operator == "in" else _suggest_operands(operator, set(kinds))


def _suggest_operands(operator: str, kinds: Collection[str]) -> str:
    """The suggestion for two operands of different types, none of them a list."""
    if "duration" in kinds or ("timestamp" in kinds and operator in {"+", "-"}):
        return other_languages.DURATION
    if "timestamp" in kinds and kinds != {"timestamp"}:
        return other_languages.TIMESTAMP
    if "bool" in kinds and operator in _COMPARED_WITH_TRUTH:
        return _COMPARED_WITH_TRUTH[operator]
    if kinds == {"int", "string"}:
        return "write numbers without quotes and texts with quotes"
    return "both sides must be of one type"


def _few(root: str, known: Collection[str]) -> str:
    names = sorted(name for name in known if name.startswith(f"{root}."))
    return ", ".join(names[:3])


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
