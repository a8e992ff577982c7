"""Checks that a log extends the checkpoint seen before, under its own name or, after a `log.epoch`, a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .findings import INCOMPLETE, UNTRUSTED, Fault, Report, require, require_integer
from .notes import claimed_checkpoint, decode_base64, read_checkpoint
from .records import decode_hex
from .tree import EMPTY_ROOT, HASH_SIZE, verify_consistency

if TYPE_CHECKING:
    from .notes import Checkpoint, Keys
    from .records import Object
    from .tree import Fold

# Differs from the root of every tree.
NO_ROOT = b""


class Epoch(NamedTuple):
    """A `log.epoch` record, at `position`: the log `follower` continues the log `origin`, whose last checkpoint had
    this size and root, and keeps its first `kept` records."""

    position: int
    follower: str
    origin: str
    size: int
    root: bytes
    kept: int


def check_extension(old: Checkpoint, new: Checkpoint, proof: list[bytes], report: Report) -> None:
    """Check by an RFC 9162 proof that one checkpoint extends the other. Raises Fault if they cannot be compared."""
    what = (
        f"this is {new.origin}, but {old.origin} was seen before: only a bundle shows whether one continues the other"
    )
    require(old.origin == new.origin, what, INCOMPLETE)
    require(
        old.size <= new.size,
        f"size {new.size} is below {old.size}: the older checkpoint must be the smaller",
        INCOMPLETE,
    )
    if not verify_consistency(old.size, old.root, new.size, new.root, proof):
        what = f"fork: the log of size {new.size} does not begin with the {old.size} records that were signed before"
        if old.size != new.size:
            what += ", or the proof is not between these two"
        report.add(Fault(what))
    report.shown.append(f"the {new.size:,} records of {new.origin} begin with the {old.size:,} that were signed before")


class Continuity:
    """Compares a log of `checkpoint`, while it is read, with the checkpoint `seen` before."""

    def __init__(self, checkpoint: Checkpoint, keys: Keys, seen: Checkpoint | None, report: Report) -> None:
        self._checkpoint = checkpoint
        self._keys = keys
        self._seen = seen
        self._report = report
        # The roots that are known, by size.
        self._roots = {0: EMPTY_ROOT, checkpoint.size: checkpoint.root}
        self._epochs: list[Epoch] = []

    def read_start(self, members: Object | None) -> None:
        """Read `start` of the header: an older checkpoint, and the proof that this one extends it."""
        if members is None:
            return
        require(members.keys() == {"checkpoint", "consistency"}, "header: start has unexpected members")
        old, new, seen = self._older(members["checkpoint"]), self._checkpoint, self._seen
        proof = [decode_base64(sibling) for sibling in members["consistency"]]
        if old is None:
            return
        if verify_consistency(old.size, old.root, new.size, new.root, proof):
            self._roots[old.size] = old.root
        elif seen is None or seen.origin == new.origin:
            self._report.add(
                Fault(f"fork: the log of size {new.size} does not extend its checkpoint of size {old.size}")
            )
        elif old is seen:
            # Allowed in a new epoch if its record says that records were lost.
            self._roots[old.size] = NO_ROOT

    def note_root(self, size: int, tree: Fold) -> None:
        """Note the root of the first `size` leaves if that size was seen before."""
        if self._seen and self._seen.size == size:
            self._roots[size] = tree.root()

    def observe(self, position: int, record: Object) -> None:
        """Take note of a record that continues the log under a new name."""
        if record.get("kind") != "system" or record.get("event") != "log.epoch":
            return
        members, kept, follower = record["previous"], require_integer(record["kept"]), str(record["origin"])
        epoch = Epoch(
            position,
            follower,
            str(members["origin"]),
            require_integer(members["size"]),
            decode_hex(members["root"]),
            kept,
        )
        require(
            len(epoch.root) == HASH_SIZE and 0 <= kept <= position, "log.epoch: it cannot have kept so many records"
        )
        require(epoch.origin != follower, f"log.epoch: the new log has the same name, {follower}")
        self._epochs.append(epoch)
        lost = f", {epoch.size - kept:,} are lost" if epoch.size > kept else ""
        self._report.note(
            f"position {position}: the log continues as {follower}; of {epoch.origin}, whose last checkpoint"
            f" has the size {epoch.size:,}, {kept:,} records are kept{lost}"
            f" ({self._signature_status(epoch, members.get('note'))})"
        )

    def conclude(self, *, to_the_end: bool) -> None:
        """Compare the checkpoint seen before with the log, once it was read."""
        seen, new = self._seen, self._checkpoint
        if to_the_end and self._epochs and self._epochs[-1].follower != new.origin:
            last = self._epochs[-1]
            what = f"log.epoch: the log continues as {last.follower}, but this is signed as {new.origin}"
            self._report.add(Fault(what, INCOMPLETE), position=last.position)
        if seen is None:
            return
        if seen.origin != new.origin and not self._is_followed(seen):
            return
        root = self._roots.get(seen.size)
        if root is None and seen.size > new.size:
            what = f"its size {new.size} is below the {seen.size} seen before: it is older, or the log was rolled back"
            self._report.add(Fault(what, INCOMPLETE))
        elif root is None:
            what = f"it does not show that it extends size {seen.size}, seen before: fetch it with seen={seen.size}"
            self._report.add(Fault(what, INCOMPLETE))
        elif root != seen.root:
            self._report.add(
                Fault(f"fork: the first {seen.size} records are not those that were signed and seen before")
            )

    def _older(self, note: str) -> Checkpoint | None:
        """The older checkpoint: the one seen before, if the sizes are equal, or one that a trusted key signed."""
        claimed = claimed_checkpoint(note, "start checkpoint")
        if self._seen and claimed.size == self._seen.size:
            return self._seen
        try:
            signed = read_checkpoint(note, self._keys, "start checkpoint")
        except Fault as fault:
            if fault.verdict != UNTRUSTED:
                raise
            what = "no key that you trust has signed the older checkpoint in it, of size"
            self._report.note(f"{what} {claimed.size}, so it was not compared: also give the older key")
            return None
        return signed if signed.origin == self._checkpoint.origin else None

    def _signature_status(self, epoch: Epoch, note: object) -> str:
        """Whether the old log's last checkpoint is signed, in words."""
        if not isinstance(note, str):
            return "its signature is not recorded"
        try:
            signed = read_checkpoint(note, self._keys, "log.epoch")
        except Fault as fault:
            if fault.verdict != UNTRUSTED:
                raise
            return "also give the old key to check its signature"
        require(
            signed[:3] == (epoch.origin, epoch.size, epoch.root), "log.epoch: the old key has signed another checkpoint"
        )
        return "signed by the old key"

    def _is_followed(self, seen: Checkpoint) -> bool:
        """Whether the log continued `seen` under a new name and kept all of it; adds findings if not."""
        new, behind = self._checkpoint, [epoch.origin for epoch in self._epochs]
        if seen.origin not in behind:
            self._report.add(
                Fault(
                    f"this is {new.origin}, but {seen.origin} was seen before: no log.epoch in this bundle connects"
                    " the two",
                    INCOMPLETE,
                )
            )
            return False
        # Later epochs may have lost more records.
        follows = self._epochs[behind.index(seen.origin) :]
        for follow in follows:
            if follow.origin == seen.origin and (
                follow.size < seen.size or (follow.size == seen.size and follow.root != seen.root)
            ):
                what = (
                    f"log.epoch: {seen.origin} has signed size {seen.size} with another root, or beyond its last size"
                )
                self._report.add(Fault(what), position=follow.position)
            elif follow.kept < seen.size:
                what = (
                    f"log.epoch: of the first {seen.size} records, seen before, {follow.kept} are kept, the others"
                    " lost: start a new state file once you know why"
                )
                self._report.add(Fault(what, INCOMPLETE), position=follow.position)
        return all(seen.size <= follow.kept for follow in follows)
