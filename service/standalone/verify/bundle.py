"""A bundle (docs/audit-bundle.md) read once from front to back, in memory that does not grow with it.

Two trees are folded: of the hashes that the log sealed, and of the bytes that it holds. The signed root tells which of
the two was altered where they differ.
"""

from __future__ import annotations

from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any, cast

from .ages import SILENCE, days, moment
from .continuity import Continuity
from .erasures import Erasures
from .findings import INCOMPLETE, MALFORMED, USAGE, Fault, Report, need
from .notes import decoded, read_checkpoint
from .pruning import Pruning, read_pruned
from .records import Line, Object, gone, judge, read_line, read_object
from .tree import HASH_SIZE, Fold, subtrees

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from .notes import Keys
    from .seen import State

FORMAT = "timewarden-bundle/1"
BEGINNING = b'{"format":"timewarden-bundle/'
MEMBERS = {"format", "from", "to", "checkpoint", "left", "right", "start", "pruned"}
LONGEST_LINE = 4 << 20
QUOTED = 40
# Of this many records out of place at a time it can tell where they went.
MAX_DIFFERING = 10_000
# No request takes so long that its record overtakes, or no clock is so wrong.
OVERTAKEN = timedelta(hours=1)
NOTHING = bytes(HASH_SIZE)


class Sought:
    """An answer's record, by the two headers of the answer; where it was found."""

    def __init__(self, uid: UUID, leaf: bytes) -> None:
        self.uid = uid
        self.leaf = leaf
        self.position: int | None = None
        # Its id is here, with another hash.
        self.contradicted = False


class Bundle:
    """A bundle while it is read. Raises Fault where reading on makes no sense; the rest goes into the report."""

    def __init__(
        self,
        file: IO[bytes],
        keys: Keys,
        report: Report,
        *,
        state: State | None = None,
        retention: timedelta | None = None,
    ) -> None:
        self._file = file
        self._report = report
        header = _read_header(file)
        try:
            self.checkpoint = read_checkpoint(header["checkpoint"], keys)
            self.start, self.end = _whole(header["from"]), _whole(header["to"])
            size = self.checkpoint.size
            need(0 <= self.start < self.end <= size, f"header: [{self.start}, {self.end}) is no range below {size}")
            self._continuity = Continuity(self.checkpoint, keys, state.checkpoint if state else None, report)
            self._continuity.start(header["start"])
            told = read_pruned(header["pruned"], self.checkpoint, report)
            self._left, self._right = _hashes(header["left"], 0, self.start), _hashes(header["right"], self.end, size)
        except MALFORMED as error:
            raise Fault(f"header: malformed: {type(error).__name__}: {error}") from None
        self._pruning = Pruning(told, report, state=state, retention=retention)
        self._erasures = Erasures()
        self._sealed, self._found = Fold(), Fold()
        self._differing: list[tuple[int, str | None, bytes, bytes]] = []
        # When the first record that is here was decided, the last, and the newest, by their bytes.
        self.oldest: datetime | None = None
        self.last: datetime | None = None
        self.newest: datetime | None = None
        # How many were decided long before one that stands before them, and the first such position.
        self._late, self._first_late = 0, 0

    def check(self, sought: Sought | None = None) -> None:
        """Read every record; then judge the root, and what was seen before."""
        self._push(self._left)
        for position in range(self.start, self.end):
            self._continuity.at(position, self._sealed)
            if not self._next(position, sought):
                self._tell_differing()
                return
            self._report.progress(position - self.start + 1, self.end - self.start, "records")
        self._continuity.at(self.end, self._sealed)
        if self._file.read(1):
            self._report.find(Fault(f"something follows the last record, position {self.end - 1}"))
        self._push(self._right)
        self._judge_root()
        to_the_end = self.end == self.checkpoint.size
        self._continuity.judge(to_the_end=to_the_end)
        self._pruning.judge()
        if self._late:
            self._report.note(
                f"position {self._first_late} and {self._late - 1:,} others were decided more than an hour before a"
                " record that stands before them: written late, or by a wrong clock"
            )
        from_the_start = self.start == 0 and not self._report.checked.get("pruned")
        self._erasures.judge(self._report, from_the_start=from_the_start, to_the_end=to_the_end)

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
            if line.body is not None:
                self._look(line, position, read_object(line.body))
        except (Fault, *MALFORMED) as fault:
            self._report.find(fault, position=position, uid=line.said["uid"] if line else None)
            # What follows a line that was dropped or added has other positions: it would only repeat this finding.
            return line is not None and line.said["position"] == position
        return True

    def _place(self, line: Line, position: int) -> None:
        """Push the record on both trees."""
        uid, pruned = line.said["uid"], position < self._pruning.below
        self._sealed.push(0, line.sealed or line.found or NOTHING)
        self._found.push(0, line.found or line.sealed or NOTHING)
        self._report.count("records")
        if line.sealed is None:
            self._report.find(Fault("the log lost the hash that it sealed here"), position=position, uid=uid)
        if line.found is None and pruned:
            self._pruning.gone()
        elif line.found is None:
            self._report.find(Fault("the record was removed: only its sealed hash is left"), position=position)
        elif pruned:
            what = "the record is here, but the log tells that it was pruned: those that are missing were removed"
            self._report.find(Fault(what), position=position, uid=uid)
        elif line.sealed is not None and line.found != line.sealed:
            self._differing.append((position, uid, line.sealed, line.found))
            if len(self._differing) > MAX_DIFFERING:
                self._tell_differing()

    def _look(self, line: Line, position: int, record: Object) -> None:
        """Judge what the record says, and what it says of others."""
        for what in judge(line, record, self._report):
            self._report.find(Fault(what), position=position, uid=line.said["uid"])
        decided = record.get("decided_at")
        if decided is None:
            what = "it does not say when it was decided, as each record of ours does"
            self._report.find(Fault(what), position=position, uid=line.said["uid"])
        else:
            at = moment(decided)
            if self.newest and at - self.newest > SILENCE:
                silence = f"nothing was recorded for {days(at - self.newest)} before it, not even a heartbeat"
                self._report.note(f"position {position}: {silence}")
            self.oldest, self.last, self.newest = self.oldest or at, at, max(self.newest or at, at)
            if self.newest - at > OVERTAKEN:
                self._late, self._first_late = self._late + 1, self._first_late if self._late else position
        self._pruning.left(position, record)
        self._erasures.look(position, record)
        if lost := gone(line.said["texts"]):
            self._erasures.gone(position, record, lost)
        self._continuity.epoch(position, record)

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
            sought.contradicted = True
            what = (
                "the record of the answer is here, with another hash than the answer carried: either the record is not"
                " the one that was answered, or the claim is false"
            )
            self._report.find(Fault(what), position=position, uid=line.said["uid"])

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

    def _push(self, hashes: list[tuple[int, int, bytes | None]]) -> None:
        for level, index, value in hashes:
            if value is None:
                self._report.find(Fault(f"the log lost the hash of its subtree at level {level}, index {index}"))
            for tree in (self._sealed, self._found):
                tree.push(level, value or NOTHING)


