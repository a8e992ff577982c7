"""The published log: the newest signed checkpoint, and the tiles, records and proofs that it covers. Reads only.

Only what a signed checkpoint covers is returned. The newest checkpoint is cached for a second, so that frequent public
requests cost Postgres little.
"""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import NotFound, NotSealed
from service.log import tiles
from service.log.packing import unpack
from service.log.tree import consistency_path, inclusion_path, load_hashes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from service.database import Connection, Database, Turns
    from service.log.tiles import Tile

CACHE_SECONDS = 1.0
PROOF = "c2sp.org/tlog-proof@v1"

# The newest signed checkpoint; rows beyond the log's end do not count.
NEWEST = """
    SELECT size, root, note FROM checkpoint WHERE note IS NOT NULL AND size <= (SELECT size FROM log_head)
    ORDER BY size DESC LIMIT 1
"""

# The note that was signed for a size.
OF_SIZE = "SELECT note FROM checkpoint WHERE note IS NOT NULL AND size = $1"

# The size of the sealed log.
LOG_SIZE = "SELECT size FROM log_head"

# A range of sealed records; a pruned record has no body.
BODIES = """
    SELECT r.uid, r.body FROM audit_position p LEFT JOIN audit_record r ON r.id = p.record_id
    WHERE p.position >= $1 AND p.position < $2 ORDER BY p.position
"""

# The position of a record, pruned or not. If two records have the uid, the first sealed one, as in every search.
POSITION = """
    SELECT p.position FROM (
        SELECT id FROM audit_record WHERE uid = $1 UNION ALL SELECT record_id FROM audit_pruned WHERE uid = $1
    ) AS r LEFT JOIN audit_position p ON p.record_id = r.id ORDER BY p.position, r.id LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A signed checkpoint: `note` covers the first `size` records."""

    size: int
    root: bytes
    note: str


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """Proves that the log's first `old` records are a prefix of its first `size`. `checkpoint` is the one signed for
    `size`, or the newest if there is none."""

    old: int
    size: int
    hashes: Sequence[bytes]
    checkpoint: str


class PublishedLog:
    """The public part: checkpoint and hash tiles. `turns` bounds the connections that public requests may hold."""

    def __init__(self, database: Database, turns: Turns) -> None:
        self._database = database
        self._turns = turns
        self._signed: SignedCheckpoint | None = None
        self._until = 0.0

    async def checkpoint(self) -> SignedCheckpoint:
        """The newest signed checkpoint, at most a second old. Raises NotSealed, DatabaseUnavailable."""
        if self._signed is None or time.monotonic() >= self._until:
            async with self._turns.take(), self._database.connection() as connection:
                self._signed = await newest_checkpoint(connection)
            self._until = time.monotonic() + CACHE_SECONDS
        return self._signed

    async def hashes(self, tile: Tile) -> bytes:
        """The hashes of a tile. Raises NotFound for a tile that the newest checkpoint does not cover."""
        if not tiles.is_covered(tile, (await self.checkpoint()).size):
            raise _no_tile()
        async with self._turns.take(), self._database.connection() as connection:
            hashes = await load_hashes(connection, tile)
        if hashes is None:
            raise _no_tile()
        return hashes


async def newest_checkpoint(connection: Connection) -> SignedCheckpoint:
    """The newest signed checkpoint. Raises NotSealed before the first."""
    row = await connection.fetchrow(NEWEST)
    if row is None:
        raise NotSealed
    return SignedCheckpoint(row["size"], row["root"], row["note"])


async def entry_bundle(connection: Connection, tile: Tile) -> tuple[bytes, list[str]]:
    """The bytes of an entry bundle, and the uids of its records. Raises NotFound when the newest checkpoint does not
    cover it, or its records were pruned."""
    if not tiles.is_covered(tile, (await newest_checkpoint(connection)).size):
        raise _no_tile()
    start = tile.index * tiles.WIDTH
    rows = await connection.fetch(BODIES, start, start + tile.width)
    if len(rows) != tile.width or any(row["body"] is None for row in rows):
        raise NotFound("The records of this bundle were pruned; their hashes are kept")
    return tiles.encode_bundle(unpack(row["body"]) for row in rows), [str(row["uid"]) for row in rows]


async def inclusion_proof(connection: Connection, uid: UUID) -> str:
    """The C2SP tlog-proof of a record: its position, the path to the root, and the checkpoint. Works for pruned records
    too. Raises NotFound, NotSealed."""
    row = await connection.fetchrow(POSITION, uid)
    if row is None:
        raise NotFound("No such record")
    signed, position = await newest_checkpoint(connection), row["position"]
    if position is None or position >= signed.size:
        raise NotSealed
    path = await inclusion_path(connection, position, signed.size)
    return "\n".join([PROOF, f"index {position}", *map(_encode, path), "", signed.note])


async def consistency_proof(connection: Connection, old: int, size: int | None) -> ConsistencyProof:
    """The proof between two sizes; `size` is by default that of the newest checkpoint. Raises NotSealed for a size
    beyond it, NotFound for a size beyond the log, ValueError when `old` is greater than `size`."""
    signed = await newest_checkpoint(connection)
    new = signed.size if size is None else size
    if (beyond := max(old, new)) > signed.size:
        if beyond > await connection.fetchval(LOG_SIZE):
            raise NotFound(f"The log has fewer than {beyond} records")
        raise NotSealed
    note: str | None = None if new == signed.size else await connection.fetchval(OF_SIZE, new)
    return ConsistencyProof(old, new, await consistency_path(connection, old, new), note or signed.note)


def _no_tile() -> NotFound:
    return NotFound("The newest checkpoint does not cover this tile")


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()
