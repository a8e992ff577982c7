"""Random expressions of the subset, with random values of their attributes, some of them missing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from hypothesis import strategies as st

from service.policy.attributes import EARLIEST, LATEST, MAX_INT, Attribute, AttributeType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.policy.attributes import Value

TYPES = {
    "resource.minutes": AttributeType.INT,
    "resource.owner.level": AttributeType.INT,
    "resource.owner.country": AttributeType.STRING,
    "principal.country": AttributeType.STRING,
    "principal.remote": AttributeType.BOOL,
    "resource.owner.remote": AttributeType.BOOL,
    "resource.submitted_at": AttributeType.TIMESTAMP,
    "context.now": AttributeType.TIMESTAMP,
    "resource.projects": AttributeType.STRINGS,
    "resource.projects.customer": AttributeType.STRINGS,
    "principal.groups": AttributeType.STRINGS,
    "resource.owner.teams.level": AttributeType.INTS,
    "resource.owner.teams.remote": AttributeType.BOOLS,
}
KNOWN = {name: Attribute(kind, "of a test") for name, kind in TYPES.items()}
# Some of these have a meaning in SQL or in a template of it.
WORDS = [
    "",
    "a",
    "A",
    "ab",
    "b",
    "ä",
    "\N{GRINNING FACE}",
    "\uffff",
    "a'b",
    'a"b',
    "\\",
    "%s",
    "{0}",
    "$1",
    ":client",
    "\n",
]
NUMBERS = [0, 1, 2, -1, 40, 2_400]
Values: TypeAlias = "dict[str, Value]"
DAY = datetime(2026, 3, 2, 12, tzinfo=UTC)
TIMES = [DAY, DAY + timedelta(microseconds=1), DAY - timedelta(hours=48), EARLIEST, LATEST - timedelta(microseconds=1)]
DURATIONS = ["0s", "1us", "48h", "-1h30m", "1.5s", "876000h"]
COMPARISONS = ["==", "!=", "<", "<=", ">", ">="]
_VALUES: Mapping[AttributeType, st.SearchStrategy[Value]] = {
    AttributeType.INT: st.sampled_from([*NUMBERS, 41, MAX_INT, -MAX_INT]),
    AttributeType.STRING: st.sampled_from([*WORDS, "ba", "aab"]),
    AttributeType.BOOL: st.booleans(),
    AttributeType.TIMESTAMP: st.sampled_from(TIMES),
    AttributeType.STRINGS: st.lists(st.sampled_from(WORDS), max_size=3, unique=True).map(tuple),
    AttributeType.INTS: st.lists(st.sampled_from(NUMBERS), max_size=3, unique=True).map(tuple),
    AttributeType.BOOLS: st.lists(st.booleans(), max_size=2, unique=True).map(tuple),
}
values: st.SearchStrategy[Values] = st.fixed_dictionaries(
    {}, optional={name: _VALUES[kind] for name, kind in TYPES.items()}
)


def expressions(depth: int = 4) -> st.SearchStrategy[str]:
    """Texts of type bool. A few are refused, because a sum in them could become too large."""
    # The parts are made when the first text is drawn, not in every process that collects the tests.
    return st.deferred(lambda: _truths(depth, {}))


def _names(kind: AttributeType, variables: Mapping[str, AttributeType]) -> list[str]:
    return [name for name, found in {**TYPES, **variables}.items() if found is kind]


def _pick(kind: AttributeType, variables: Mapping[str, AttributeType]) -> st.SearchStrategy[str]:
    # A variable that is in reach is what the condition is about.
    own = [name for name, found in variables.items() if found is kind]
    return st.sampled_from([*_names(kind, variables), *own * 4])


def _write_text(word: str) -> str:
    return json.dumps(word, ensure_ascii=False).replace("\uffff", "\\uffff")


def _write_time(time: datetime) -> str:
    return f'timestamp("{time.isoformat().replace("+00:00", "Z")}")'


def _write_list(items: list[str]) -> str:
    return f"[{', '.join(items)}]"


def _binary(
    left: st.SearchStrategy[str], operators: list[str], right: st.SearchStrategy[str]
) -> st.SearchStrategy[str]:
    return st.builds("({} {} {})".format, left, st.sampled_from(operators), right)


def _choice(depth: int, variables: Mapping[str, AttributeType], of: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds("({} ? {} : {})".format, _truths(depth - 1, variables), of, of)


def _numbers(depth: int, variables: Mapping[str, AttributeType]) -> st.SearchStrategy[str]:
    leaf = st.one_of(_pick(AttributeType.INT, variables), st.sampled_from(NUMBERS).map(str))
    if depth <= 0:
        return leaf
    inner = st.deferred(lambda: _numbers(depth - 1, variables))
    lists = st.sampled_from(_names(AttributeType.STRINGS, {}) + _names(AttributeType.INTS, {}))
    return st.one_of(
        leaf,
        leaf,
        _binary(inner, ["+", "-"], inner),
        _binary(inner, ["*"], st.sampled_from(["2", "-3", "0", "60"])),
        inner.map("-({})".format),
        st.one_of(lists, _texts(0, variables)).map("size({})".format),
        lists.map("{}.size()".format),
        _choice(depth, variables, inner),
    )


def _texts(depth: int, variables: Mapping[str, AttributeType]) -> st.SearchStrategy[str]:
    leaf = st.one_of(_pick(AttributeType.STRING, variables), st.sampled_from(WORDS).map(_write_text))
    if depth <= 0:
        return leaf
    inner = st.deferred(lambda: _texts(depth - 1, variables))
    return st.one_of(leaf, leaf, _binary(inner, ["+"], inner), _choice(depth, variables, inner))


def _durations(depth: int, variables: Mapping[str, AttributeType]) -> st.SearchStrategy[str]:
    fixed = st.sampled_from(DURATIONS).map('duration("{}")'.format)
    if depth <= 0:
        return fixed
    inner = st.deferred(lambda: _durations(depth - 1, variables))
    times = _times(0, variables)
    return st.one_of(fixed, _binary(times, ["-"], times), _binary(inner, ["+", "-"], inner))


def _times(depth: int, variables: Mapping[str, AttributeType]) -> st.SearchStrategy[str]:
    leaf = st.one_of(_pick(AttributeType.TIMESTAMP, variables), st.sampled_from(TIMES).map(_write_time))
    if depth <= 0:
        return leaf
    inner = st.deferred(lambda: _times(depth - 1, variables))
    return st.one_of(leaf, _binary(inner, ["+", "-"], _durations(0, variables)), _choice(depth, variables, inner))


def _members(depth: int, variables: Mapping[str, AttributeType]) -> st.SearchStrategy[str]:
    """An element in a list, and an attribute in a list of constants."""
    text, number = _texts(1, {}), _numbers(1, {})
    truth = st.one_of(st.sampled_from(_names(AttributeType.BOOL, {})), st.deferred(lambda: _truths(depth - 2, {})))
    texts, numbers = st.sampled_from(WORDS).map(_write_text), st.sampled_from(NUMBERS).map(str)
    pairs = [(AttributeType.STRINGS, text, texts), (AttributeType.INTS, number, numbers)]
    found = [_binary(truth, ["in"], st.sampled_from(_names(AttributeType.BOOLS, {})))]
    for lists, item, constant in pairs:
        element = AttributeType.STRING if lists is AttributeType.STRINGS else AttributeType.INT
        items = st.one_of(item, _pick(element, variables))
        listed = st.lists(constant, min_size=1, max_size=3).map(_write_list)
        found.append(_binary(items, ["in"], st.one_of(listed, st.sampled_from(_names(lists, {})))))
    return st.one_of(found)


def _quantifiers(depth: int) -> st.SearchStrategy[str]:
    def over(lists: AttributeType, element: AttributeType) -> st.SearchStrategy[str]:
        condition = _truths(depth - 1, {"x": element})
        names = st.sampled_from(_names(lists, {}))
        return st.builds("{}.{}(x, {})".format, names, st.sampled_from(["exists", "all"]), condition)

    return st.one_of(
        over(AttributeType.STRINGS, AttributeType.STRING),
        over(AttributeType.INTS, AttributeType.INT),
        over(AttributeType.BOOLS, AttributeType.BOOL),
    )


def _truths(depth: int, variables: Mapping[str, AttributeType]) -> st.SearchStrategy[str]:
    leaf = st.one_of(_pick(AttributeType.BOOL, variables), st.sampled_from(["true", "false"]))
    presence = st.sampled_from(sorted(TYPES)).map("has({})".format)
    if depth <= 0:
        return st.one_of(leaf, presence)
    inner = st.deferred(lambda: _truths(depth - 1, variables))
    text = _texts(depth - 2, variables)
    tests = st.builds("{}.{}({})".format, text, st.sampled_from(["startsWith", "endsWith", "contains"]), text)
    compared = [_numbers(depth - 1, variables), text, _times(depth - 2, variables), _durations(depth - 1, variables)]
    found = [_binary(operand, COMPARISONS, operand) for operand in compared]
    found += [presence, tests, _members(depth, variables), _binary(leaf, ["==", "!="], leaf)]
    found += [_binary(inner, ["&&", "||"], inner)] * 3 + [inner.map("!({})".format), _choice(depth, variables, inner)]
    if not variables:
        found += [_quantifiers(depth)] * 3
    return st.one_of(found)
