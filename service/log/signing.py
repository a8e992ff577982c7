"""Signing: checkpoints of the sealed log. Durable: the anchor file first, then the note in `checkpoint`.

Only what was committed is signed, and only after the anchor names it, so that a crash leaves no signed checkpoint which
the anchor does not know. Before each signature the log must extend the last anchored checkpoint, by a consistency
proof: for a database that was put back to an earlier day, or altered, nothing is signed (C2SP tlog-checkpoint: a log
must not sign what is inconsistent with what it signed before).
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from service.errors import LogDamaged, Misconfigured, TryLater
from service.log.aside import Aside
from service.log.checkpoint import BadNote, Checkpoint, Note
from service.log.keeper_status import MAX_LAG_SECONDS, KeeperStatus
from service.log.merkle import extends
from service.log.stored_hashes import consistency_path
from service.log.witness import Witnesses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from service.database import Connection, Database
    from service.log.anchor import Anchor
    from service.log.checkpoint import Signature, Signer
    from service.log.witness import Witness

LONGEST_PAUSE = 5.0
# How long the anchor's volume may take for one step.
ANCHOR_SECONDS = 10.0
LOOK = 0.5
# Signatures of keys that this keeper does not have are kept beside its own, up to so many.
MAX_OTHERS = 8
RUNBOOK = "docs/runbook-restored-log.md says how to go on"

# The tree, unless it is being caught up, and the newest note; a row beyond the log's end is nobody's of ours.
HEAD = """
    SELECT h.tree_size, h.root, h.tree_size = h.size AS whole, c.note
    FROM log_head h LEFT JOIN LATERAL (
        SELECT note FROM checkpoint WHERE note IS NOT NULL AND size <= h.size ORDER BY size DESC LIMIT 1) c ON true
"""

# The note that is stored for a size.
STORED = "SELECT note FROM checkpoint WHERE size = $1"

# Keep the note; a row for this size with another root is left alone.
KEEP = """
    INSERT INTO checkpoint (size, root, note) VALUES ($1, $2, $3)
    ON CONFLICT (size) DO UPDATE SET note = excluded.note WHERE checkpoint.root = excluded.root
    RETURNING size
