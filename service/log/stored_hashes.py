"""Complete subtrees of the stored tree, and the paths made of them. Reads only; owns no state.

A path is asked for twice: first to learn which hashes it needs, which are then read in one statement, then for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from service.errors import LogDamaged
from service.log import merkle, tiles
from service.log.merkle import EMPTY

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.database import Connection
    from service.log.merkle import HashAt

T = TypeVar("T")

# Tiles by their places.
TILES = """
    SELECT t.level, t.index, t.hashes FROM unnest($1::smallint[], $2::bigint[]) AS wanted (level, index)
    JOIN tile t USING (level, index)
"""


async def root_at(connection: Connection, size: int) -> bytes:
    """The root of the first `size` leaves. Raises LogDamaged when the tiles do not hold them."""
    return await _computed(connection, lambda hash_at: merkle.root_at(size, hash_at))


async def inclusion_path(connection: Connection, index: int, size: int) -> list[bytes]:
    """As `merkle.inclusion_path`, from the stored tiles. Raises ValueError, LogDamaged."""
    return await _computed(connection, lambda hash_at: merkle.inclusion_path(index, size, hash_at))


async def consistency_path(connection: Connection, old: int, size: int) -> list[bytes]:
    """As `merkle.consistency_path`, from the stored tiles. Raises ValueError, LogDamaged."""
    return await _computed(connection, lambda hash_at: merkle.consistency_path(old, size, hash_at))


async def _computed(connection: Connection, compute: Callable[[HashAt], T]) -> T:
    needed: set[tuple[int, int]] = set()

    def note(level: int, index: int) -> bytes:
        needed.add((level, index))
        return EMPTY

    compute(note)
    places = sorted({tiles.place(*one)[:2] for one in needed})
    rows = await connection.fetch(TILES, [level for level, _ in places], [index for _, index in places])
    held = {(row["level"], row["index"]): tiles.split(row["hashes"]) for row in rows}

    def hash_at(level: int, index: int) -> bytes:
        tile_level, tile, first, count = tiles.place(level, index)
        items = held.get((tile_level, tile), [])[first : first + count]
        if len(items) != count:
            raise LogDamaged(f"The stored tree is damaged: tile {tile_level}/{tile} lacks hashes")
        return tiles.subtree(items)

    return compute(hash_at)
