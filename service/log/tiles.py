"""C2SP tlog-tiles: which tile holds which hashes, and how tiles and entry bundles are named and encoded. Pure.

A tile holds up to 256 hashes of one tree level out of eight: item i of tile (level l, index n) is the root of the
complete subtree (8 * l, 256 * n + i). The levels between are computed from it. An entry bundle holds up to 256 records.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.log.merkle import HASH_SIZE, node_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

HEIGHT = 8
WIDTH = 1 << HEIGHT
MAX_LEVEL = 63
MAX_ENTRY_BYTES = 65_535
# Positions are bigint, so no tile has a greater index.
MAX_INDEX = (1 << 63) // WIDTH
MAX_NUMBER_CHARS = len("x036/x028/x797/x018/x963/968")

_NUMBER = re.compile(r"(?:x[0-9]{3}/)*[0-9]{3}")


@dataclass(frozen=True, slots=True)
class Tile:
    """The name of a tile. `level` is -1 for an entry bundle; `width` is how many items it has, 256 when it is full."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """The path after `tile/` in the URL, for example `0/x001/234.p/7` or `entries/067`."""
        part = "" if self.width == WIDTH else f".p/{self.width}"
        return f"{'entries' if self.level < 0 else self.level}/{path_of_index(self.index)}{part}"


def path_of_index(index: int) -> str:
    """Groups of three digits, all but the last prefixed by `x`: 1234067 is x001/x234/067."""
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03}")
    return "/".join(reversed(groups))


def parse_path(path: str) -> Tile | None:
    """The tile that a path after `tile/` names; None unless it is spelled exactly as C2SP tlog-tiles says."""
    level, _, rest = path.partition("/")
    number, partial, width = rest.partition(".p/")
    if not _NUMBER.fullmatch(number) or not (level == "entries" or (level.isascii() and level.isdigit())):
        return None
    if partial and not (width.isascii() and width.isdigit()):
        return None
    # Refuse very long digit strings, which would be slow to convert.
    if max(len(level), len(width)) > len("entries") or len(number) > MAX_NUMBER_CHARS:
        return None
    index = int(number.replace("x", "").replace("/", ""))
    tile = Tile(-1 if level == "entries" else int(level), index, int(width) if partial else WIDTH)
    known = tile.level <= MAX_LEVEL and 0 < tile.width <= WIDTH and index <= MAX_INDEX
    return tile if known and tile.path == path else None


def width_at(level: int, index: int, size: int) -> int:
    """How many items the tile has in a tree of `size`; 0 for a tile beyond its end. Entry bundles count as level 0."""
    return max(0, min(WIDTH, (size >> (HEIGHT * max(level, 0))) - index * WIDTH))


def unfinished_tiles(size: int) -> list[Tile]:
    """The right-most tiles of a tree of `size` that are not full, from the records upwards; one a level at most."""
    indexes = ((level, (size >> (HEIGHT * level)) // WIDTH) for level in range(-(-size.bit_length() // HEIGHT)))
    return [Tile(level, index, width) for level, index in indexes if (width := width_at(level, index, size))]


def is_covered(tile: Tile, size: int) -> bool:
    """Whether a tree of `size` leaves holds every item of the tile."""
    return tile.width <= width_at(tile.level, tile.index, size)


def locate(level: int, index: int) -> tuple[int, int, int, int]:
    """Where to find the complete subtree (level, index): tile level, tile index, first item, and how many items."""
    within = level % HEIGHT
    first = index << within
    return level // HEIGHT, first // WIDTH, first % WIDTH, 1 << within


def split_hashes(hashes: bytes) -> list[bytes]:
    """The hashes of a tile."""
    return [hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE)]


def subtree_root(items: Sequence[bytes]) -> bytes:
    """The root over neighbouring items, whose number is a power of two: a hash between two tile levels."""
    while len(items) > 1:
        items = [node_hash(items[at], items[at + 1]) for at in range(0, len(items), 2)]
    return items[0]


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """An entry bundle: before each record its length as big-endian uint16. Raises ValueError for one beyond 65,535
    bytes."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise ValueError(f"An entry has at most {MAX_ENTRY_BYTES} bytes")
        parts += [len(entry).to_bytes(2, "big"), entry]
    return b"".join(parts)


def split_bundle(data: bytes) -> list[bytes]:
    """The records of an entry bundle."""
    entries = []
    while data:
        end = 2 + int.from_bytes(data[:2], "big")
        entries.append(data[2:end])
        data = data[end:]
    return entries


def append_leaves(size: int, edges: dict[int, list[bytes]], leaves: Iterable[bytes]) -> Iterator[Tile]:
    """Append leaves to the right-most tiles. `edges` maps each level to the items of its unfinished tile and is changed
    in place. Yields each tile that has just become full; its items are in `edges` until the next step."""
    for position, leaf in enumerate(leaves, size):
        level, index, item = 0, position, leaf
        while True:
            items = edges.setdefault(level, [])
            items.append(item)
            if len(items) < WIDTH:
                break
            yield Tile(level, index // WIDTH)
            # Only a full tile becomes an item of the level above.
            item = subtree_root(items)
            items.clear()
            level, index = level + 1, index // WIDTH
