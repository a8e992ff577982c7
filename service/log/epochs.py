"""Epochs of the log: the first one, which `migrate` opens, and a new one after records were lost for good.

A new epoch is the way on after a restore that cannot be undone. The operator chooses a new origin, key and anchor file
for it. Its first record holds the last checkpoint of the old origin, so that the loss stays on record. Durable in
log_head and in that record, in one transaction.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from service.errors import LogDamaged, Misconfigured
from service.ids import make_id
from service.log.checkpoint import SEED_BYTES, BadNote, Note, Verifier
from service.log.insert import insert_records
from service.log.packing import NEWEST
from service.log.record import Kind, Record, read_body
from service.log.tree import root_at

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg

    from service.database import Connection
    from service.log.checkpoint import Checkpoint

# Nobody writes a record or opens the log meanwhile; transactions that are doing so are waited for.
LOCK = "LOCK TABLE audit_record, log_head IN SHARE ROW EXCLUSIVE MODE"

# The epoch of an open log.
EPOCH = "SELECT epoch FROM log_head"

# Whether the log holds any record.
ANY_RECORD = "SELECT EXISTS (SELECT FROM audit_record)"

# Open the log: nothing is sealed, and the first scan for unsealed rows starts from the beginning. No older release runs
# yet, so the newest dictionary packs its records.
OPEN = f"INSERT INTO log_head (epoch, size, low_xid, packing) VALUES ($1, 0, '0'::xid8, {NEWEST})"

# The epoch, how many records are sealed, and how many the tree holds.
HEAD = "SELECT epoch, size, tree_size FROM log_head"

# Whether this origin has signed a checkpoint of this log before.
SIGNED = r"SELECT EXISTS (SELECT FROM checkpoint WHERE starts_with(note, $1 || E'\n'))"

# The note of the last checkpoint, if the database still has it.
NOTE = "SELECT note FROM checkpoint WHERE size = $1 AND root = $2"

# The newest stored checkpoint of the old origin that lies within the log.
COVERED = r"""
    SELECT size, root FROM checkpoint WHERE starts_with(note, $1 || E'\n') AND size <= $2 ORDER BY size DESC LIMIT 1
"""

# Change the epoch. Events of the new epoch have a stream of their own. The sealer looks for records from the beginning,
# as a restored database may count transactions anew.
CHANGE_EPOCH = "UPDATE log_head SET epoch = $1, cluster = NULL"

# Records of the system from a span of time, and whether they are sealed.
SYSTEM_RECORDS = """
    SELECT body, (SELECT position FROM audit_position WHERE record_id = r.id) IS NOT NULL AS sealed
    FROM audit_record r WHERE kind = 'system' AND decided_at BETWEEN $1 AND $2
"""

# The id of an epoch holds the time at which it began, to the millisecond; its record is made a moment later.
TIME_BYTES: Final = 6
MARGIN: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class EpochBeginning:
    """The content of the `log.epoch` record of an epoch: the log's origin from then on. And whether it is sealed."""

    origin: str
    sealed: bool


async def open_log(connection: Connection, epoch: UUID | None = None) -> UUID:
    """Open the log unless it is open, and return its epoch. `connection` belongs to the owner of the tables.

    The very first record, which gets position 0, is a `system` record that names the epoch. Raises Misconfigured when
    records exist in a log that was never opened.
    """
    async with connection.transaction():
        await connection.execute(LOCK)
        known: UUID | None = await connection.fetchval(EPOCH)
        if known is not None:
            return known
        if await connection.fetchval(ANY_RECORD):
            raise Misconfigured("The log holds records but was never opened; restore log_head from a backup")
        epoch = epoch or make_id()
        opened = {"decided_at": datetime.now(UTC), "event": "log.opened", "epoch": epoch}
        await connection.execute(OPEN, epoch)
        await insert_records(connection, [Record.make(Kind.SYSTEM, opened)])
    return epoch


async def begin_epoch(connection: Connection, last: Checkpoint, origin: str) -> UUID:
    """Begin an epoch named `origin` after `last`, the last checkpoint that the old origin signed. `connection` belongs
    to the owner of the tables. Returns the new epoch. Raises Misconfigured when the origin has signed before, or cannot
    be the name of a key."""
    try:
        Verifier(origin, bytes(SEED_BYTES))
    except BadNote as error:
        raise Misconfigured(f"The log's origin cannot be {origin!r}: {error}") from error
    if origin == last.origin or await connection.fetchval(SIGNED, origin):
        raise Misconfigured(f"{origin} has signed records of this log: a new epoch needs a new origin")
    async with connection.transaction():
        await connection.execute(LOCK)
        head = await connection.fetchrow(HEAD)
        if head is None:
            raise Misconfigured("The log is not open: run migrate")
        note = await _load_note(connection, last)
        epoch = make_id()
        await connection.execute(CHANGE_EPOCH, epoch)
        begun = {
            "decided_at": datetime.now(UTC),
            "event": "log.epoch",
            "epoch": epoch,
            "origin": origin,
            "previous": {
                "epoch": head["epoch"],
                "origin": last.origin,
                "size": last.size,
                "root": last.root.hex(),
                **({"note": note} if note else {}),
            },
            "kept": await _count_kept(connection, last, head),
        }
        await insert_records(connection, [Record.make(Kind.SYSTEM, begun)])
    return epoch


async def load_beginning(connection: Connection, epoch: UUID) -> EpochBeginning | None:
    """How this epoch began; None for the first epoch of a log, and if the record was pruned or altered."""
    began = datetime.fromtimestamp(int.from_bytes(epoch.bytes[:TIME_BYTES]) / 1000, UTC)
    for row in await connection.fetch(SYSTEM_RECORDS, began - MARGIN, began + MARGIN):
        with suppress(ValueError, RecursionError):
            body = read_body(row["body"])
            if body.get("event") == "log.epoch" and body.get("epoch") == str(epoch):
                return EpochBeginning(str(body.get("origin")), row["sealed"])
    return None


async def _count_kept(connection: Connection, last: Checkpoint, head: asyncpg.Record) -> int:
    """How many records of the old log the database still has. After the newest checkpoint that was restored there may
    be sealed records that were never signed; they do not count, as others had their positions."""
    size, tree = int(head["size"]), int(head["tree_size"])
    if await _begins_with(connection, tree, last.size, last.root):
        return size
    covered = await connection.fetchrow(COVERED, last.origin, min(tree, last.size))
    if covered and await _begins_with(connection, tree, covered["size"], covered["root"]):
        return int(covered["size"])
    return size


async def _begins_with(connection: Connection, tree: int, size: int, root: bytes) -> bool:
    try:
        return 0 < size <= tree and await root_at(connection, size) == root
    except LogDamaged:
        return False


async def _load_note(connection: Connection, last: Checkpoint) -> str | None:
    """The signed note of the last checkpoint: with the old key, a verifier can check what the record says."""
    stored: str | None = await connection.fetchval(NOTE, last.size, last.root)
    try:
        return stored if stored and Note.parse(stored).text == last.text else None
    except BadNote:
        return None
