"""Merges cells, each about a single request, into a few boxes about many requests. Pure: owns no state."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

ALL: Final = frozenset[bool | None]((True, False, None))
# The first boxes, which may contain others.
MAX_WIDE_BOXES: Final = 500
Values = frozenset[bool | None]
# Who, scopes, states, and facts with the values that they may have.
Cell = tuple[frozenset[str], frozenset[str], frozenset[str], tuple[tuple[str, Values], ...]]
Box = tuple[bool, frozenset[str], frozenset[str], frozenset[str], tuple[tuple[str, Values], ...]]


def merge_cells(cells: Iterable[Cell]) -> list[Cell]:
    """Join cells that differ only in their states, or in the values of a single fact, until none do."""
    boxes = {(who, scopes, states, _normalize(facts)) for who, scopes, states, facts in cells}
    names = sorted({name for box in boxes for name, _ in box[3]})
    size = -1
    while len(boxes) != size:
        size = len(boxes)
        for dimension in (None, *names):
            boxes = _join(boxes, dimension)
    return sorted(boxes, key=_order)


def _join(boxes: Iterable[Cell], dimension: str | None) -> set[Cell]:
    """Join along the states (None) or along a fact."""
    if dimension is None:
        states: dict[tuple[object, ...], frozenset[str]] = defaultdict(frozenset)
        for who, scopes, own, facts in boxes:
            states[who, scopes, facts] |= own
        return {(*key[:2], own, key[2]) for key, own in states.items()}  # type: ignore[misc]  # keys as just made
    values: dict[tuple[object, ...], Values] = defaultdict(frozenset)
    for who, scopes, own, facts in boxes:
        rest = tuple(fact for fact in facts if fact[0] != dimension)
        values[who, scopes, own, rest] |= dict(facts).get(dimension, ALL)
    return {
        (*key[:3], _normalize((*key[3], (dimension, value))))  # type: ignore[misc]  # keys as just made
        for key, value in values.items()
    }


def _normalize(facts: Iterable[tuple[str, Values]]) -> tuple[tuple[str, Values], ...]:
    """Facts in the order of their names, without those that may have any value."""
    return tuple(sorted(((name, values) for name, values in facts if values != ALL), key=lambda fact: fact[0]))


def _order(box: Cell) -> tuple[object, ...]:
    who, scopes, states, facts = box
    return len(who), sorted(who), sorted(scopes), sorted(states), str(facts)


def widest_boxes(boxes: list[Box]) -> list[Box]:
    """The boxes without those that a wider box contains."""
    return [
        box for box in boxes if not any(other is not box and _within(box, other) for other in boxes[:MAX_WIDE_BOXES])
    ]


def _within(narrow: Box, wide: Box) -> bool:
    facts = dict(narrow[4])
    return (
        narrow != wide
        and narrow[0] is wide[0]
        and wide[1] <= narrow[1]
        and wide[2] <= narrow[2]
        and narrow[3] <= wide[3]
        and all(facts.get(name, ALL) <= values for name, values in wide[4])
    )
