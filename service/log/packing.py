"""Packs the stored bytes of decisions, which are nearly all of a log. Pure.

They are deflated (RFC 1951) with a dictionary of what decisions have in common, which leaves less than a quarter. Every
other record is stored as its canonical bytes, which SQL can read. Whatever leaves the database, and what is sealed, are
always the canonical bytes.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.log import dictionaries
from service.log.merkle import leaf_hash

if TYPE_CHECKING:
    from service.log.record import Record

MAX_BODY_BYTES = 65_535
# What of a record that SQL searches in its bytes (record_query); such a record is not packed.
SEARCHED = b'"on_behalf_of":"'
LEVEL = 3


@dataclass(frozen=True, slots=True)
class Dictionary:
    """A dictionary, the window that holds it and a record, and how much memory the compressor takes: little makes it
    cheap to copy for each record."""

    words: bytes
    window_bits: int
    memory_level: int


# By the first byte of what they pack; canonical bytes begin with a brace. The log says which one packs (`log_head`):
# a release reads a dictionary before it packs with it.
DICTIONARIES: Final = {
    1: Dictionary(dictionaries.FIRST, window_bits=-12, memory_level=5),
    2: Dictionary(dictionaries.SECOND, window_bits=-13, memory_level=6),
}
OLDEST, NEWEST = min(DICTIONARIES), max(DICTIONARIES)
# Whether the bytes of a row `r` are packed, in SQL.
IS_PACKED = f"get_byte(r.body, 0) IN ({', '.join(map(str, DICTIONARIES))})"
_COMPRESSORS = {
    number: zlib.compressobj(
        LEVEL, zlib.DEFLATED, form.window_bits, form.memory_level, zlib.Z_DEFAULT_STRATEGY, form.words
    )
    for number, form in DICTIONARIES.items()
}
_FIRST_BYTES = {number: bytes([number]) for number in DICTIONARIES}


def pack(record: Record, packing: int) -> bytes:
    """The bytes to store for a record: a decision is packed with the dictionary of this number."""
    if record.columns["outcome"] is None or SEARCHED in record.body:
        return record.body
    compressor = _COMPRESSORS[packing].copy()
    return _FIRST_BYTES[packing] + compressor.compress(record.body) + compressor.flush()


def unpack(stored: bytes) -> bytes:
    """The canonical bytes of a record. Stored bytes that were altered, so that they cannot be unpacked, are returned as
    they are."""
    dictionary = DICTIONARIES.get(stored[0]) if stored else None
    if dictionary is None:
        return stored
    decompressor = zlib.decompressobj(dictionary.window_bits, dictionary.words)
    try:
        # One byte more than a record may have, so that a longer one is noticed.
        body = decompressor.decompress(stored[1:], MAX_BODY_BYTES + 1)
    except zlib.error:
        return stored
    is_whole = decompressor.eof and not decompressor.unused_data and len(body) <= MAX_BODY_BYTES
    return body if is_whole else stored


def unpack_with_leaf(stored: bytes, stored_hash: bytes) -> tuple[bytes, bytes]:
    """The canonical bytes of a stored record, and their leaf hash. `stored_hash` is the hash that Postgres made of the
    stored bytes, which is the leaf if they are not packed. If it is not their hash, one of the two was altered: then it
    is returned, and is not the leaf that was sealed."""
    body = unpack(stored)
    is_as_stored = body is stored or leaf_hash(stored) != stored_hash
    return body, stored_hash if is_as_stored else leaf_hash(body)


def stored_leaf(stored: bytes, stored_hash: bytes) -> bytes:
    """The leaf hash of a stored record, as in `unpack_with_leaf`."""
    return unpack_with_leaf(stored, stored_hash)[1]
