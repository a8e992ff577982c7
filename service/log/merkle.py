"""The Merkle tree of RFC 9162 §2.1: hashes, paths and the compact range that grows it. Pure; owns no state.

Paths are generated from the recursive definitions of §2.1.3.1 and §2.1.4.1; whoever checks them uses the iterative
algorithms of §2.1.3.2 and §2.1.4.2, so that one mistake cannot hide itself. A subtree is named (level, index): it is
complete and covers the leaves [index * 2^level, (index + 1) * 2^level).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

HASH_SIZE = 32
EMPTY = hashlib.sha256(b"").digest()

# The hash of the complete subtree at (level, index).
HashAt: TypeAlias = Callable[[int, int], bytes]


def leaf(data: bytes) -> bytes:
    """The leaf hash of a record's bytes (RFC 9162 §2.1.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node (RFC 9162 §2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes, by the recursive definition (RFC 9162 §2.1.1). For small trees: O(n) memory."""
    if not leaves:
        return EMPTY
    if len(leaves) == 1:
        return leaves[0]
    half = _split(len(leaves))
    return node(root(leaves[:half]), root(leaves[half:]))


def root_at(size: int, hash_at: HashAt) -> bytes:
    """The root of the first `size` leaves, from complete subtrees."""
    return _range(0, size, hash_at) if size else EMPTY


def inclusion_path(index: int, size: int, hash_at: HashAt) -> list[bytes]:
    """The hashes from the leaf's sibling up to the root's child (RFC 9162 §2.1.3.1). Raises ValueError."""
    if not 0 <= index < size:
        raise ValueError(f"There is no leaf {index} in a tree of {size}")
    return list(_inclusion(index, 0, size, hash_at))


def consistency_path(old: int, size: int, hash_at: HashAt) -> list[bytes]:
    """The proof that the tree of `old` leaves is a prefix of the one of `size` (RFC 9162 §2.1.4.1); empty when they are
    equal. Raises ValueError, also for `old` = 0, of which there is nothing to prove."""
    if not 0 < old <= size:
        raise ValueError(f"A tree of {old} leaves is no prefix of one of {size}")
    return [] if old == size else list(_consistency(old, 0, size, hash_at, whole=True))


def extends(old: int, old_root: bytes, size: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether `path` proves that the tree of `old` leaves is a prefix of the one of `size` (RFC 9162 §2.1.4.2): the
    iterative algorithm, which trusts neither the path nor who made it."""
    if old == size:
        return old_root == new_root and not path
    if not path or not 0 < old < size:
        return False
    first, *rest = [old_root, *path] if old & (old - 1) == 0 else path
    fn, sn = old - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old_hash = new_hash = first
    for one in rest:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            old_hash, new_hash = node(one, old_hash), node(one, new_hash)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            new_hash = node(new_hash, one)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and old_hash == old_root and new_hash == new_root


def subtrees(size: int) -> list[tuple[int, int]]:
    """The complete subtrees that a tree of `size` leaves consists of, largest first: its compact range."""
    found, start = [], 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            found.append((level, start >> level))
            start += 1 << level
    return found


class Edge:
    """The compact range of [0, size): the roots of its complete subtrees, largest first. Grown in place."""

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """Raises ValueError when the hashes cannot be those of a tree of `size`."""
        if len(hashes) != size.bit_count() or any(len(one) != HASH_SIZE for one in hashes):
            raise ValueError(f"The edge of a tree of {size} leaves has {size.bit_count()} hashes, not {len(hashes)}")
        self.size = size
        self.hashes = list(hashes)

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf: it merges with every complete subtree of its own size, as a carry does in addition."""
        carry, rest = leaf_hash, self.size
        while rest & 1:
            carry = node(self.hashes.pop(), carry)
            rest >>= 1
        self.hashes.append(carry)
        self.size += 1

    def root(self) -> bytes:
        """The root: the subtrees joined from the right."""
        if not self.hashes:
            return EMPTY
        joined = self.hashes[-1]
        for one in reversed(self.hashes[:-1]):
            joined = node(one, joined)
        return joined


def _split(size: int) -> int:
    """The largest power of two smaller than `size`, the k of RFC 9162 §2.1.1."""
    return 1 << ((size - 1).bit_length() - 1)


def _range(start: int, end: int, hash_at: HashAt) -> bytes:
    """MTH(D[start:end]), where `start` is a multiple of the power of two that covers the range."""
    size = end - start
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return hash_at(level, start >> level)
    half = start + _split(size)
    return node(_range(start, half, hash_at), _range(half, end, hash_at))


def _inclusion(index: int, start: int, end: int, hash_at: HashAt) -> Iterator[bytes]:
    """PATH(m, D[start:end]) of RFC 9162 §2.1.3.1."""
    if end - start == 1:
        return
    half = start + _split(end - start)
    if index < half:
        yield from _inclusion(index, start, half, hash_at)
        yield _range(half, end, hash_at)
    else:
        yield from _inclusion(index, half, end, hash_at)
        yield _range(start, half, hash_at)


def _consistency(old: int, start: int, end: int, hash_at: HashAt, *, whole: bool) -> Iterator[bytes]:
    """SUBPROOF(m, D[start:end], b) of RFC 9162 §2.1.4.1; `old` is counted from the beginning of the tree."""
    if old == end:
        if not whole:
            yield _range(start, end, hash_at)
        return
    half = start + _split(end - start)
    if old <= half:
        yield from _consistency(old, start, half, hash_at, whole=whole)
        yield _range(half, end, hash_at)
    else:
        yield from _consistency(old, half, end, hash_at, whole=False)
        yield _range(start, half, hash_at)
