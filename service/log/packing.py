"""Packs the stored bytes of decisions, which are nearly all of a log. Pure.

They are compressed with a dictionary of what decisions have in common, which leaves less than a quarter. Every other
record is stored as its canonical bytes, which SQL can read. Whatever leaves the database, and what is sealed, are
always the canonical bytes.
"""

from __future__ import annotations

import threading
import zlib
from typing import TYPE_CHECKING, Final, Protocol

import zstandard

from service.log import dictionaries
from service.log.merkle import leaf_hash

if TYPE_CHECKING:
    from service.log.record import Record

MAX_BODY_BYTES = 65_535
# What of a record that SQL searches in its bytes (record_query); such a record is not packed.
SEARCHED = b'"on_behalf_of":"'
# Most records are smaller; zstd chooses its window by it.
USUAL_BODY_BYTES = 2_000


class Dictionary(Protocol):
    """A compression with a dictionary of these `words`. Threads may share it."""

    words: bytes

    def compress(self, body: bytes) -> bytes: ...

    def decompress(self, compressed: bytes) -> bytes | None:
        """The body; None for bytes that are not one whole body of at most MAX_BODY_BYTES, compressed."""
        ...


class Deflate:
    """RFC 1951, with a window that holds the dictionary and a record. With little memory, the compressor is cheap to
    copy for each record."""

    def __init__(self, words: bytes, window_bits: int, memory_level: int) -> None:
        self.words = words
        self._window_bits = window_bits
        self._compressor = zlib.compressobj(3, zlib.DEFLATED, window_bits, memory_level, zlib.Z_DEFAULT_STRATEGY, words)

    def compress(self, body: bytes) -> bytes:
        compressor = self._compressor.copy()
        return compressor.compress(body) + compressor.flush()

    def decompress(self, compressed: bytes) -> bytes | None:
        decompressor = zlib.decompressobj(self._window_bits, self.words)
        try:
            # One byte more than a record may have, so that a longer one is noticed.
            body = decompressor.decompress(compressed, MAX_BODY_BYTES + 1)
        except zlib.error:
            return None
        is_whole = decompressor.eof and not decompressor.unused_data and len(body) <= MAX_BODY_BYTES
        return body if is_whole else None


class Zstandard(threading.local):
    """RFC 8878, each frame without its magic number. Its tables fit into the first cache of a processor. Each thread
    has its own."""

    def __init__(self, words: bytes) -> None:
        self.words = words
        parameters = zstandard.ZstdCompressionParameters.from_level(
            3, source_size=USUAL_BODY_BYTES, dict_size=len(words), hash_log=12, chain_log=12, min_match=6,
            format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=True, write_checksum=False,
            write_dict_id=False,
        )  # fmt: skip
        dictionary = zstandard.ZstdCompressionDict(words)
        dictionary.precompute_compress(compression_params=parameters)
        self.compress = zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters).compress
        self._decompress = zstandard.ZstdDecompressor(dict_data=dictionary, format=parameters.format).decompress

    def decompress(self, compressed: bytes) -> bytes | None:
        try:
            # The decompressor reserves as much memory as the bytes say.
            said = zstandard.get_frame_parameters(compressed, zstandard.FORMAT_ZSTD1_MAGICLESS).content_size
            return self._decompress(compressed, allow_extra_data=False) if 0 < said <= MAX_BODY_BYTES else None
        except zstandard.ZstdError:
            return None


# By the first byte of what they pack; canonical bytes begin with a brace. The log says which one packs (`log_head`):
# a release reads a dictionary before it packs with it.
DICTIONARIES: Final[dict[int, Dictionary]] = {
    1: Deflate(dictionaries.FIRST, window_bits=-12, memory_level=5),
    2: Deflate(dictionaries.SECOND, window_bits=-13, memory_level=6),
    3: Zstandard(dictionaries.THIRD),
}
OLDEST, NEWEST = min(DICTIONARIES), max(DICTIONARIES)
# Whether the bytes of a row `r` are packed, in SQL.
IS_PACKED = f"get_byte(r.body, 0) IN ({', '.join(map(str, DICTIONARIES))})"
_FIRST_BYTES = {number: bytes([number]) for number in DICTIONARIES}


def pack(record: Record, packing: int) -> bytes:
    """The bytes to store for a record: a decision is packed with the dictionary of this number."""
    if record.columns["outcome"] is None or SEARCHED in record.body:
        return record.body
    return _FIRST_BYTES[packing] + DICTIONARIES[packing].compress(record.body)


def unpack(stored: bytes) -> bytes:
    """The canonical bytes of a record. Stored bytes that were altered, so that they cannot be unpacked, are returned as
    they are."""
    dictionary = DICTIONARIES.get(stored[0]) if stored else None
    body = None if dictionary is None else dictionary.decompress(stored[1:])
    return stored if body is None else body


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
