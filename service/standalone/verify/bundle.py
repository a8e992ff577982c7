"""Reads and checks a bundle (docs/audit-bundle.md) in one pass and in bounded memory.

Two trees are folded: one over the sealed hashes, one over the hashes of the stored bytes. Where they differ, the signed
root shows which of the two was altered.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any

from .continuity import Continuity
from .erasures import Erasures
from .findings import INCOMPLETE, MALFORMED, USAGE, Fault, Report, require, require_integer
from .notes import decode_base64, read_checkpoint
from .pruning import Pruning, read_pruned
from .records import Line, Object, check_record, list_erased, read_line, read_object
from .times import SILENCE, format_days, parse_time
from .tree import HASH_SIZE, Fold, subtrees

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from .notes import Keys
    from .period import Period
    from .state import State

FORMAT = "timewarden-bundle/1"
BEGINNING = b'{"format":"timewarden-bundle/'
MEMBERS = {"format", "from", "to", "checkpoint", "left", "right", "start", "pruned"}
MAX_LINE_BYTES = 4 << 20
QUOTED = 40
# Up to this many altered records at a time are compared to find out which were moved.
MAX_DIFFERING = 10_000
# Longer than any request takes: an older record after a newer one is then worth a note.
OVERTAKEN = timedelta(hours=1)
NOTHING = bytes(HASH_SIZE)
# A running keeper seals a record within this many seconds of its answer.
SEALED_WITHIN = 600
# A single record may have a false time, as from a replica whose clock was wrong.
MIN_AGREEING_RECORDS = 2


class SoughtAnswer:
    """The record of an answer, by the two headers of the answer, and the position where it was found."""

    def __init__(self, uid: UUID, leaf: bytes) -> None:
        self.uid = uid
        self.leaf = leaf
        # When it was answered: the first 48 bits of a UUIDv7 are milliseconds since 1970 (RFC 9562 §5.7).
        self.answered = (uid.int >> 80) / 1000
        self.position: int | None = None
        # How many records were decided more than SEALED_WITHIN before the answer, and after it.
        self.before, self.after = 0, 0
        # How many records behind the first of those after it were decided before the answer. Where clocks are right,
        # there are none.
        self.out_of_order = 0
        # The record at that position has its uid. Not known while only the hash of the record was read.
        self.identified = False
        # A record has its uid, but another hash, or its hash, but another uid.
        self.contradicted = False

    @property
    def is_overdue(self) -> bool:
        """Whether the log went on for so long after the answer that its record should be sealed. Records of concurrent
        transactions are not in the order of their times, and one record may have a false time. So at least two records
        must be later, and more than contradict them."""
        agreed = self.after >= MIN_AGREEING_RECORDS and self.after > self.out_of_order
        return agreed and self.answered < time.time() - SEALED_WITHIN

    def observe(self, decided: datetime) -> None:
        """Take note of when the next record was decided."""
        moment = decided.timestamp()
        if moment > self.answered + SEALED_WITHIN:
            self.after += 1
        elif moment < self.answered:
            self.before += moment < self.answered - SEALED_WITHIN
            self.out_of_order += self.after > 0

    def identify(self, record: Object) -> None:
        """Check the uid of the record that has the hash of the answer. Raises Fault."""
        self.identified = record.get("uid") == str(self.uid)
        self.contradicted = self.contradicted or not self.identified
        if not self.identified:
            what = (
                f"the record with this Decision-Leaf is not the record of the answer {self.uid}: either the answer was"
                " sent with the leaf of another record, or Decision-Id and Decision-Leaf are not of one answer"
            )
            raise Fault(what, position=self.position, uid=record.get("uid"))


class Bundle:
    """Checks a bundle. Raises Fault if it cannot be read any further; other findings go into the report."""

    def __init__(
        self,
        file: IO[bytes],
        keys: Keys,
        report: Report,
        *,
        state: State | None = None,
        retention: timedelta | None = None,
        period: Period | None = None,
    ) -> None:
        self._file = file
        self._report = report
        header = _read_header(file)
        try:
            self.checkpoint = read_checkpoint(header["checkpoint"], keys)
            self.start, self.end = require_integer(header["from"]), require_integer(header["to"])
            size = self.checkpoint.size
            require(
                0 <= self.start < self.end <= size, f"header: [{self.start}, {self.end}) is not a range within {size}"
            )
            self._continuity = Continuity(self.checkpoint, keys, state.checkpoint if state else None, report)
            self._continuity.read_start(header["start"])
            pruning = read_pruned(header["pruned"], self.checkpoint, report)
            self._left, self._right = _hashes(header["left"], 0, self.start), _hashes(header["right"], self.end, size)
        except MALFORMED as error:
            raise Fault(f"header: malformed: {type(error).__name__}: {error}") from None
        self._pruning = Pruning(pruning, report, state=state, retention=retention)
        self._period = period
        self._erasures = Erasures()
        self._sealed, self._found = Fold(), Fold()
        self._differing: list[tuple[int, str | None, bytes, bytes]] = []
        # When the first, the last and the newest record were decided, by their bytes.
        self.oldest: datetime | None = None
        self.last: datetime | None = None
        self.newest: datetime | None = None
        self._two_newest: list[datetime] = []
        # How many records were decided long before an earlier record, and the first such position.
        self._late, self._first_late = 0, 0

    def check(self, sought: SoughtAnswer | None = None) -> None:
        """Check every record, then the root and the state of earlier checks."""
        self._push(self._left)
        for position in range(self.start, self.end):
            self._continuity.note_root(position, self._sealed)
            if not self._check_line(position, sought):
                self._report_differing()
                return
            self._report.progress(position - self.start + 1, self.end - self.start, "records")
        self._continuity.note_root(self.end, self._sealed)
        if self._file.read(1):
            self._report.add(Fault(f"there is data after the last record, position {self.end - 1}"))
        self._push(self._right)
        self._check_root()
        to_the_end = self.end == self.checkpoint.size
        self._continuity.conclude(to_the_end=to_the_end)
        self._pruning.conclude()
        if self._period:
            pruned_before = self._pruning.older_than if self.start < self._pruning.below else None
            self._period.conclude(self._report, self.start, self.end, self.checkpoint.size, pruned_before)
        if self._late:
            self._report.note(
                f"position {self._first_late} and {self._late - 1:,} others were decided more than an hour before an"
                " earlier record: they were written late, or a clock was wrong"
            )
        from_the_start = self.start == 0 and not self._report.checked.get("pruned")
        self._erasures.conclude(self._report, from_the_start=from_the_start, to_the_end=to_the_end)

    def _check_line(self, position: int, sought: SoughtAnswer | None) -> bool:
        """Check a line. Returns False if the positions of later lines cannot be trusted."""
        data = self._file.readline(MAX_LINE_BYTES)
        line: Line | None = None
        try:
            require(len(data) < MAX_LINE_BYTES, "a line is too long")
            if not data.endswith(b"\n"):
                raise Fault(f"the bundle ends before position {position}; it should go to {self.end}", INCOMPLETE)
            line = read_line(data)
            found = line.members["position"]
            if found != position:
                raise Fault(f"position {found} instead of {position}: a record was added, removed or moved")
            self._push_record(line, position)
            if sought:
                self._match_answer(line, position, sought)
            if line.body is not None:
                record = read_object(line.body)
                self._check_contents(line, position, record, sought)
                if sought and line.found == line.sealed == sought.leaf:
                    sought.identify(record)
        except (Fault, *MALFORMED) as fault:
            self._report.add(fault, position=position, uid=line.members["uid"] if line else None)
            # After an added or removed line all positions differ: later lines would only repeat this finding.
            return line is not None and line.members["position"] == position
        return True

    def _push_record(self, line: Line, position: int) -> None:
        """Push the record on both trees and compare its hashes."""
        uid, pruned = line.members["uid"], position < self._pruning.below
        self._sealed.push(0, line.sealed or line.found or NOTHING)
        self._found.push(0, line.found or line.sealed or NOTHING)
        self._report.count("records")
        if line.sealed is None:
            self._report.add(Fault("the log lost the hash that was sealed here"), position=position, uid=uid)
        if line.found is None and pruned:
            self._pruning.count()
        elif line.found is None:
            self._report.add(Fault("the record was removed: only its sealed hash is left"), position=position)
        elif pruned:
            what = "the record is here although the log says that it was pruned: missing records were removed"
            self._report.add(Fault(what), position=position, uid=uid)
        elif line.sealed is not None and line.found != line.sealed:
            self._differing.append((position, uid, line.sealed, line.found))
            if len(self._differing) > MAX_DIFFERING:
                self._report_differing()

    @property
    def passed(self) -> datetime | None:
        """The time that two records have reached, if there are two: a single one may have a false time."""
        return self._two_newest[0] if self._two_newest else None

    def _check_contents(self, line: Line, position: int, record: Object, sought: SoughtAnswer | None) -> None:
        """Check the contents of the record, and take note of what it says about others."""
        for what in check_record(line, record, self._report):
            self._report.add(Fault(what), position=position, uid=line.members["uid"])
        decided = record.get("decided_at")
        if decided is None:
            what = "it has no decided_at, which every record has"
            self._report.add(Fault(what), position=position, uid=line.members["uid"])
        else:
            at = parse_time(decided)
            if self.newest and at - self.newest > SILENCE:
                silence = f"nothing was recorded for {format_days(at - self.newest)} before it, not even a heartbeat"
                self._report.note(f"position {position}: {silence}")
            if self._period:
                self._period.observe(position, at)
            if sought:
                sought.observe(at)
            self.oldest, self.last, self.newest = self.oldest or at, at, max(self.newest or at, at)
            self._two_newest = sorted([*self._two_newest, at])[-2:]
            if self.newest - at > OVERTAKEN:
                self._late, self._first_late = self._late + 1, self._first_late if self._late else position
        self._pruning.observe(position, record)
        self._erasures.observe(position, record)
        if lost := list_erased(line.members["texts"]):
            self._erasures.count(position, record, lost)
        self._continuity.observe(position, record)

    def _report_differing(self) -> None:
        """Report the records whose bytes are not what was sealed, and where moved records are now."""
        now = {found: position for position, _, _, found in self._differing}
        for position, uid, sealed, _ in self._differing:
            moved = f"the record of this position is at {now.get(sealed)}"
            what = moved if sealed in now else "body: the bytes do not have the hash that was sealed here"
            self._report.add(Fault(what), position=position, uid=uid)
        self._differing.clear()

    def _match_answer(self, line: Line, position: int, sought: SoughtAnswer) -> None:
        """Check whether this is the record of the answer: by hash, as it may be pruned, then by uid."""
        if line.sealed == sought.leaf:
            sought.position = position
        elif line.members["uid"] == str(sought.uid):
            sought.contradicted = True
            what = (
                "the record of the answer is here, but its hash is not the one in the answer: either the record is not"
                " the one of the answer, or the answer is forged"
            )
            self._report.add(Fault(what), position=position, uid=line.members["uid"])

    def _check_root(self) -> None:
        sealed, found = self._sealed.root() == self.checkpoint.root, self._found.root() == self.checkpoint.root
        self._report_differing()
        if found and not sealed:
            self._report.add(Fault("the records are those that were signed; the log's stored hashes were altered"))
        elif not sealed:
            size = self.checkpoint.size
            self._report.add(Fault(f"root: records and hashes do not lead to the root that was signed for size {size}"))

    def _push(self, hashes: list[tuple[int, int, bytes | None]]) -> None:
        for level, index, value in hashes:
            if value is None:
                self._report.add(Fault(f"the log lost the hash of its subtree at level {level}, index {index}"))
            for tree in (self._sealed, self._found):
                tree.push(level, value or NOTHING)


def _read_header(file: IO[bytes]) -> Object:
    """Read the first line. Raises Fault: usage for another kind of file, incomplete for a truncated one, or
    tampered."""
    data = file.readline(MAX_LINE_BYTES)
    is_bundle = data.startswith(BEGINNING)
    if not data.endswith(b"\n") and len(data) < MAX_LINE_BYTES and (is_bundle or BEGINNING.startswith(data)):
        raise Fault("the bundle ends within its header: the download was interrupted", INCOMPLETE)
    try:
        header = read_object(data)
    except Fault as fault:
        require(is_bundle, f"not a proof bundle: it begins with {data[:QUOTED]!r}", USAGE)
        raise Fault(f"header: {fault}") from None
    kind = str(header.get("format"))
    require(kind.startswith(FORMAT.partition("/")[0]), f"not a proof bundle: it begins with {data[:QUOTED]!r}", USAGE)
    require(kind == FORMAT, f"the format is {kind}, but this verifier reads {FORMAT}", USAGE)
    return read_object(data, MEMBERS)


def _hashes(listed: list[Any], start: int, end: int) -> list[tuple[int, int, bytes | None]]:
    """A compact range of the header: each hash with its level and index."""
    places = list(subtrees(start, end))
    require(isinstance(listed, list), "header: left or right is not a list")
    require(
        len(places) == len(listed), f"header: [{start}, {end}) takes {len(places)} hashes, but there are {len(listed)}"
    )
    values = [None if text is None else decode_base64(text) for text in listed]
    require(all(value is None or len(value) == HASH_SIZE for value in values), "header: a hash has the wrong length")
    return [(level, index, value) for (level, index), value in zip(places, values, strict=True)]