def _read_header(file: IO[bytes]) -> Object:
    """The first line. Raises Fault: usage for a file of another kind, incomplete for one that was cut, tampered."""
    data = file.readline(LONGEST_LINE)
    ours = data.startswith(BEGINNING)
    if not data.endswith(b"\n") and len(data) < LONGEST_LINE and (ours or BEGINNING.startswith(data)):
        raise Fault("the bundle ends within its header: the download broke off", INCOMPLETE)
    try:
        header = read_object(data)
    except Fault as fault:
        need(ours, f"this is no proof bundle, but begins with {data[:QUOTED]!r}", USAGE)
        raise Fault(f"header: {fault}") from None
    kind = str(header.get("format"))
    need(
        kind.startswith(FORMAT.partition("/")[0]), f"this is no proof bundle, but begins with {data[:QUOTED]!r}", USAGE
    )
    need(kind == FORMAT, f"this is a {kind}, and this verifier reads {FORMAT}", USAGE)
    return read_object(data, MEMBERS)


def _whole(number: object) -> int:
    need(type(number) is int, f"{number!r} is not an integer")
    return cast("int", number)


def _hashes(listed: list[Any], start: int, end: int) -> list[tuple[int, int, bytes | None]]:
    """A compact range of the header with the places of its hashes."""
    places = list(subtrees(start, end))
    need(isinstance(listed, list), "header: left or right is no list")
    need(len(places) == len(listed), f"header: [{start}, {end}) takes {len(places)} hashes, there are {len(listed)}")
    values = [None if one is None else decoded(one) for one in listed]
    need(all(one is None or len(one) == HASH_SIZE for one in values), "header: a hash has another length")
    return [(level, index, value) for (level, index), value in zip(places, values, strict=True)]
