"""A new epoch, for a log whose newest records are lost for good: the way on after a restore that cannot be undone.

The log goes on under a new epoch and, by the operator's hand, a new origin, key and anchor. Its first record after the
break holds the last checkpoint of the old origin, so that the loss itself can never be denied. Durable in log_head and
in that record, in one transaction.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from uuid_utils.compat import uuid7

from service.errors import LogDamaged, Misconfigured
from service.log.checkpoint import SEED, BadNote, Note, Verifier
from service.log.opening import LOCK
from service.log.record import Kind, Record
from service.log.stored_hashes import root_at
from service.log.writing import write

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg

    from service.database import Connection
    from service.log.checkpoint import Checkpoint

# The log as it is now.
HEAD = "SELECT epoch, size, tree_size FROM log_head"

# Whether a log of that name has signed here before.
SIGNED = r"SELECT EXISTS (SELECT FROM checkpoint WHERE starts_with(note, $1 || E'\n'))"

# The note of the last checkpoint, where the database still has it.
NOTE = "SELECT note FROM checkpoint WHERE size = $1 AND root = $2"

# The newest checkpoint of the old origin that the database has, within the log as it is.
COVERED = r"""
    SELECT size, root FROM checkpoint WHERE starts_with(note, $1 || E'\n') AND size <= $2 ORDER BY size DESC LIMIT 1
"""

# The log goes on under another epoch; events get a stream of their own with it. Its records are looked for from the
# beginning, as a restored database may count transactions anew.
TURN = "UPDATE log_head SET epoch = $1, cluster = NULL"


async def begin(connection: Connection, last: Checkpoint, origin: str) -> UUID:
    """Begin an epoch behind the checkpoint `last` that the old origin signed; `origin` is the new one. `connection`
    belongs to the owner of the tables. Returns the new epoch. Raises Misconfigured when the origin is not new, or
    when no key can have that name."""
    try:
        Verifier(origin, bytes(SEED))
    except BadNote as error:
        raise Misconfigured(f"The log's origin cannot be {origin!r}: {error}") from error
    if origin == last.origin or await connection.fetchval(SIGNED, origin):
        raise Misconfigured(f"{origin} has signed records of this log: a new epoch needs an origin of its own")
    async with connection.transaction():
        await connection.execute(LOCK)
        head = await connection.fetchrow(HEAD)
        if head is None:
            raise Misconfigured("The log is not open: run migrate")
        note = await _note(connection, last)
        epoch = uuid7()
        await connection.execute(TURN, epoch)
        broken = {
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
            "kept": await _kept(connection, last, head),
        }
        await write(connection, [Record.make(Kind.SYSTEM, broken)])
    return epoch


async def _kept(connection: Connection, last: Checkpoint, head: asyncpg.Record) -> int:
    """How many of the old log's records are here. Behind the newest checkpoint that came back with the database some
    may stand that were written after that, and sealed, though never signed: they take the places of others."""
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


async def _note(connection: Connection, last: Checkpoint) -> str | None:
    """With it, whoever has the old key can see that the old log signed what the record says."""
    stored: str | None = await connection.fetchval(NOTE, last.size, last.root)
    try:
        return stored if stored and Note.parse(stored).text == last.text else None
    except BadNote:
        return None
