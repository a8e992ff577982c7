"""The Merkle tree of RFC 9162 §2.1 as a verifier sees it: folded from the left, and proofs checked. Pure.

Iterative throughout (§2.1.3.2, §2.1.4.2); nothing here can generate a proof.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HASH_SIZE = 32


def leaf_hash(data: bytes) -> bytes:
    """RFC 9162 §2.1.1."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 9162 §2.1.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Fold:
    """The tree over everything that was pushed so far, kept as a stack of complete subtrees with their levels."""

    def __init__(self) -> None:
        self._stack: list[tuple[int, bytes]] = []

    def push(self, level: int, value: bytes) -> None:
        """Add the next subtree of 2^level leaves; what lies left of it is a multiple of that."""
        while self._stack and self._stack[-1][0] == level:
            level, value = level + 1, node_hash(self._stack.pop()[1], value)
        self._stack.append((level, value))

    def root(self) -> bytes:
        """The root of all that was pushed: the subtrees joined from the right."""
        if not self._stack:
            return hashlib.sha256(b"").digest()
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


def included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """RFC 9162 §2.1.3.2: whether the path leads from this leaf to this root."""
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


def consistent(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """RFC 9162 §2.1.4.2: whether the tree of `size` leaves begins with that of `old` leaves."""
    if not 0 < old < size:
        return 0 < old == size and old_root == root and not proof
    # A power of two: its root is itself a node of the larger tree and is not sent.
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
