"""A small C2SP tlog-tiles client for tests: reads a log over HTTP and rebuilds its root, without code of the
service."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def read_note(note: str, vkey: str) -> tuple[int, bytes]:
    """Verify a checkpoint; returns its size and root."""
    name, key_id, encoded = vkey.split("+", 2)
    text, _, lines = note.rpartition("\n\n")
    for line in lines.splitlines():
        dash, signer, signature = line.split(" ")
        raw = base64.b64decode(signature)
        if (dash, signer, raw[:4].hex()) == ("\u2014", name, key_id):
            key = Ed25519PublicKey.from_public_bytes(base64.b64decode(encoded)[1:])
            key.verify(raw[4:], f"{text}\n".encode())
            origin, size, root = text.split("\n")
            assert origin == name
            return int(size), base64.b64decode(root)
    raise AssertionError("The key has not signed the note")


def path_of(index: int) -> str:
    digits = f"{index:03}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])


def tiles_of(level: int, size: int) -> list[str]:
    """The paths of the tiles of a level, the partial one last."""
    count = size // 256**level
    full, rest = divmod(count, 256)
    return [path_of(index) for index in range(full)] + ([f"{path_of(full)}.p/{rest}"] if rest else [])


async def hashes_of(get: Callable[[str], Awaitable[bytes]], level: int, size: int) -> list[bytes]:
    """All hashes of a level, from its tiles."""
    found = [await get(f"tile/{level}/{path}") for path in tiles_of(level, size)]
    return [tile[at : at + 32] for tile in found for at in range(0, len(tile), 32)]


async def entries_of(get: Callable[[str], Awaitable[bytes]], size: int) -> list[bytes]:
    """All records, from the entry bundles."""
    found = []
    for path in tiles_of(0, size):
        data = await get(f"tile/entries/{path}")
        while data:
            length = int.from_bytes(data[:2], "big")
            found.append(data[2 : 2 + length])
            data = data[2 + length :]
    return found


def leaf_of(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def root_of(hashes: list[bytes]) -> bytes:
    """The root over leaves, level by level: a lone last one is carried up (the same tree as RFC 9162's recursion)."""
    while len(hashes) > 1:
        paired = [hashlib.sha256(b"\x01" + hashes[at] + hashes[at + 1]).digest() for at in range(0, len(hashes) - 1, 2)]
        hashes = paired + hashes[len(paired) * 2 :]
    return hashes[0]
