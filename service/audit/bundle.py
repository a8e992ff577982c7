"""Builds audit bundles, which prove what the sealed log holds in a range of positions. Reads only; owns no state.

A bundle is JSON Lines (docs/audit-bundle.md is the specification): a header `{format, from, to, checkpoint, left,
right, start, pruned}`, then for each position `{position, sealed, uid, leaf, body, columns, texts}`. The header is
complete before the first record, so a bundle streams in bounded memory, and a broken download can resume at the next
position. The builder verifies nothing. It writes a damaged log as stored; `service/standalone/verify`, which shares no
code with it, verifies.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from service.audit.sealed_rows import PRUNED, SealedRow, sealed_rows
from service.errors import InvalidField, LogDamaged, NotSealed
from service.log.checkpoint import BadNote, Checkpoint, Note
from service.log.record import read_body
from service.log.tree import consistency_path, inclusion_path, load_subtrees
from service.places import FieldError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from service.database import Connection, Database

FORMAT = "timewarden-bundle/1"
ERASED = "erased"

# The newest signed checkpoint within the log; the one of a size; the newest up to a size.
NEWEST = """
    SELECT size, note FROM checkpoint WHERE note IS NOT NULL AND size <= (SELECT size FROM log_head)
    ORDER BY size DESC LIMIT 1
"""
OF_SIZE = "SELECT size, note FROM checkpoint WHERE note IS NOT NULL AND size = $1"
UP_TO = "SELECT size, note FROM checkpoint WHERE note IS NOT NULL AND size <= $1 ORDER BY size DESC LIMIT 1"

# Whether a position has no record.
IS_MISSING = """
    SELECT NOT EXISTS (SELECT FROM audit_position p JOIN audit_record r ON r.id = p.record_id WHERE p.position = $1)
"""


@dataclass(frozen=True, slots=True)
class BundleHeader:
    """The header of a bundle: positions [start, end) under the checkpoint of `size`. `line` is its first line."""

    start: int
    end: int
    size: int
    line: bytes


async def make_header(
    connection: Connection, start: int, end: int | None = None, *, seen: int | None = None
) -> BundleHeader:
    """The header for the positions [start, end) under the newest signed checkpoint; `end` is by default its size.

    `seen` is the size of a checkpoint that the auditor has: the header then proves that the log extends it. Raises
    NotSealed before the first checkpoint, InvalidField for a range or size that no checkpoint covers.
    """
    newest = await connection.fetchrow(NEWEST)
    if newest is None:
        raise NotSealed("No checkpoint is signed yet; the keeper signs when it has a key")
    size, note = signed_size(newest["note"], newest["size"]), newest["note"]
    end = size if end is None else end
    if end > size:
        raise InvalidField(FieldError("query.to", f"must be at most {size}, the size of the newest checkpoint"))
    if start >= end:
        raise InvalidField(FieldError("query.from", f"must be less than {end}"))
    hashes = await _load_hashes(connection, [*_cover(0, start), *_cover(end, size)])
    content = {
        "format": FORMAT,
        "from": start,
        "to": end,
        "checkpoint": note,
        "left": [hashes.get(place) for place in _cover(0, start)],
        "right": [hashes.get(place) for place in _cover(end, size)],
        "start": await _prove_extension(connection, start, size, seen),
        "pruned": await _prove_pruning(connection, start, size),
    }
    return BundleHeader(start, end, size, msgspec.json.encode(content) + b"\n")


async def bundle_lines(database: Database, header: BundleHeader) -> AsyncIterator[bytes]:
    """The bundle in chunks of up to 256 records. Raises DatabaseUnavailable."""
    yield header.line
    async for rows in sealed_rows(database, header.start, header.end, texts=True):
        yield b"".join(_encode_row(row) for row in rows)


def signed_size(note: str, stored: int) -> int:
    """The size in a note. `stored`, the column beside it, is only a copy, used when the note cannot be parsed."""
    try:
        return Checkpoint.parse(Note.parse(note).text).size
    except BadNote:
        return stored


def _encode_row(row: SealedRow) -> bytes:
    present = row.body is not None
    content = {
        "position": row.position,
        "sealed": row.sealed.hex() if row.sealed else None,
        "uid": row.uid,
        "leaf": row.leaf.hex() if row.leaf else None,
        "body": row.body,
        "columns": _columns(row) if present else None,
        "texts": _texts(row) if present else None,
    }
    return msgspec.json.encode(content) + b"\n"


def _columns(row: SealedRow) -> Mapping[str, object]:
    """The search columns. `actors` is left out where it is empty, for verifiers of older releases."""
    return {name: value for name, value in row.columns.items() if name != "actors" or value is not None}


def _texts(row: SealedRow) -> Mapping[str, object]:
    texts: dict[str, object] = {}
    if row.body is not None and b'"commitments"' in row.body:
        try:
            commitments = read_body(row.body).get("commitments")
        except (ValueError, RecursionError):
            commitments = None
        texts = dict.fromkeys(commitments, ERASED) if isinstance(commitments, dict) else {}
    return texts | {field: {"salt": salt.hex(), "value": value} for field, salt, value in row.texts}


async def _prove_extension(connection: Connection, start: int, size: int, seen: int | None) -> object:
    """An older checkpoint with the proof that this one extends it: of size `seen`, or the newest before the range."""
    row = await (connection.fetchrow(UP_TO, start) if seen is None else connection.fetchrow(OF_SIZE, seen))
    if row is None and seen is not None:
        raise InvalidField(FieldError("query.seen", "must be the size of a signed checkpoint of this log"))
    if row is None:
        return None
    old = signed_size(row["note"], row["size"])
    try:
        proof = await consistency_path(connection, old, size)
    except (ValueError, LogDamaged):
        # Without a proof the verifier reports that the log does not extend this checkpoint.
        proof = []
    return {"checkpoint": row["note"], "consistency": [_base64(sibling) for sibling in proof]}


async def _prove_pruning(connection: Connection, start: int, size: int) -> object:
    """The record of the newest pruning with its proof; None if the first record of the range was not pruned, as pruning
    goes from the oldest record on."""
    row = await connection.fetchrow(PRUNED, size) if await connection.fetchval(IS_MISSING, start) else None
    if row is None:
        return None
    try:
        path = await inclusion_path(connection, row["position"], size)
    except LogDamaged:
        path = []
    inclusion = [_base64(sibling) for sibling in path]
    try:
        to = read_body(row["body"]).get("pruned_to")
    except (ValueError, RecursionError):
        to = None
    return {"to": to, "position": row["position"], "body": _base64(row["body"]), "inclusion": inclusion}


def _cover(start: int, end: int) -> Sequence[tuple[int, int]]:
    """The compact range of [start, end): the largest complete subtrees that lie inside it, from left to right."""

    def inside(level: int, index: int) -> Iterator[tuple[int, int]]:
        low, high = index << level, (index + 1) << level
        if start <= low and high <= end:
            yield level, index
        elif low < end and start < high:
            yield from inside(level - 1, 2 * index)
            yield from inside(level - 1, 2 * index + 1)

    return list(inside(end.bit_length(), 0)) if start < end else []


async def _load_hashes(connection: Connection, places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], str]:
    return {place: _base64(subtree) for place, subtree in (await load_subtrees(connection, places)).items()}


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
