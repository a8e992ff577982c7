"""Sentences with values of attributes: `this week has {resource.minutes:hours}`. Pure.

A value stands in braces, with a format after a colon: `hours` for minutes, `date` for a timestamp. A missing value
reads "unknown". Personal attributes are refused, because sentences reach callers and outlive an erasure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from service.policy.attributes import AttributeType
from service.policy.expressions.flaw import Flaw
from service.policy.nearest_word import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from service.policy.attributes import Attribute, Value

MAX_ITEMS_SHOWN = 10
MAX_CHARACTERS_SHOWN = 100
MISSING = "unknown"
FORMATS: Final = {"hours": AttributeType.INT, "date": AttributeType.TIMESTAMP}
_PLACEHOLDER = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}")


def check_sentence(
    sentence: str, known: Mapping[str, Attribute], suggest: Callable[[str, Collection[str]], str | None] = nearest
) -> Flaw | None:
    """The first flaw of the placeholders in a sentence, or None. `known`: the attributes that they may name."""
    rest = _PLACEHOLDER.sub(lambda found: " " * len(found[0]), sentence)
    if brace := re.search(r"[{}]", rest):
        return Flaw("A brace is not closed", 1, brace.start() + 1, "write {resource.minutes:hours}")
    for found in _PLACEHOLDER.finditer(sentence):
        if found[1] not in known:
            unknown = f"There is no attribute '{found[1]}' here"
            return Flaw(unknown, 1, found.start() + 1, suggest(found[1], known))
        flaw = _check_placeholder(found[1], found[2], known[found[1]])
        if flaw is not None:
            return Flaw(flaw[0], 1, found.start() + 1, flaw[1])
    return None


def _check_placeholder(name: str, form: str | None, attribute: Attribute) -> tuple[str, str | None] | None:
    if attribute.personal:
        return f"'{name}' is personal, so no sentence may show it", "say it without the value"
    if form is not None and form not in FORMATS:
        return f"There is no format '{form}'", f"known: {', '.join(sorted(FORMATS))}"
    if form is not None and attribute.type is not FORMATS[form]:
        return f"The format '{form}' shows {FORMATS[form]}, and '{name}' is {attribute.type}", None
    return None


def attributes_in(sentence: str) -> frozenset[str]:
    """The names of the attributes whose values a sentence shows."""
    return frozenset(found[1] for found in _PLACEHOLDER.finditer(sentence))


def fill_sentence(sentence: str, values: Mapping[str, Value]) -> str:
    """The sentence with values in place of their names."""
    if "{" not in sentence:
        return sentence
    return _PLACEHOLDER.sub(lambda found: show_value(values.get(found[1]), found[2]), sentence)


class FilledSentences(Mapping[str, str]):
    """Sentences by key, each filled with values when it is read."""

    __slots__ = ("_sentences", "_values")

    def __init__(self, sentences: Mapping[str, str], values: Mapping[str, Value]) -> None:
        self._sentences, self._values = sentences, values

    @property
    def values_shown(self) -> Mapping[str, Value]:
        """The values by the names of attributes."""
        return self._values

    def __getitem__(self, key: str) -> str:
        return fill_sentence(self._sentences[key], self._values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sentences)

    def __len__(self) -> int:
        return len(self._sentences)


def show_value(value: Value, form: str | None = None) -> str:
    """A value as a sentence shows it."""
    match value:
        case None:
            return MISSING
        case bool():
            return "true" if value else "false"
        case int():
            return _show_hours(value) if form == "hours" else str(value)
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d" if form == "date" else "%Y-%m-%d %H:%M UTC")
        case tuple():
            more = len(value) - MAX_ITEMS_SHOWN
            shown = ", ".join(show_value(item) for item in value[:MAX_ITEMS_SHOWN]) or "none"
            return f"{shown} and {more} more" if more > 0 else shown
        case str():
            return value if len(value) <= MAX_CHARACTERS_SHOWN else f"{value[:MAX_CHARACTERS_SHOWN]}..."


def _show_hours(minutes: int) -> str:
    hours, rest = divmod(abs(minutes), 60)
    parts = [_count(hours, "hour")] if hours or not rest else []
    parts += [_count(rest, "minute")] if rest else []
    return ("-" if minutes < 0 else "") + " ".join(parts)


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
