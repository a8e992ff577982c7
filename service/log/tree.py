"""The stored tree: the sealer grows it, and proofs are read from it. Durable: log_head's edge, and tile.

`grow` runs in the transaction that gives positions. It reads the leaves from the stored rows, never from memory. Before
it adds any, it checks that the stored edge, root and right-most tiles belong to one tree; a damaged tree is not grown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from service.errors import LogDamaged
from service.log import merkle, tiles
from service.log.merkle import EMPTY, HASH_SIZE, Edge, leaf_hash
from service.log.packing import IS_PACKED, NEWEST, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from service.database import Connection
    from service.log.merkle import HashAt
    from service.log.tiles import Tile

T = TypeVar("T")

# The records of a range of positions, in order: the hash of what is stored, whether it is no longer that, and the bytes
# if they are packed.
LEAVES = f"""
    SELECT p.position, r.stored_hash, r.stored_hash IS DISTINCT FROM sha256('\\x00'::bytea || r.body) AS is_altered,
           CASE WHEN {IS_PACKED} THEN r.body END AS packed
    FROM audit_position p JOIN audit_record r ON r.id = p.record_id
    WHERE p.position >= $1 AND p.position < $2 ORDER BY p.position
"""

# Tiles by level and index.
TILES = """
    SELECT t.level, t.index, t.hashes FROM unnest($1::smallint[], $2::bigint[]) AS wanted (level, index)
    JOIN tile t USING (level, index)
"""

# The first hashes of a tile.
HASHES = "SELECT substr(hashes, 1, $3) FROM tile WHERE level = $1 AND index = $2"

# Write tiles, new or grown.
SAVE_TILES = """
    INSERT INTO tile (level, index, width, hashes)
    SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::smallint[], $4::bytea[])
    ON CONFLICT (level, index) DO UPDATE SET width = excluded.width, hashes = excluded.hashes
"""

# Record the new size, edge and root, and say first which packed records this code reads: a keeper that cannot read the
# newest is refused.
SAVE_EDGE = f"""
    UPDATE log_head SET tree_size = $1, edge = $2, root = $3
    WHERE set_config('timewarden.reads_packing', '{NEWEST}', true) IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class StoredTree:
    """The tree's part of log_head: `size` leaves, the edge's hashes, the root (None while there is no leaf)."""

    size: int
    edge: Sequence[bytes]
    root: bytes | None


async def grow(connection: Connection, stored: StoredTree, until: int) -> bytes:
    """Add the leaves of the positions from the tree's size up to `until`, and return the new root. The caller's
    transaction holds the lock on log_head. Raises LogDamaged; the caller must then roll back."""
    return await add_leaves(connection, stored, await _load_leaves(connection, stored.size, until))


