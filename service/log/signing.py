"""Sign checkpoints of the sealed log. Durable: first the line in the anchor file, then the note in `checkpoint`.

Only committed records are signed, and only after the anchor names the checkpoint, so that no crash leaves a signed
checkpoint that is not anchored. Before each signature a consistency proof must show that the log extends the last
anchored checkpoint. A database that was restored to an earlier day or altered is not signed (C2SP tlog-checkpoint: a
log must not sign a checkpoint that is inconsistent with an earlier one). Nor is it signed under another name, unless a
new epoch gave it that name: another name has no earlier checkpoint that would contradict it.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from service.errors import LogDamaged, Misconfigured, TryLater
from service.log.anchor_thread import AnchorThread
from service.log.checkpoint import BadNote, Checkpoint, Note
from service.log.epochs import load_beginning
from service.log.keeper_status import MAX_LAG_SECONDS, KeeperStatus
from service.log.merkle import verify_consistency
from service.log.tree import consistency_path
from service.log.witness import OtherHistory, Witnesses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from service.database import Connection, Database
    from service.log.anchor import Anchor
    from service.log.checkpoint import Signature, Signer
    from service.log.epochs import EpochBeginning
    from service.log.witness import Witness

MAX_PAUSE_SECONDS = 5.0
# How long the anchor's volume may take for one step.
ANCHOR_SECONDS = 10.0
POLL_SECONDS = 0.5
# How many signatures of keys that this keeper does not have are kept beside its own.
MAX_OTHER_SIGNATURES = 8
RUNBOOK = "docs/runbook-restored-log.md says how to go on"

# The epoch, the tree, whether it covers the whole log, and the newest note; rows beyond the log's end do not count.
HEAD = """
    SELECT h.epoch, h.tree_size, h.root, h.tree_size = h.size AS whole, c.note
    FROM log_head h LEFT JOIN LATERAL (
        SELECT note FROM checkpoint WHERE note IS NOT NULL AND size <= h.size ORDER BY size DESC LIMIT 1) c ON true
"""

# Wait until all that this server shows is as durable as an answer. Where commits wait for a standby, a time limit may
# have cut a wait short: what was written is visible here, and lost if the standby is promoted. A commit that writes
# this empty message waits for everything before it.
BARRIER = "SELECT pg_logical_emit_message(true, 'timewarden', '')"

# The note that is stored for a size.
STORED = "SELECT note FROM checkpoint WHERE size = $1"

# Store the note, unless there is a row for this size with another root.
SAVE_NOTE = """
    INSERT INTO checkpoint (size, root, note) VALUES ($1, $2, $3)
    ON CONFLICT (size) DO UPDATE SET note = excluded.note WHERE checkpoint.root = excluded.root
    RETURNING size
