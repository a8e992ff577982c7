"""A bundle (docs/audit-bundle.md) read once from front to back, in memory that does not grow with it.

Two trees are folded: of the hashes that the log sealed, and of the bytes that it holds. The signed root tells which of
the two was altered where they differ.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, cast

from .findings import INCOMPLETE, MALFORMED, Fault, Report, need
from .notes import Checkpoint, Keys, decoded, read_checkpoint
from .records import Line, Object, judge, read_line, read_object
from .tree import HASH_SIZE, Fold, consistent, included, leaf_hash, subtrees

if TYPE_CHECKING:
    from uuid import UUID

FORMAT = "timewarden-bundle/1"
MEMBERS = {"format", "from", "to", "checkpoint", "left", "right", "start", "pruned"}
LONGEST_LINE = 4 << 20
# Of this many records out of place at a time it can tell where they went.
MOST_DIFFERING = 10_000
NOTHING = bytes(HASH_SIZE)


class Sought:
    """An answer's record, by the two headers of the answer; where it was found, and which times were read."""

    def __init__(self, uid: UUID, leaf: bytes) -> None:
        self.uid = uid
        self.leaf = leaf
        self.position: int | None = None
        self.oldest = self.newest = ""


class Bundle:
    """A bundle while it is read. Raises Fault where reading on makes no sense; the rest goes into the report."""

    def __init__(self, file: IO[bytes], keys: Keys, report: Report) -> None:
        self._file = file
        self._report = report
        try:
            header = read_object(file.readline(LONGEST_LINE), MEMBERS)
            need(header["format"] == FORMAT, f"header: {header['format']} is not {FORMAT}")
            self.checkpoint = read_checkpoint(header["checkpoint"], keys)
            self.start, self.end = _whole(header["from"]), _whole(header["to"])
            size = self.checkpoint.size
            need(0 <= self.start < self.end <= size, f"header: [{self.start}, {self.end}) is no range below {size}")
            # Of which sizes the root is shown by this bundle.
            self._roots = {size: self.checkpoint.root}
            self._older(header["start"], keys)
            self._pruned = self._pruned_below(header["pruned"])
            self._left, self._right = _hashes(header["left"], 0, self.start), _hashes(header["right"], self.end, size)
        except MALFORMED as error:
            raise Fault(f"header: malformed: {type(error).__name__}: {error}") from None
        self._sealed, self._found = Fold(), Fold()
        self._differing: list[tuple[int, str | None, bytes, bytes]] = []

    def check(self, seen: Checkpoint | None, sought: Sought | None = None) -> None:
        """Read every record; then judge the root, and what was `seen` before."""
        self._push(self._left)
        for position in range(self.start, self.end):
            self._keep_root(seen, position)
            if not self._next(position, sought):
                self._tell_differing()
                return
            self._report.progress(position - self.start + 1, self.end - self.start, "records")
        self._keep_root(seen, self.end)
        if self._file.read(1):
            self._report.find(Fault(f"something follows the last record, position {self.end - 1}"))
        self._push(self._right)
        self._judge_root()
        if seen:
            self._judge_seen(seen)

    def _next(self, position: int, sought: Sought | None) -> bool:
        """Check one line. False when the lines that follow cannot be placed any more."""
        data = self._file.readline(LONGEST_LINE)
        line: Line | None = None
        try:
            need(len(data) < LONGEST_LINE, "a line is longer than any record")
            if not data.endswith(b"\n"):
                raise Fault(f"the bundle ends before position {position}; it should go on to {self.end}", INCOMPLETE)
            line = read_line(data)
            found = line.said["position"]
            if found != position:
                raise Fault(f"position {found} stands where {position} should: a record was added, dropped or moved")
            self._place(line, position)
            if sought:
                self._seek(line, position, sought)
            for what in judge(line, self._report):
                self._report.find(Fault(what), position=position, uid=line.said["uid"])
        except (Fault, *MALFORMED) as fault:
            self._report.find(fault, position=position, uid=line.said["uid"] if line else None)
            # What follows a line that was dropped or added has other positions: it would only repeat this finding.
            return line is not None and line.said["position"] == position
        return True

    def _place(self, line: Line, position: int) -> None:
        """Push the record on both trees."""
        uid = line.said["uid"]
        self._sealed.push(0, line.sealed or line.found or NOTHING)
        self._found.push(0, line.found or line.sealed or NOTHING)
        self._report.count("records")
        if line.sealed is None:
            self._report.find(Fault("the log lost the hash that it sealed here"), position=position, uid=uid)
        if line.found is None and position < self._pruned:
            self._report.count("pruned")
        elif line.found is None:
            self._report.find(Fault("the record was removed: only its sealed hash is left"), position=position)
        elif position < self._pruned:
            what = "the record is here, but the log tells that it was pruned: those that are missing were removed"
            self._report.find(Fault(what), position=position, uid=uid)
        elif line.sealed is not None and line.found != line.sealed:
            self._differing.append((position, uid, line.sealed, line.found))
            if len(self._differing) > MOST_DIFFERING:
                self._tell_differing()

    def _tell_differing(self) -> None:
        """Name the records whose bytes are not what was sealed there; where they went, if they were moved."""
        now = {found: position for position, _, _, found in self._differing}
        for position, uid, sealed, _ in self._differing:
            moved = f"the record of this position stands at {now.get(sealed)}"
            what = moved if sealed in now else "body: the bytes do not have the hash that was sealed here"
            self._report.find(Fault(what), position=position, uid=uid)
        self._differing.clear()

    def _seek(self, line: Line, position: int, sought: Sought) -> None:
        """Whether this is the record of the answer: by hash, since it may be pruned; then by id."""
        if line.sealed == sought.leaf:
            sought.position = position
        elif line.said["uid"] == str(sought.uid):
            what = "the record of the answer is here, with another hash than the answer carried"
            self._report.find(Fault(what), position=position, uid=line.said["uid"])
        decided = str((line.said["columns"] or {}).get("decided_at") or "")
        sought.oldest, sought.newest = sought.oldest or decided, max(sought.newest, decided)

    def _judge_root(self) -> None:
        sealed, found = self._sealed.root() == self.checkpoint.root, self._found.root() == self.checkpoint.root
        self._tell_differing()
        if found and not sealed:
            self._report.find(Fault("the records are those that were signed; the log's stored hashes were altered"))
        elif not sealed:
            size = self.checkpoint.size
            self._report.find(
                Fault(f"root: records and hashes do not lead to the root that was signed for size {size}")
            )

    def _judge_seen(self, seen: Checkpoint) -> None:
        root, size = self._roots.get(seen.size), self.checkpoint.size
        if seen.origin != self.checkpoint.origin:
            self._report.find(Fault(f"this is another log than the one seen before, {seen.origin}"))
        elif root is None and seen.size > size:
            what = f"its size {size} is below the {seen.size} seen before: made earlier, or the log was rolled back"
            self._report.find(Fault(what, INCOMPLETE))
        elif root is None:
            what = f"it cannot show how it relates to size {seen.size}, seen before: ask for it with seen={seen.size}"
            self._report.find(Fault(what, INCOMPLETE))
        elif root != seen.root:
            self._report.find(
                Fault(f"fork: the first {seen.size} records are not those that were signed and seen before")
            )

    def _keep_root(self, seen: Checkpoint | None, size: int) -> None:
        if seen and seen.size == size:
            self._roots[size] = self._sealed.root()

    def _older(self, start: Object | None, keys: Keys) -> None:
        if start is None:
            return
        need(start.keys() == {"checkpoint", "consistency"}, "header: start has other members than it should")
        old, new = read_checkpoint(start["checkpoint"], keys, "start checkpoint"), self.checkpoint
        proof = [decoded(one) for one in start["consistency"]]
        if old.origin != new.origin or not consistent(old.size, old.root, new.size, new.root, proof):
            self._report.find(
                Fault(f"fork: the log of size {new.size} does not extend its checkpoint of size {old.size}")
            )
        else:
            self._roots[old.size] = old.root

    def _pruned_below(self, said: Object | None) -> int:
        """Below which position bodies may be gone: a record that is in the log must say so."""
        if said is None:
            return 0
        body, path = decoded(said["body"]), [decoded(one) for one in said["inclusion"]]
        record, checkpoint = read_object(body), self.checkpoint
        if not included(leaf_hash(body), _whole(said["position"]), checkpoint.size, path, checkpoint.root):
            self._report.find(Fault("header: the record that tells of pruning is not in the log"))
            return 0
        need(
            record.get("kind") == "system" and record.get("event") == "log.pruned", "header: pruned names another event"
        )
        need(record.get("pruned_to") == said["to"], "header: the record tells of another pruning")
        # What comes behind the record was written later, so it was not pruned then.
        need(_whole(said["to"]) <= said["position"], "header: the record tells of pruning itself or what came later")
        self._report.checked |= {"pruned_below": _whole(said["to"]), "told_at": said["position"]}
        return _whole(said["to"])

    def _push(self, hashes: list[tuple[int, int, bytes | None]]) -> None:
        for level, index, value in hashes:
            if value is None:
                self._report.find(Fault(f"the log lost the hash of its subtree at level {level}, index {index}"))
            for tree in (self._sealed, self._found):
                tree.push(level, value or NOTHING)


def _whole(number: object) -> int:
    need(type(number) is int, f"{number!r} is not an integer")
    return cast("int", number)


def _hashes(listed: list[Any], start: int, end: int) -> list[tuple[int, int, bytes | None]]:
    """A compact range of the header with the places of its hashes."""
    places = list(subtrees(start, end))
    need(len(places) == len(listed), f"header: [{start}, {end}) takes {len(places)} hashes, there are {len(listed)}")
    values = [None if one is None else decoded(one) for one in listed]
    need(all(one is None or len(one) == HASH_SIZE for one in values), "header: a hash has another length")
    return [(level, index, value) for (level, index), value in zip(places, values, strict=True)]
