"""Texts that are gone, held against the erasures that the log has on record. Pure.

A text is erased with the person whom its record is about: whose hours they are, or whose place in the directory. The
record of an erasure says how many texts went with that person, and stands behind the records that had them. People who
turned out to be one are erased together; a record says that too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .findings import INCOMPLETE, Fault

if TYPE_CHECKING:
    from .findings import Report
    from .records import Object

MAX_NAMED = 10


class Erasures:
    """Counts while a bundle is read, by the person who might have been erased."""

    def __init__(self) -> None:
        # How many texts are gone without an erasure so far, and the first position of such.
        self._open: dict[str, tuple[int, int]] = {}
        # Who was merged into whom.
        self._into: dict[str, str] = {}
        # What erasures told of and no text above them accounts for.
        self._left = 0
        # Where the erasures stand that account for texts that are gone.
        self._erased_at: list[int] = []

    def gone(self, position: int, record: Object, texts: int) -> None:
        """So many texts of this record are not there any more."""
        owner = None if record.get("kind") == "directory" else _at(record, "resource", "owner")
        person = str(owner or _at(record, "resource", "id"))
        count, first = self._open.get(person, (0, position))
        self._open[person] = (count + texts, first)

    def look(self, position: int, record: Object) -> None:
        """Look at a record: an erasure accounts for texts that are gone above it, a merger says who is one person."""
        after = _at(record, "change", "to")
        if record.get("kind") != "directory" or not isinstance(after, dict):
            return
        person = str(_at(record, "resource", "id"))
        if after.get("what") == "person.merged":
            self._into[person] = str(after.get("into"))
        elif after.get("what") == "person.erased":
            texts = after.get("texts")
            self._account(position, person, texts if type(texts) is int and texts > 0 else 0)

    def judge(self, report: Report, *, from_the_start: bool, to_the_end: bool) -> None:
        """Tell of texts without an erasure; one behind the end of a bundle cannot be seen, nor a merger before it.
        Whoever may write to the database may write of an erasure too: so those that excuse anything are named."""
        if self._erased_at:
            places = ", ".join(str(one) for one in self._erased_at[:MAX_NAMED])
            more = f" and {len(self._erased_at) - MAX_NAMED:,} more" if len(self._erased_at) > MAX_NAMED else ""
            report.note(f"texts are gone because of the erasures at position {places}{more}: do you know of them?")
        if not self._open:
            return
        count, first = (sum(one for one, _ in self._open.values()), min(one for _, one in self._open.values()))
        if not to_the_end:
            what = f"of the erased texts, {count:,} have no erasure on record in this bundle; it may lie behind it"
            report.note(what)
        elif not from_the_start and count <= self._left:
            what = (
                "are gone that only an erasure of somebody else accounts for: the two may have been merged before this"
            )
            report.note(f"texts: {count:,} {what}")
        else:
            what = f"texts: {count:,} are gone without an erasure on record, so whoever deleted them did not tell"
            report.find(Fault(what, INCOMPLETE), position=first)

    def _account(self, position: int, person: str, texts: int) -> None:
        stays, told = self._who(person), texts
        for one, (count, first) in list(self._open.items()):
            if self._who(one) == stays:
                taken = min(count, texts)
                texts -= taken
                self._open[one] = (count - taken, first)
                if taken == count:
                    del self._open[one]
        self._left += texts
        if texts < told:
            self._erased_at.append(position)

    def _who(self, person: str) -> str:
        """Whoever they turned out to be."""
        met = {person}
        while (person := self._into.get(person, person)) not in met:
            met.add(person)
        return person


def _at(record: Object, outer: str, inner: str) -> Any:
    found = record.get(outer)
    return found.get(inner) if isinstance(found, dict) else None
