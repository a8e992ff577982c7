"""Whether a log goes on from what was seen before: under its own name, or under a new one behind a `log.epoch`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

from .findings import INCOMPLETE, UNTRUSTED, Fault, Report, need
from .notes import claimed_checkpoint, decoded, read_checkpoint
from .records import unhexed
from .tree import HASH_SIZE, consistent

if TYPE_CHECKING:
    from .notes import Checkpoint, Keys
    from .records import Object
    from .tree import Fold

# The root of no tree.
ANOTHER = b""


class Epoch(NamedTuple):
    """What a `log.epoch` record says: of the log `origin`, whose last checkpoint had this size and root, so many
    records were `kept` in the log that follows it."""

    position: int
    follower: str
    origin: str
    size: int
    root: bytes
    kept: int


def related(old: Checkpoint, new: Checkpoint, proof: list[bytes], report: Report) -> None:
    """Judge whether the one extends the other, by an RFC 9162 proof. Raises Fault when that cannot be said."""
    what = (
        f"this is {new.origin}, and {old.origin} was seen before: a bundle shows whether the one goes on from the other"
    )
    need(old.origin == new.origin, what, INCOMPLETE)
    need(old.size <= new.size, f"size {new.size} is below {old.size}: which is the older one?", INCOMPLETE)
    if not consistent(old.size, old.root, new.size, new.root, proof):
        what = f"fork: the log of size {new.size} does not begin with the {old.size} records that were signed before"
        if old.size != new.size:
            what += ", or the proof is not one between these two"
        report.find(Fault(what))
    report.shown.append(f"the {new.size:,} records of {new.origin} begin with the {old.size:,} that were signed before")


class Continuity:
    """A log of `checkpoint`, of which roots of earlier sizes become known while it is read; `seen` was seen before."""

    def __init__(self, checkpoint: Checkpoint, keys: Keys, seen: Checkpoint | None, report: Report) -> None:
        self._checkpoint = checkpoint
        self._keys = keys
        self._seen = seen
        self._report = report
        # Of which sizes the root is shown.
        self._roots = {checkpoint.size: checkpoint.root}
        self._epochs: list[Epoch] = []

    def start(self, said: Object | None) -> None:
        """Read the header's `start`: an older checkpoint, and the proof that this one extends it."""
        if said is None:
            return
        need(said.keys() == {"checkpoint", "consistency"}, "header: start has other members than it should")
        old, new, seen = self._older(said["checkpoint"]), self._checkpoint, self._seen
        proof = [decoded(one) for one in said["consistency"]]
        if old is None:
            return
        if consistent(old.size, old.root, new.size, new.root, proof):
            self._roots[old.size] = old.root
        elif seen is None or seen.origin == new.origin:
            self._report.find(
                Fault(f"fork: the log of size {new.size} does not extend its checkpoint of size {old.size}")
            )
        elif old is seen:
            # Lawful in a new epoch, as far as its record says that records were lost.
            self._roots[old.size] = ANOTHER

    def at(self, size: int, tree: Fold) -> None:
        """The first `size` leaves are folded."""
        if self._seen and self._seen.size == size:
            self._roots[size] = tree.root()

    def epoch(self, position: int, record: Object) -> None:
        """Look at a record: one that says that the log goes on under another name is remembered and told."""
        if record.get("kind") != "system" or record.get("event") != "log.epoch":
            return
        said, kept, follower = record["previous"], _whole(record["kept"]), str(record["origin"])
        one = Epoch(position, follower, str(said["origin"]), _whole(said["size"]), unhexed(said["root"]), kept)
        need(len(one.root) == HASH_SIZE and 0 <= kept <= position, "log.epoch: it cannot have kept so many records")
        need(one.origin != follower, f"log.epoch: no log goes on from {follower} under the same name")
        self._epochs.append(one)
        lost = f", {one.size - kept:,} are lost" if one.size > kept else ""
        self._report.note(
            f"position {position}: the log goes on as {follower}; of {one.origin}, whose last checkpoint"
            f" has the size {one.size:,}, {kept:,} records are kept{lost} ({self._shown(one, said.get('note'))})"
        )

    def judge(self, *, to_the_end: bool) -> None:
        """Hold what was seen before against all that was read."""
        seen, new = self._seen, self._checkpoint
        if to_the_end and self._epochs and self._epochs[-1].follower != new.origin:
            last = self._epochs[-1]
            what = f"log.epoch: it says that the log goes on as {last.follower}, and this is signed as {new.origin}"
            self._report.find(Fault(what, INCOMPLETE), position=last.position)
        if seen is None:
            return
        if seen.origin != new.origin and not self._goes_on(seen):
            return
        root = self._roots.get(seen.size)
        if root is None and seen.size > new.size:
            what = f"its size {new.size} is below the {seen.size} seen before: made earlier, or the log was rolled back"
            self._report.find(Fault(what, INCOMPLETE))
        elif root is None:
            what = f"it cannot show how it relates to size {seen.size}, seen before: ask for it with seen={seen.size}"
            self._report.find(Fault(what, INCOMPLETE))
        elif root != seen.root:
            self._report.find(
                Fault(f"fork: the first {seen.size} records are not those that were signed and seen before")
            )

    def _older(self, note: str) -> Checkpoint | None:
        """The checkpoint to start from: the one that was seen, or one that a trusted key signed for this log. Whoever
        signed it then matters no more when we have it ourselves."""
        claimed = claimed_checkpoint(note, "start checkpoint")
        if self._seen and claimed.size == self._seen.size:
            return self._seen
        try:
            signed = read_checkpoint(note, self._keys, "start checkpoint")
        except Fault as fault:
            if fault.verdict != UNTRUSTED:
                raise
            what = "no key that you trust has signed the older checkpoint beside it, of size"
            self._report.note(f"{what} {claimed.size}, so nothing was held against that: give the older key as well")
            return None
        return signed if signed.origin == self._checkpoint.origin else None

    def _shown(self, epoch: Epoch, note: object) -> str:
        """How sure the old log's last checkpoint is."""
        if not isinstance(note, str):
            return "its signature is not on record"
        try:
            signed = read_checkpoint(note, self._keys, "log.epoch")
        except Fault as fault:
            if fault.verdict != UNTRUSTED:
                raise
            return "give the old key as well, and its signature is checked"
        need(
            signed[:3] == (epoch.origin, epoch.size, epoch.root), "log.epoch: the old key has signed another checkpoint"
        )
        return "signed by the old key"

    def _goes_on(self, seen: Checkpoint) -> bool:
        """Whether the log went on under another name after `seen`, and kept all of it; if not, that is told."""
        new, behind = self._checkpoint, [epoch.origin for epoch in self._epochs]
        if seen.origin not in behind:
            self._report.find(
                Fault(
                    f"this is {new.origin}, and {seen.origin} was seen before: no log.epoch in this bundle says that"
                    " the one goes on from the other",
                    INCOMPLETE,
                )
            )
            return False
        # Later epochs may have lost more.
        follows = self._epochs[behind.index(seen.origin) :]
        for follow in follows:
            if follow.origin == seen.origin and (
                follow.size < seen.size or (follow.size == seen.size and follow.root != seen.root)
            ):
                what = f"log.epoch: {seen.origin} has signed size {seen.size} with another root or behind its last one"
                self._report.find(Fault(what), position=follow.position)
            elif follow.kept < seen.size:
                what = (
                    f"log.epoch: of the first {seen.size} records, seen before, {follow.kept} are kept, the others"
                    " lost: begin a new state file when you know why"
                )
                self._report.find(Fault(what, INCOMPLETE), position=follow.position)
        return all(seen.size <= follow.kept for follow in follows)


def _whole(number: object) -> int:
    need(type(number) is int, f"{number!r} is not an integer")
    return cast("int", number)