"""


class CheckpointSigner:
    """Signs checkpoints with all `signers`, whose name is the log's origin. `database` is the keeper's."""

    def __init__(
        self,
        database: Database,
        signers: Sequence[Signer],
        anchor: Anchor,
        *,
        witnesses: Sequence[Witness] = (),
    ) -> None:
        if not signers or len({signer.name for signer in signers}) > 1:
            raise Misconfigured("The keys of a log all have one name, its origin")
        self._database = database
        self._signers = tuple(signers)
        self._anchor = anchor
        self._witnesses = Witnesses(witnesses)
        self._anchor_thread = AnchorThread(ANCHOR_SECONDS)
        self._status = KeeperStatus(database, "signer")
        # The keeper that holds the signing lock, when it is not this one.
        self._holder: str | None = None
        # An epoch, and how it began.
        self._epoch: tuple[UUID, EpochBeginning | None] | None = None

    @property
    def origin(self) -> str:
        return self._signers[0].name

    async def sign(self) -> Checkpoint | None:
        """Sign the sealed log and return the checkpoint; None if it is signed already or another keeper signs.

        Raises LogDamaged when the log does not extend the anchored checkpoint, has another origin, or a witness knows
        another history, DatabaseUnavailable, and Misconfigured when the anchor cannot be written. Nothing is published
        then.
        """
        async with self._signing_lock() as locked:
            if not locked:
                self._holder = await self._anchor_thread.run(self._anchor.holder)
                return None
            self._holder = None
            async with self._database.transaction(snapshot=True) as connection:
                row = await connection.fetchrow(HEAD)
                if row is None or not row["tree_size"] or not row["whole"]:
                    return None
                found = Checkpoint(self.origin, row["tree_size"], row["root"])
                newest = _parse_newest(row["note"])
                if not await self._check_origin(connection, row["epoch"], newest):
                    return None
                anchored = await self._check_history(connection, found, newest)
            if newest and newest[1] == found == anchored and self._is_complete(newest[0]):
                return None
            async with self._database.connection() as connection:
                await connection.execute(BARRIER)
            # Append even if the line is there: its writer may have died before the flush.
            await self._anchor_thread.run(partial(self._anchor.append, found))
            await self._publish(found)
        return found

    @asynccontextmanager
    async def _signing_lock(self) -> AsyncIterator[bool]:
        """Take and release the anchor's lock in the anchor thread. A step that hangs keeps the lock until it ends, as
        it may still write its line; no other keeper may write before that."""
        self._anchor_thread.refuse_while_hanging()
        lock = self._anchor.lock()
        try:
            yield await self._anchor_thread.run(lock.__enter__)
        finally:
            await self._anchor_thread.run_last(partial(lock.__exit__, None, None, None))

    async def run(self, stop: asyncio.Event, interval: float = 2.0) -> None:
        """Sign new records, at most once every `interval` seconds, until `stop` is set; then sign once more."""
        pause = interval
        self._status.within = MAX_LAG_SECONDS + 2 * interval
        while True:
            last = stop.is_set()
            try:
                signed = await self.sign()
            except TryLater as error:
                pause = min(max(pause, interval) * 2, MAX_PAUSE_SECONDS)
                await self._status.report(ready=False, detail=f"cannot sign: {error.cause}")
            except (LogDamaged, Misconfigured) as error:
                pause = MAX_PAUSE_SECONDS
                await self._status.report(ready=False, detail=error.public)
            else:
                pause = interval if signed else min(interval, POLL_SECONDS)
                doing = f"waiting: {self._holder} signs" if self._holder else f"signing as {self.origin}"
                failures = self._witnesses.describe_failures()
                await self._status.report(ready=True, detail=f"{doing}; {failures}" if failures else doing)
            if last:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()

    async def _check_origin(self, connection: Connection, epoch: UUID, newest: tuple[Note, Checkpoint] | None) -> bool:
        """Check that the log has our origin: that with which its epoch began, else that of the newest note, if any.
        Returns whether the record of the epoch is sealed."""
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, await load_beginning(connection, epoch)
        _, begun = self._epoch
        if begun is not None and not begun.sealed:
            self._epoch = None
        named = begun.origin if begun else newest[1].origin if newest else self.origin
        if named != self.origin:
            raise LogDamaged(
                f"The log's origin is {named}, not {self.origin}: correct TIMEWARDEN_LOG_ORIGIN, or begin a new"
                f" epoch; {RUNBOOK}"
            )
        return begun is None or begun.sealed

    async def _check_history(
        self, connection: Connection, found: Checkpoint, newest: tuple[Note, Checkpoint] | None
    ) -> Checkpoint | None:
        """Check that `found` extends the anchored checkpoint and the newest note of this origin; returns the former."""
        anchored = await self._anchor_thread.run(self._anchor.last)
        published = newest[1] if newest and newest[1].origin == self.origin else None
        if anchored is None and published is not None:
            raise LogDamaged(f"Checkpoints were signed, but the anchor file is empty or missing: restore it; {RUNBOOK}")
        if anchored is not None and anchored.origin != self.origin:
            raise LogDamaged(f"The anchor file belongs to the log {anchored.origin}, not to {self.origin}; {RUNBOOK}")
        if anchored is not None and published is not None and published.size > anchored.size:
            raise LogDamaged(
                f"A checkpoint of {published.size} records was signed, but the anchor file ends at"
                f" {anchored.size}: another keeper signs with another anchor file, or this one was restored; {RUNBOOK}"
            )
        for known in (anchored, published):
            if known is not None:
                await _check_extends(connection, known, found)
        return anchored

    def _is_complete(self, note: Note) -> bool:
        """Whether all keys have signed, and all witnesses that can be asked now have cosigned."""
        return not self._witnesses.wait_for(note) and all(
            any(
                (signature.name, signature.key_id) == (signer.name, signer.verifier.key_id)
                and signer.verifier.verifies(note.text, signature)
                for signature in note.signatures
            )
            for signer in self._signers
        )

    async def _publish(self, found: Checkpoint) -> None:
        """Store the note with this keeper's signatures, those of other keepers (which sign while keys are changed) and
        those of witnesses."""

        async def proof(old: int) -> Sequence[bytes]:
            async with self._database.connection() as connection:
                return await consistency_path(connection, old, found.size) if old else []

        ours = Note(found.text, tuple(signer.sign(found.text) for signer in self._signers))
        async with self._database.connection() as connection:
            others, cosigned = self._stored_signatures(await connection.fetchval(STORED, found.size), found)
        try:
            cosigned += await self._witnesses.cosign(ours, found.size, proof)
        except OtherHistory as error:
            raise LogDamaged(f"{error}; {RUNBOOK}") from error
        by_key = {(signature.name, signature.key_id): signature for signature in cosigned}
        note = Note(found.text, (*ours.signatures, *others, *by_key.values()))
        async with self._database.connection() as connection:
            if await connection.fetchval(SAVE_NOTE, found.size, found.root, str(note)) is None:
                raise LogDamaged(f"Another root was stored for the checkpoint of {found.size} records; {RUNBOOK}")

    def _stored_signatures(self, stored: str | None, found: Checkpoint) -> tuple[list[Signature], list[Signature]]:
        """From the stored note: signatures by other keys of the log, and valid cosignatures."""
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
        return others[:MAX_OTHER_SIGNATURES], self._witnesses.verify_cosignatures(note)


def _parse_newest(stored: str | None) -> tuple[Note, Checkpoint] | None:
    """The newest stored note, with its checkpoint."""
    try:
        note = Note.parse(stored) if stored else None
        return (note, Checkpoint.parse(note.text)) if note else None
    except BadNote as error:
        raise LogDamaged(f"The newest stored checkpoint cannot be read: {error}; {RUNBOOK}") from error


async def _check_extends(connection: Connection, known: Checkpoint, found: Checkpoint) -> None:
    if known.size > found.size:
        raise LogDamaged(
            f"The log has {found.size} records, but a checkpoint of {known.size} was signed: it was restored to an"
            f" earlier state; {RUNBOOK}"
        )
    path = await consistency_path(connection, known.size, found.size) if known.size else []
    if known.size and not verify_consistency(known.size, known.root, found.size, found.root, path):
        raise LogDamaged(
            f"The first {known.size} records of the log are not those of the checkpoint that was signed; {RUNBOOK}"
        )
