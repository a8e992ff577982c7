"""Records as a story: a decision with what it changed, before and after. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

from service.console.rendering import format_hours
from service.standalone.client import Decision

ENTRIES, MINUTES = "entries", "minutes"
# Members of a change that say nothing to a reader.
SILENT = frozenset({"editors", "version"})


class RecordWithTexts(Decision):
    """A record, with the free texts that it commits to and the names of those that were erased."""

    texts: dict[str, str] | None = None
    erased: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """A value before and after; `before` or `after` is empty for what came or went."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class StoryStep:
    """A step of a story: a decision and the change that it allowed, or a change alone if its decision is on another
    page. `texts` are what people wrote, `erased` the names of texts that are gone."""

    record: RecordWithTexts
    what: str
    changed: tuple[Difference, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    erased: tuple[str, ...] = ()


def tell(records: Iterable[RecordWithTexts]) -> list[StoryStep]:
    """The records, oldest first, as steps."""
    steps: list[StoryStep] = []
    decided: dict[str, int] = {}
    for record in records:
        change = record.record.get("change") or {}
        place = decided.get(str(record.record.get("decision")))
        before = StoryStep(record, str(record.record.get("action") or record.kind)) if place is None else steps[place]
        step = replace(
            before,
            changed=(*before.changed, *_differences(change)),
            texts={**before.texts, **(record.texts or {})},
            erased=(*before.erased, *(record.erased or ())),
        )
        if place is None:
            decided[record.id] = len(steps)
            steps.append(step)
        else:
            steps[place] = step
    return steps


def _differences(change: Mapping[str, Any]) -> Iterator[Difference]:
    before, after = change.get("from") or {}, change.get("to") or {}
    for name in dict.fromkeys((*before, *after)):
        if name in SILENT or name == ENTRIES or before.get(name) == after.get(name):
            continue
        show = _hours if name == MINUTES else _word
        yield Difference(name, show(before.get(name)), show(after.get(name)))
    old, new = (list(map(_entry, side.get(ENTRIES) or ())) for side in (before, after))
    yield from (Difference("entry", text, "") for text in old if text not in new)
    yield from (Difference("entry", "", text) for text in new if text not in old)


def _entry(entry: Mapping[str, Any]) -> str:
    return f"{entry.get('day')} {entry.get('project')} {_hours(entry.get(MINUTES) or 0)}"


def _hours(minutes: Any) -> str:
    return format_hours(minutes) if isinstance(minutes, int) else ""


def _word(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_word(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_word, value))
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