"""


class Signing:
    """Signs for the log named `origin` with every one of `signers`, whose names are the origin. `database` is the
    keeper's. `witnesses` are asked in turn. `patience`, in seconds, bounds each use of the anchor's volume."""

    def __init__(
        self,
        database: Database,
        signers: Sequence[Signer],
        anchor: Anchor,
        *,
        witnesses: Sequence[Witness] = (),
        patience: float = ANCHOR_SECONDS,
    ) -> None:
        if not signers or len({signer.name for signer in signers}) > 1:
            raise Misconfigured("The keys of a log all have one name, its origin")
        self._database = database
        self._signers = tuple(signers)
        self._anchor = anchor
        self._witnesses = Witnesses(witnesses)
        self._aside = Aside(patience)
        self._status = KeeperStatus(database, "signer")
        # Who signs instead of us, when it was not our turn.
        self._others: str | None = None

    @property
    def origin(self) -> str:
        return self._signers[0].name

    async def sign(self) -> Checkpoint | None:
        """Sign what is sealed, unless that was done, or another keeper is at it. Returns what was signed.

        Raises LogDamaged when the log does not extend what was anchored, DatabaseUnavailable, and Misconfigured when
        the anchor cannot be written; nothing was published then.
        """
        async with self._turn() as mine:
            if not mine:
                self._others = await self._aside.do(self._anchor.holder)
                return None
            self._others = None
            async with self._database.transaction(snapshot=True) as connection:
                row = await connection.fetchrow(HEAD)
                if row is None or not row["tree_size"] or not row["whole"]:
                    return None
                found = Checkpoint(self.origin, row["tree_size"], row["root"])
                newest = _read(row["note"])
                anchored = await self._guard(connection, found, newest)
            if newest and newest[1] == found == anchored and self._signed_by_all(newest[0]):
                return None
            # Also when it is there already: whoever wrote it may have died before it was flushed.
            await self._aside.do(partial(self._anchor.append, found))
            await self._publish(found)
        return found

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[bool]:
        """The anchor's turn, taken and given back aside. A step that hangs keeps the turn until it ends: its line may
        still come, and nobody may write another before that."""
        self._aside.refuse_while_hanging()
        turn = self._anchor.turn()
        try:
            yield await self._aside.do(turn.__enter__)
        finally:
            await self._aside.last(partial(turn.__exit__, None, None, None))

    async def run(self, stop: asyncio.Event, interval: float = 2.0) -> None:
        """Sign what is new, but not again within `interval` seconds, until `stop`; then once more."""
        pause = interval
        self._status.within = MAX_LAG_SECONDS + 2 * interval
        while True:
            last = stop.is_set()
            try:
                signed = await self.sign()
            except TryLater as error:
                pause = min(max(pause, interval) * 2, LONGEST_PAUSE)
                await self._status.report(ready=False, detail=f"cannot sign: {error.cause}")
            except (LogDamaged, Misconfigured) as error:
                pause = LONGEST_PAUSE
                await self._status.report(ready=False, detail=error.public)
            else:
                pause = interval if signed else min(interval, LOOK)
                doing = f"waits, because {self._others} signs" if self._others else f"signing as {self.origin}"
                await self._status.report(ready=True, detail=doing)
            if last:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()

    async def _guard(
        self, connection: Connection, found: Checkpoint, newest: tuple[Note, Checkpoint] | None
    ) -> Checkpoint | None:
        """What the anchor names last, which `found` extends, as it does the newest note of this origin."""
        anchored = await self._aside.do(self._anchor.last)
        published = newest[1] if newest and newest[1].origin == self.origin else None
        if anchored is None and published is not None:
            raise LogDamaged(
                f"Checkpoints were signed, but the anchor file is empty or missing: put it back; {RUNBOOK}"
            )
        if anchored is not None and anchored.origin != self.origin:
            raise LogDamaged(f"The anchor file is of the log {anchored.origin}, not of {self.origin}; {RUNBOOK}")
        if anchored is not None and published is not None and published.size > anchored.size:
            raise LogDamaged(
                f"A checkpoint of {published.size} records was signed, but the anchor file names no more than"
                f" {anchored.size}: another keeper signs with another anchor file, or this one was put back; {RUNBOOK}"
            )
        for known in (anchored, published):
            if known is not None:
                await _check_extends(connection, known, found)
        return anchored

    def _signed_by_all(self, note: Note) -> bool:
        return all(
            any(
                (signature.name, signature.key_id) == (signer.name, signer.verifier.key_id)
                and signer.verifier.verifies(note.text, signature)
                for signature in note.signatures
            )
            for signer in self._signers
        )

    async def _publish(self, found: Checkpoint) -> None:
        """Store the note: our signatures, those of other keepers that it has, which sign while keys are changed, and
        witnesses'."""

        async def proof(old: int) -> Sequence[bytes]:
            async with self._database.connection() as connection:
                return await consistency_path(connection, old, found.size) if old else []

        ours = Note(found.text, tuple(signer.sign(found.text) for signer in self._signers))
        async with self._database.connection() as connection:
            others, cosigned = self._held(await connection.fetchval(STORED, found.size), found)
        cosigned += await self._witnesses.cosign(ours, found.size, proof)
        by_key = {(one.name, one.key_id): one for one in cosigned}
        note = Note(found.text, (*ours.signatures, *others, *by_key.values()))
        async with self._database.connection() as connection:
            if await connection.fetchval(KEEP, found.size, found.root, str(note)) is None:
                raise LogDamaged(f"Another root was stored for the checkpoint of {found.size} records; {RUNBOOK}")

    def _held(self, stored: str | None, found: Checkpoint) -> tuple[list[Signature], list[Signature]]:
        """Of the note that is stored for a size: signatures of the log's other keys, and cosignatures that hold."""
        try:
            note = Note.parse(stored) if stored else None
        except BadNote:
            note = None
        if note is None or note.text != found.text:
            return [], []
        ours = {signer.verifier.key_id for signer in self._signers}
        others = [
            signature for signature in note.signatures if signature.name == self.origin and signature.key_id not in ours
        ]
        return others[:MAX_OTHERS], self._witnesses.verified(note)


def _read(stored: str | None) -> tuple[Note, Checkpoint] | None:
    """The newest note that is stored, and what it says."""
    try:
        note = Note.parse(stored) if stored else None
        return (note, Checkpoint.parse(note.text)) if note else None
    except BadNote as error:
        raise LogDamaged(f"The newest stored checkpoint cannot be read: {error}; {RUNBOOK}") from error


async def _check_extends(connection: Connection, known: Checkpoint, found: Checkpoint) -> None:
    if known.size > found.size:
        raise LogDamaged(
            f"The log has {found.size} records, but a checkpoint of {known.size} was signed: it was put back to an"
            f" earlier state; {RUNBOOK}"
        )
    path = await consistency_path(connection, known.size, found.size) if known.size else []
    if known.size and not extends(known.size, known.root, found.size, found.root, path):
        raise LogDamaged(
            f"The first {known.size} records of the log are not those of the checkpoint that was signed; {RUNBOOK}"
        )
