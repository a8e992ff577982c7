"""Remedies for operators, functions and names of other languages: Python, SQL, Rego, JavaScript."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from service.policy.nearest_word import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_IN_A_LIST: Final = 'write "X" in LIST'
OVER_A_LIST: Final = 'write LIST.exists(x, x == "A") or LIST.all(x, x == "A")'
_PART_OF_A_TEXT: Final = 'write TEXT.startsWith("x"), TEXT.endsWith("x") or TEXT.contains("x")'
_PRESENT: Final = "has(NAME) says whether an attribute has a value"
CHOICE: Final = "write CONDITION ? A : B"
RANGE: Final = "write X >= 1 && X <= 3"
DURATION: Final = 'write duration("48h")'
TIMESTAMP: Final = 'write timestamp("2026-01-31T00:00:00Z")'
_SPELLINGS: Final = 'texts are compared as they are: write each spelling, such as X in ["DE", "de"]'
_NO_HOURS: Final = (
    "parts of a time cannot be asked for: compare context.now with a timestamp, or context.weekday with a day"
)
_STRAIGHT_QUOTES: Final = 'write a text in straight quotes: "DE"'
_ONE_TYPE: Final = "there are no conversions: compare values of one type"
_IN_QUOTES: Final = "put a text in quotes"
COMMENT: Final = "write comments as lines of vocabulary.toml that start with #"
NO_DIVISION: Final = "instead of a division, multiply the other side of the comparison"
_ONE_CONDITION: Final = "an expression is one condition: join its parts by &&"
_NO_BRACES: Final = "write the name alone: principal.country"
_LIST: Final = 'write a list in brackets: ["DE", "AT"]'

# Words and signs that CEL does not expect.
OPERATORS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("and", "AND", "&"), "write &&"),
    **dict.fromkeys(("or", "OR", "|"), "write ||"),
    **dict.fromkeys(("not", "NOT"), "write !"),
    **dict.fromkeys(("=", "is", "===", "eq", "equals"), "write =="),
    **dict.fromkeys(("<>", "ne"), "write !="),
    **dict.fromkeys(("IN", "In"), "write in"),
    **dict.fromkeys(("not_in", "notin"), "write !(X in LIST)"),
    **dict.fromkeys(("like", "LIKE", "matches", "=~", "~"), _PART_OF_A_TEXT),
    **dict.fromkeys(("between", "BETWEEN"), RANGE),
    **dict.fromkeys(("if", "then", "else"), CHOICE),
    **dict.fromkeys(("for", "some", "every", "lambda"), OVER_A_LIST),
    **dict.fromkeys(("#", "/*", "--"), COMMENT),
    **dict.fromkeys("\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}\N{DOUBLE LOW-9 QUOTATION MARK}"
                    "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}", _STRAIGHT_QUOTES),
    **dict.fromkeys(("&&", "||"), "write a condition on each side"),
    "in": "write X in LIST", "when": "write && between conditions", "=!": "write !=",
    "=>": "write >=", "=<": "write <=", ":=": "write ==", "->": OVER_A_LIST, ":": _IN_QUOTES, ";": _ONE_CONDITION,
    "??": 'write has(X) ? X : "DE"', "?.": f"write principal.country; {_PRESENT}", "$": _NO_BRACES, "}}": _NO_BRACES,
    "**": "write a product by a constant: X * 2", ")": "leave it out, or open the bracket",
    ",": f"leave it out: {_ONE_CONDITION}", "return": "write the condition alone",
    "contains": f'{_IN_A_LIST}, or TEXT.contains("x")', "startsWith": 'write TEXT.startsWith("x")',
    "endsWith": 'write TEXT.endsWith("x")',
}  # fmt: skip
# Behind `&&`, for a comparison whose left side was left out.
_COMPARISON: Final = re.compile(r"[<>]=?|[=!]=")
_LIST_IN_OTHER_BRACKETS: Final = re.compile(r"\bin\s*[({][^(){}]*$")
_ARGUMENT: Final = re.compile(r"\(\s*\w+\s*$")
_BEFORE_A_VARIABLE: Final = re.compile(r"(^|[^\w.])(some|every|lambda)\s+$")
_CALL: Final = re.compile(r"(\w+)\s*\([^()]*$")
_NO_VALUE: Final = re.compile(r"\s*(not\s+)?(null|nil|none|undefined)\b", re.IGNORECASE)

OVER_LISTS: Final = frozenset({"any", "some", "every", "filter", "map", "exists_one", "find"})
PARTS_OF_TIME: Final = dict.fromkeys(
    ("getHours", "getMinutes", "getSeconds", "getDayOfWeek", "getDayOfMonth", "getDayOfYear", "getMonth", "getDate",
     "getFullYear", "hour", "day", "month", "year"), _NO_HOURS,
)  # fmt: skip
# Functions by their names, and as attributes of a value.
FUNCTIONS: Final[Mapping[str, str]] = {
    "startsWith": 'write TEXT.startsWith("x")',
    "endsWith": 'write TEXT.endsWith("x")',
    "contains": 'write TEXT.contains("x"), or "X" in LIST',
    "exists": f"{OVER_A_LIST}; {_PRESENT}",
    "all": OVER_A_LIST,
    "has": "write has(resource.submitted_at)",
    **dict.fromkeys(("size", "len", "length", "count"), "write size(X)"),
    **dict.fromkeys(("isEmpty", "is_empty", "empty"), "write size(X) == 0"),
    **dict.fromkeys(("equals", "eq"), "write =="),
    **dict.fromkeys(("not", "NOT"), "write !"),
    **dict.fromkeys(("and", "or"), "write && or || between conditions"),
    **dict.fromkeys(("includes", "has_role", "hasRole", "hasAny", "is_in"), _IN_A_LIST),
    **dict.fromkeys(OVER_LISTS, OVER_A_LIST),
    **dict.fromkeys(("lower", "upper", "lowerAscii", "upperAscii", "toLowerCase", "toUpperCase"), _SPELLINGS),
    **dict.fromkeys(("defined", "isset", "exist", "is_null", "isNull", "coalesce"), _PRESENT),
    **dict.fromkeys(("now", "today", "utcnow"), "write context.now"),
    **dict.fromkeys(("date", "datetime", "time"), TIMESTAMP),
    **dict.fromkeys(("duration", "timedelta", "interval", "days", "hours", "minutes"), DURATION),
    "timestamp": TIMESTAMP,
    **dict.fromkeys(("abs", "min", "max", "sum", "round", "floor", "ceil"), "compare each value by itself"),
    **dict.fromkeys(("regex", "match", "like", "search"), _PART_OF_A_TEXT),
    **PARTS_OF_TIME,
    **dict.fromkeys(("str", "string", "int", "double", "bool", "uint"), _ONE_TYPE),
}  # fmt: skip
# Names of values that are not attributes.
NAMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("True", "TRUE"), "write true"),
    **dict.fromkeys(("False", "FALSE"), "write false"),
    **dict.fromkeys(("None", "nil", "NULL", "Null", "undefined"), _PRESENT),
    **dict.fromkeys(("now", "time", "today"), "write context.now"),
    "_": OVER_A_LIST,
}
# The roots of names in other languages.
_ROOTS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("user", "subject", "sub", "caller", "identity", "principals", "actor", "me"), "principal"),
    **dict.fromkeys(("timesheet", "sheet", "object", "obj", "week", "target"), "resource"),
    **dict.fromkeys(("request", "env", "environment", "ctx"), "context"),
}
_NAMES_BEGIN: Final = "names begin with principal, resource or context"
_IN_ROWS: Final = f"{_IN_QUOTES}; facts and relations stand in rows of policy.csv"


def suggest_sign(word: str, before: str, after: str) -> str | None:
    """The remedy for a word or sign that was not expected between these texts."""
    if word in {"not", "NOT", "!"} and re.match(r"\s*in\b", after, re.IGNORECASE):
        return OPERATORS["not_in"]
    if word == "is" and _NO_VALUE.match(after):
        return _PRESENT
    if _COMPARISON.fullmatch(word) and before.rstrip().endswith(("&&", "||")):
        return f"name the value again: {RANGE.removeprefix('write ')}"
    if word == "," and _LIST_IN_OTHER_BRACKETS.search(before):
        return _LIST
    if (word == "=>" and _ARGUMENT.search(before)) or _BEFORE_A_VARIABLE.search(before):
        return OVER_A_LIST
    signs = (before[-1:] + word, word + after[:1], word)
    call = _CALL.search(before)
    return next((OPERATORS[sign] for sign in signs if sign in OPERATORS), FUNCTIONS.get(call[1]) if call else None)


def suggest_function(name: str, known: Collection[str]) -> str | None:
    """The remedy for a call. `known`: the names of the functions that there are."""
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    close = nearest(name, known)
    meant = next((word for word in known if close == f"did you mean '{word}'?"), None)
    return FUNCTIONS[meant] if meant else close


def suggest_name(name: str, known: Collection[str], *, alone: bool) -> str:
    """The remedy for a name that begins with none of the known roots. `known`: the names of attributes.
    `alone`: no dot follows."""
    root, _, rest = name.partition(".")
    if rest or not alone:
        meant = (rest, f"{_ROOTS.get(root)}.{rest}", f"resource.{name}")
        found = next((attribute for attribute in meant if attribute in known), None)
        instead = NAMES.get(root) or NAMES.get(rest) or nearest(name, known) or _NAMES_BEGIN
        return f"did you mean '{found}'?" if found else instead
    in_quotes = _IN_ROWS if name.islower() else _IN_QUOTES
    return NAMES.get(name) or OPERATORS.get(name) or nearest(name, known) or in_quotes
