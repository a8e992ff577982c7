"""The stored tree: grown by the sealer in the transaction that gives positions. Durable: log_head's edge, and tile.

The leaves come from the stored rows, never from memory, and before anything is added what is stored is checked against
itself: edge, root and right-most tiles must be of one tree. A log that fails this is not grown any further.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import LogDamaged
from service.log import merkle, tiles
from service.log.merkle import HASH_SIZE, Edge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.database import Connection

# The leaves of some positions in their order, and whether each is still the hash of its record's bytes.
LEAVES = """
    SELECT count(*) AS found, string_agg(r.leaf, '' ORDER BY p.position) AS leaves,
           min(p.position) FILTER (WHERE r.leaf <> sha256('\\x00'::bytea || r.body)) AS altered
    FROM audit_position p JOIN audit_record r ON r.id = p.record_id
    WHERE p.position >= $1 AND p.position < $2
"""

# The unfinished tile of each level.
UNFINISHED = """
    SELECT t.level, t.width, t.hashes FROM unnest($1::smallint[], $2::bigint[]) AS wanted (level, index)
    JOIN tile t USING (level, index)
"""

# Keep tiles as they are now.
KEEP = """
    INSERT INTO tile (level, index, width, hashes)
    SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::smallint[], $4::bytea[])
    ON CONFLICT (level, index) DO UPDATE SET width = excluded.width, hashes = excluded.hashes
"""

# The tree has more leaves now.
GROWN = "UPDATE log_head SET tree_size = $1, edge = $2, root = $3"


@dataclass(frozen=True, slots=True)
class StoredTree:
    """The tree's part of log_head: `size` leaves, the edge's hashes, the root (None while there is no leaf)."""

    size: int
    edge: Sequence[bytes]
    root: bytes | None


async def grow(connection: Connection, stored: StoredTree, until: int) -> bytes:
    """Add the leaves of the positions from the tree's size up to `until`, within the caller's transaction, which holds
    the lock on log_head. Returns the new root. Raises LogDamaged; then nothing of it is to be committed."""
    edge = _checked_edge(stored)
    unfinished = await _unfinished(connection, stored.size)
    _check_tiles(edge, unfinished)
    kept: dict[tuple[int, int], bytes] = {}
    leaves = await _leaves(connection, stored.size, until)
    for tile in tiles.grown(stored.size, unfinished, leaves):
        kept[tile.level, tile.index] = b"".join(unfinished[tile.level])
    for level, items in unfinished.items():
        if items:
            kept[level, (until >> (tiles.HEIGHT * level)) // tiles.WIDTH] = b"".join(items)
    for leaf in leaves:
        edge.append(leaf)
    places = sorted(kept)
    hashes = [kept[place] for place in places]
    widths = [len(one) // HASH_SIZE for one in hashes]
    await connection.execute(KEEP, [level for level, _ in places], [index for _, index in places], widths, hashes)
    await connection.execute(GROWN, edge.size, edge.hashes, edge.root())
    return edge.root()


def _checked_edge(stored: StoredTree) -> Edge:
    try:
        edge = Edge(stored.size, stored.edge)
    except ValueError as error:
        raise LogDamaged(f"The stored tree is damaged: {error}") from error
    if (edge.root() if stored.size else None) != stored.root:
        raise LogDamaged(f"The stored tree is damaged: the edge of its {stored.size} leaves does not give its root")
    return edge


async def _unfinished(connection: Connection, size: int) -> dict[int, list[bytes]]:
    wanted = [
        (level, index)
        for level in range((size.bit_length() + tiles.HEIGHT - 1) // tiles.HEIGHT)
        if 0 < tiles.width_at(level, index := (size >> (tiles.HEIGHT * level)) // tiles.WIDTH, size) < tiles.WIDTH
    ]
    rows = await connection.fetch(UNFINISHED, [level for level, _ in wanted], [index for _, index in wanted])
    found = {row["level"]: tiles.split(row["hashes"]) for row in rows}
    for level, index in wanted:
        held, due = len(found.get(level, ())), tiles.width_at(level, index, size)
        if held != due:
            raise LogDamaged(f"The stored tree is damaged: tile {level}/{index} holds {held} hashes, not {due}")
    return found


def _check_tiles(edge: Edge, unfinished: Mapping[int, Sequence[bytes]]) -> None:
    """The tiles must hold the very subtrees that the edge consists of."""
    for (level, index), held in zip(merkle.subtrees(edge.size), edge.hashes, strict=True):
        tile_level, tile, first, count = tiles.place(level, index)
        if tiles.subtree(unfinished[tile_level][first : first + count]) != held:
            raise LogDamaged(f"The stored tree is damaged: tile {tile_level}/{tile} is not of this tree")


async def _leaves(connection: Connection, start: int, until: int) -> list[bytes]:
    row = await connection.fetchrow(LEAVES, start, until)
    if row is None or row["found"] != until - start:
        raise LogDamaged(f"The log is damaged: records between the positions {start} and {until - 1} are missing")
    if row["altered"] is not None:
        raise LogDamaged(f"The log is damaged: the record at position {row['altered']} does not have its leaf hash")
    return tiles.split(row["leaves"] or b"")
