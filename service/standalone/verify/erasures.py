"""Compares missing texts with the erasures that are recorded in the log. Pure.

A text is erased with the person whom it is about: the owner of the hours, or the person in the directory. A value of an
attribute of the caller and a filter of the caller's read of the log are about the caller. The record of an erasure says
how many texts were erased, and follows the records that had them. Merged people are erased together; the merge is
recorded too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .findings import INCOMPLETE, Fault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .findings import Report
    from .records import Object

MAX_NAMED = 10
# The names of texts that are values of attributes begin so, and those of attributes of the caller.
OF_ATTRIBUTE = "attributes."
OF_CALLER = "attributes.principal."


class Erasures:
    """Counts missing texts by person while a bundle is read."""

    def __init__(self) -> None:
        # By person: how many texts are missing without an erasure so far, and the first position.
        self._unexplained: dict[str, tuple[int, int]] = {}
        # Merged people: id to the id that they were merged into.
        self._into: dict[str, str] = {}
        # How many texts the erasures name beyond those that were missing before them.
        self._surplus = 0
        # The positions of erasures that explain missing texts.
        self._erased_at: list[int] = []

    def count(self, position: int, record: Object, texts: Iterable[str]) -> None:
        """Count the missing texts of a record, by their names."""
        owner = None if record.get("kind") == "directory" else _member(record, "resource", "owner")
        about = str(owner or _member(record, "resource", "id"))
        caller = str(_member(record, "principal", "person"))
        reads_log = _reads_log(record)
        for text in texts:
            is_filter = reads_log and not text.startswith(OF_ATTRIBUTE)
            person = caller if is_filter or text.startswith(OF_CALLER) else about
            count, first = self._unexplained.get(person, (0, position))
            self._unexplained[person] = (count + 1, first)

    def observe(self, position: int, record: Object) -> None:
        """Take note of erasures, which explain missing texts before them, and of merges."""
        after = _member(record, "change", "to")
        if record.get("kind") != "directory" or not isinstance(after, dict):
            return
        person = str(_member(record, "resource", "id"))
        if after.get("what") == "person.merged":
            self._into[person] = str(after.get("into"))
        elif after.get("what") == "person.erased":
            texts = after.get("texts")
            self._account(position, person, texts if type(texts) is int and texts > 0 else 0)

    def conclude(self, report: Report, *, from_the_start: bool, to_the_end: bool) -> None:
        """Report missing texts without an erasure. An erasure after the bundle, or a merge before it, is not visible.
        As a forger of records could add an erasure, those that explain missing texts are named in a note."""
        if self._erased_at:
            places = ", ".join(str(position) for position in self._erased_at[:MAX_NAMED])
            more = f" and {len(self._erased_at) - MAX_NAMED:,} more" if len(self._erased_at) > MAX_NAMED else ""
            report.note(
                f"texts are missing because of the erasures at position {places}{more}: check that you know of these"
            )
        if not self._unexplained:
            return
        count = sum(texts for texts, _ in self._unexplained.values())
        first = min(position for _, position in self._unexplained.values())
        if not to_the_end:
            what = f"{count:,} erased texts have no erasure in this bundle; it may be recorded after it"
            report.note(what)
        elif not from_the_start and count <= self._surplus:
            what = (
                "are explained only by the erasure of another person: the two may have been merged before this bundle"
            )
            report.note(f"texts: {count:,} {what}")
        else:
            what = f"texts: {count:,} are missing and no erasure is recorded: they were deleted without a record"
            report.add(Fault(what, INCOMPLETE), position=first)

    def _account(self, position: int, person: str, texts: int) -> None:
        canonical, named = self._canonical_id(person), texts
        for other, (count, first) in list(self._unexplained.items()):
            if self._canonical_id(other) == canonical:
                explained = min(count, texts)
                texts -= explained
                self._unexplained[other] = (count - explained, first)
                if explained == count:
                    del self._unexplained[other]
        self._surplus += texts
        if texts < named:
            self._erased_at.append(position)

    def _canonical_id(self, person: str) -> str:
        """The id of the person into whom they were merged, or their own."""
        visited = {person}
        while (person := self._into.get(person, person)) not in visited:
            visited.add(person)
        return person


def _reads_log(record: Object) -> bool:
    """Whether this is the record of a read of the log, or of the decisions about the caller."""
    reviews = record.get("action") == "review" and _member(record, "resource", "kind") == "me"
    return record.get("kind") == "access" or (record.get("kind") == "decision" and reviews)


def _member(record: Object, outer: str, inner: str) -> Any:
    found = record.get(outer)
    return found.get(inner) if isinstance(found, dict) else None
