"""Texts that are gone, held against the erasures that the log has on record. Pure.

A text is erased with a person: the one whom its record is about, or who asked. The record of an erasure says how many
texts went with that person, and stands behind the records that had them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .findings import INCOMPLETE, Fault

if TYPE_CHECKING:
    from .findings import Report
    from .records import Object


class Erasures:
    """Counts while a bundle is read, by the people who might have been erased."""

    def __init__(self) -> None:
        # How many texts are gone without an erasure so far, and the first position of such.
        self._open: dict[frozenset[str], tuple[int, int]] = {}

    def gone(self, position: int, record: Object, texts: int) -> None:
        """So many texts of this record are not there any more."""
        people = frozenset(
            str(one)
            for one in (
                _at(record, "resource", "owner"),
                _at(record, "resource", "id"),
                _at(record, "principal", "person"),
            )
            if one
        )
        count, first = self._open.get(people, (0, position))
        self._open[people] = (count + texts, first)

    def erased(self, record: Object) -> None:
        """Look at a record: one of an erasure accounts for texts that are gone above it."""
        after = _at(record, "change", "to")
        if record.get("kind") != "directory" or not isinstance(after, dict) or after.get("what") != "person.erased":
            return
        person, texts = str(_at(record, "resource", "id")), after.get("texts")
        left = texts if type(texts) is int else 0
        for people, (count, first) in list(self._open.items()):
            if person in people:
                taken = min(count, left)
                left -= taken
                self._open[people] = (count - taken, first)
                if taken == count:
                    del self._open[people]

    def judge(self, report: Report, *, to_the_end: bool) -> None:
        """Tell of texts without an erasure; one behind the end of a bundle cannot be seen."""
        if not self._open:
            return
        count, first = (sum(one for one, _ in self._open.values()), min(one for _, one in self._open.values()))
        if to_the_end:
            what = f"texts: {count:,} are gone without an erasure on record, so whoever deleted them did not tell"
            report.find(Fault(what, INCOMPLETE), position=first)
        else:
            report.note(
                f"of the erased texts, {count:,} have no erasure on record in this bundle; it may lie behind it"
            )


def _at(record: Object, outer: str, inner: str) -> Any:
    found = record.get(outer)
    return found.get(inner) if isinstance(found, dict) else None
