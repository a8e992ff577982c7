"""What of the log is published: the newest signed checkpoint, and tiles, records and proofs that it covers. Reads only.

Nothing is given out that no signed checkpoint covers. The newest checkpoint is remembered for a moment, so that
strangers who ask for it often cost Postgres little.
"""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import NotFound, NotSealed
from service.log import tiles
from service.log.merkle import HASH_SIZE
from service.log.tree import consistency_path, inclusion_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from service.database import Connection, Database, Turns
    from service.log.tiles import Tile

FRESH = 1.0
PROOF = "c2sp.org/tlog-proof@v1"

# The newest checkpoint that was signed; a row beyond the log's end is no checkpoint of ours.
NEWEST = """
    SELECT size, root, note FROM checkpoint WHERE note IS NOT NULL AND size <= (SELECT size FROM log_head)
    ORDER BY size DESC LIMIT 1
"""

# The note that was signed for a size.
OF_SIZE = "SELECT note FROM checkpoint WHERE note IS NOT NULL AND size = $1"

# The first hashes of a tile.
HASHES = "SELECT substr(hashes, 1, $3) FROM tile WHERE level = $1 AND index = $2"

# How long the sealed log is.
LENGTH = "SELECT size FROM log_head"

# Neighbouring records of the sealed log; without a body when it was let go.
BODIES = """
    SELECT r.uid, r.body FROM audit_position p LEFT JOIN audit_record r ON r.id = p.record_id
    WHERE p.position >= $1 AND p.position < $2 ORDER BY p.position
"""

# Where a record stands, or stood until its body was let go; of that uid the one that was sealed first, as in every
# search.
PLACE = """
    SELECT p.position FROM (
        SELECT id FROM audit_record WHERE uid = $1 UNION ALL SELECT record_id FROM audit_pruned WHERE uid = $1
    ) AS r LEFT JOIN audit_position p ON p.record_id = r.id ORDER BY p.position, r.id LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Signed:
    """The newest signed checkpoint: `note` covers the first `size` records."""

    size: int
    root: bytes
    note: str


@dataclass(frozen=True, slots=True)
class Consistency:
    """The proof that the log's first `old` records are the prefix of its first `size` ones; `checkpoint` is the one
    that was signed for `size`, or the newest where none was."""

    old: int
    size: int
    hashes: Sequence[bytes]
    checkpoint: str


class Published:
    """The public part: checkpoint and hash tiles. `turns` bounds how many connections strangers may hold."""

    def __init__(self, database: Database, turns: Turns) -> None:
        self._database = database
        self._turns = turns
        self._signed: Signed | None = None
        self._until = 0.0

    async def checkpoint(self) -> Signed:
        """The newest signed checkpoint, at most a second old. Raises NotSealed, DatabaseUnavailable."""
        if self._signed is None or time.monotonic() >= self._until:
            async with self._turns.one(), self._database.connection() as connection:
                self._signed = await newest(connection)
            self._until = time.monotonic() + FRESH
        return self._signed

    async def tile(self, tile: Tile) -> bytes:
        """The tile's hashes. Raises NotFound for a tile that the newest checkpoint does not cover."""
        if not tiles.is_covered(tile, (await self.checkpoint()).size):
            raise _no_tile()
        async with self._turns.one(), self._database.connection() as connection:
            hashes: bytes | None = await connection.fetchval(HASHES, tile.level, tile.index, tile.width * HASH_SIZE)
        if hashes is None or len(hashes) != tile.width * HASH_SIZE:
            raise _no_tile()
        return hashes


async def newest(connection: Connection) -> Signed:
    """The newest signed checkpoint. Raises NotSealed before the first."""
    row = await connection.fetchrow(NEWEST)
    if row is None:
        raise NotSealed
    return Signed(row["size"], row["root"], row["note"])


async def bundle(connection: Connection, tile: Tile) -> tuple[bytes, list[str]]:
    """The records of an entry bundle, and their uids. Raises NotFound when the newest checkpoint does not cover it, or
    when its records were let go."""
    if not tiles.is_covered(tile, (await newest(connection)).size):
        raise _no_tile()
    start = tile.index * tiles.WIDTH
    rows = await connection.fetch(BODIES, start, start + tile.width)
    if len(rows) != tile.width or any(row["body"] is None for row in rows):
        raise NotFound("The records of this bundle are not kept any more; their hashes are")
    return tiles.encode_bundle(row["body"] for row in rows), [str(row["uid"]) for row in rows]


async def proof(connection: Connection, uid: UUID) -> str:
    """The C2SP tlog-proof of a record, also of one that retention dropped and somebody kept: its place, the path to the
    root, the checkpoint. Raises NotFound, NotSealed."""
    row = await connection.fetchrow(PLACE, uid)
    if row is None:
        raise NotFound("There is no such record")
    signed, position = await newest(connection), row["position"]
    if position is None or position >= signed.size:
        raise NotSealed
    path = await inclusion_path(connection, position, signed.size)
    return "\n".join([PROOF, f"index {position}", *map(_encoded, path), "", signed.note])


async def consistency(connection: Connection, old: int, size: int | None) -> Consistency:
    """The proof between two sizes, by default up to the newest checkpoint. Raises NotSealed beyond it, NotFound beyond
    the log itself, ValueError when `old` is greater than `size`."""
    signed = await newest(connection)
    wanted = signed.size if size is None else size
    if (beyond := max(old, wanted)) > signed.size:
        if beyond > await connection.fetchval(LENGTH):
            raise NotFound(f"The log has no {beyond} records")
        raise NotSealed
    note: str | None = None if wanted == signed.size else await connection.fetchval(OF_SIZE, wanted)
    return Consistency(old, wanted, await consistency_path(connection, old, wanted), note or signed.note)


def _no_tile() -> NotFound:
    return NotFound("The newest checkpoint covers no such tile")


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
