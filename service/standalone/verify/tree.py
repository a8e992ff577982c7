"""The Merkle tree of RFC 9162 §2.1 for a verifier: folds leaves from the left and verifies proofs. Pure.

The algorithms are iterative (§2.1.3.2, §2.1.4.2) and cannot generate proofs.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HASH_SIZE = 32
# The root of the tree without leaves (RFC 9162 §2.1.1).
EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf (RFC 9162 §2.1.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node (RFC 9162 §2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Fold:
    """The tree over all leaves pushed so far, as a stack of complete subtrees with their levels."""

    def __init__(self) -> None:
        self._stack: list[tuple[int, bytes]] = []

    def push(self, level: int, value: bytes) -> None:
        """Add the next subtree of 2^level leaves. The number of leaves before it must be a multiple of that."""
        while self._stack and self._stack[-1][0] == level:
            level, value = level + 1, node_hash(self._stack.pop()[1], value)
        self._stack.append((level, value))

    def root(self) -> bytes:
        """The root: the subtree hashes combined from right to left."""
        if not self._stack:
            return EMPTY_ROOT
        value = self._stack[-1][1]
        for _, left in reversed(self._stack[:-1]):
            value = node_hash(left, value)
        return value


def subtrees(start: int, end: int) -> Iterator[tuple[int, int]]:
    """(level, index) of the fewest complete subtrees that cover [start, end), from left to right."""
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        yield level, start >> level
        start += 1 << level


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether the path leads from this leaf to this root (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    fn, sn, r = index, size - 1, leaf
    for p in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == root


def verify_consistency(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the tree of `old` leaves is a prefix of the tree of `size` (RFC 9162 §2.1.4.2). The
    empty tree is a prefix of every tree, which needs no proof."""
    if old == 0:
        return old_root == EMPTY_ROOT and not proof and (size > 0 or root == EMPTY_ROOT)
    if not 0 < old < size:
        return 0 < old == size and old_root == root and not proof
    # If `old` is a power of two, its root is a node of the larger tree and is not part of the proof.
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        return False
    fn, sn = old - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == old_root and sr == root