async def add_leaves(connection: Connection, stored: StoredTree, leaves: Sequence[bytes]) -> bytes:
    """As `grow`, with the leaves of the next positions."""
    edge = _load_edge(stored)
    unfinished = await _load_unfinished(connection, stored.size)
    _check_tiles(edge, unfinished)
    changed: dict[tuple[int, int], bytes] = {}
    for tile in tiles.append_leaves(stored.size, unfinished, leaves):
        changed[tile.level, tile.index] = b"".join(unfinished[tile.level])
    for tile in tiles.unfinished_tiles(stored.size + len(leaves)):
        changed[tile.level, tile.index] = b"".join(unfinished[tile.level])
    for leaf in leaves:
        edge.append(leaf)
    places = sorted(changed)
    hashes = [changed[place] for place in places]
    widths = [len(tile_hashes) // HASH_SIZE for tile_hashes in hashes]
    await connection.execute(SAVE_TILES, [level for level, _ in places], [index for _, index in places], widths, hashes)
    await connection.execute(SAVE_EDGE, edge.size, edge.hashes, edge.root())
    return edge.root()


async def root_at(connection: Connection, size: int) -> bytes:
    """The root of the first `size` leaves, from the stored tiles. Raises LogDamaged when a tile lacks hashes."""
    return await _compute(connection, lambda hash_at: merkle.root_at(size, hash_at))


async def inclusion_path(connection: Connection, index: int, size: int) -> list[bytes]:
    """As `merkle.inclusion_path`, from the stored tiles. Raises ValueError, LogDamaged."""
    return await _compute(connection, lambda hash_at: merkle.inclusion_path(index, size, hash_at))


async def consistency_path(connection: Connection, old: int, size: int) -> list[bytes]:
    """As `merkle.consistency_path`, from the stored tiles. Raises ValueError, LogDamaged."""
    return await _compute(connection, lambda hash_at: merkle.consistency_path(old, size, hash_at))


async def load_subtrees(connection: Connection, places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    """The hashes of complete subtrees, by (level, index); those that the stored tiles lack are left out."""
    stored = await _load_tiles(connection, sorted({tiles.locate(*place)[:2] for place in places}))
    found = {}
    for place in places:
        level, tile, first, count = tiles.locate(*place)
        items = stored.get((level, tile), [])[first : first + count]
        if len(items) == count:
            found[place] = tiles.subtree_root(items)
    return found


async def load_hashes(connection: Connection, tile: Tile) -> bytes | None:
    """The hashes of a tile of this width; None if the stored one has fewer."""
    size = tile.width * HASH_SIZE
    hashes: bytes | None = await connection.fetchval(HASHES, tile.level, tile.index, size)
    return hashes if hashes is not None and len(hashes) == size else None


async def _compute(connection: Connection, compute: Callable[[HashAt], T]) -> T:
    """Run `compute` twice: first to learn which hashes it needs, then with those hashes, read in one statement."""
    needed: set[tuple[int, int]] = set()

    def note(level: int, index: int) -> bytes:
        needed.add((level, index))
        return EMPTY

    compute(note)
    found = await load_subtrees(connection, sorted(needed))

    def hash_at(level: int, index: int) -> bytes:
        if (level, index) not in found:
            tile_level, tile, _, _ = tiles.locate(level, index)
            raise LogDamaged(f"The stored tree is damaged: tile {tile_level}/{tile} lacks hashes")
        return found[level, index]

    return compute(hash_at)


async def _load_tiles(connection: Connection, places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], list[bytes]]:
    rows = await connection.fetch(TILES, [level for level, _ in places], [index for _, index in places])
    return {(row["level"], row["index"]): tiles.split_hashes(row["hashes"]) for row in rows}


def _load_edge(stored: StoredTree) -> Edge:
    try:
        edge = Edge(stored.size, stored.edge)
    except ValueError as error:
        raise LogDamaged(f"The stored tree is damaged: {error}") from error
    if (edge.root() if stored.size else None) != stored.root:
        raise LogDamaged(f"The stored tree is damaged: the edge of its {stored.size} leaves does not give its root")
    return edge


async def _load_unfinished(connection: Connection, size: int) -> dict[int, list[bytes]]:
    wanted = tiles.unfinished_tiles(size)
    stored = await _load_tiles(connection, [(tile.level, tile.index) for tile in wanted])
    found = {level: hashes for (level, _), hashes in stored.items()}
    for tile in wanted:
        held = len(found.get(tile.level, ()))
        if held != tile.width:
            raise LogDamaged(
                f"The stored tree is damaged: tile {tile.level}/{tile.index} holds {held} hashes, not {tile.width}"
            )
    return found


def _check_tiles(edge: Edge, unfinished: Mapping[int, Sequence[bytes]]) -> None:
    """Raise LogDamaged unless the tiles hold the subtrees that the edge consists of."""
    for (level, index), held in zip(merkle.subtrees(edge.size), edge.hashes, strict=True):
        tile_level, tile, first, count = tiles.locate(level, index)
        if tiles.subtree_root(unfinished[tile_level][first : first + count]) != held:
            raise LogDamaged(f"The stored tree is damaged: tile {tile_level}/{tile} is not of this tree")


async def _load_leaves(connection: Connection, start: int, until: int) -> list[bytes]:
    rows = await connection.fetch(LEAVES, start, until)
    if len(rows) != until - start:
        raise LogDamaged(f"The log is damaged: records between the positions {start} and {until - 1} are missing")
    for row in rows:
        if row["is_altered"]:
            raise LogDamaged(
                f"The log is damaged: the record at position {row['position']} does not have its leaf hash"
            )
    return [row["stored_hash"] if row["packed"] is None else leaf_hash(unpack(row["packed"])) for row in rows]
