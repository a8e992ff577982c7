"""The sealed log read by position, a piece at a time: what exports and bundles are made of. Reads only; owns no state.

A piece covers at most one level-0 tile and takes a connection of its own, so that a slow reader holds none meanwhile;
what is sealed does not change between two pieces.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.log.insert import COLUMNS
from service.log.sql_times import time_text
from service.log.tiles import WIDTH, split_hashes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    import asyncpg

    from service.database import Connection, Database
    from service.log.columns import Column

# What an export calls the kind of a record that is not there any more though nothing says why.
MISSING = "missing"
PLAIN = ", ".join(f"r.{name}" for name in COLUMNS if name != "decided_at")

# The records at some positions in their order; a position without a record gives a row of nulls, and tells whether
# retention dropped it. The time is a text, whatever was written there.
PIECE = f"""
    SELECT wanted.position, d.position IS NOT NULL AS pruned, r.uid, r.leaf, r.body, r.kind,
           {time_text("r.decided_at")} AS decided_at, {PLAIN}
    FROM generate_series($1::bigint, $2::bigint - 1) AS wanted (position)
    LEFT JOIN audit_position p ON p.position = wanted.position LEFT JOIN audit_record r ON r.id = p.record_id
    LEFT JOIN audit_pruned d ON d.position = wanted.position
    ORDER BY wanted.position
"""

# The hashes that were sealed at these positions.
TILE = "SELECT hashes FROM tile WHERE level = 0 AND index = $1"

# The texts of some records that are not erased.
TEXTS = "SELECT record_uid, field, salt, value FROM audit_text WHERE record_uid = ANY($1) ORDER BY record_uid, field"

# How many records are sealed.
SIZE = "SELECT size FROM log_head"


@dataclass(frozen=True, slots=True)
class SealedRow:
    """What is stored for a position. Without a record `body` is None: it was `pruned`, or somebody removed it. Of the
    columns `decided_at` is a text, as the record writes it unless it was altered; `texts` are (field, salt, value)."""

    position: int
    pruned: bool
    sealed: bytes | None
    uid: str | None
    leaf: bytes | None
    body: bytes | None
    columns: Mapping[str, Column]
    texts: Sequence[tuple[str, bytes, str]] = field(default_factory=list)

    @property
    def missing(self) -> bool:
        """Whether a record should be here and is not."""
        return self.body is None and not self.pruned


async def sealed_rows(
    database: Database, start: int, end: int, *, texts: bool = False
) -> AsyncIterator[Sequence[SealedRow]]:
    """The positions [start, end), in pieces. Raises DatabaseUnavailable."""
    while start < end:
        stop = min(end, (start // WIDTH + 1) * WIDTH)
        async with database.connection() as connection:
            piece = await sealed_piece(connection, start, stop, texts=texts)
        yield piece
        start = stop


async def sealed_piece(connection: Connection, start: int, stop: int, *, texts: bool = False) -> Sequence[SealedRow]:
    """The positions [start, stop) of one tile."""
    rows = await connection.fetch(PIECE, start, stop)
    hashes = split_hashes(await connection.fetchval(TILE, start // WIDTH) or b"")
    kept: dict[str, list[tuple[str, bytes, str]]] = {}
    if texts and (uids := [row["uid"] for row in rows if row["uid"]]):
        for one in await connection.fetch(TEXTS, uids):
            kept.setdefault(str(one["record_uid"]), []).append((one["field"], one["salt"], one["value"]))
    return [_sealed(row, hashes, kept) for row in rows]


async def sealed_size(connection: Connection) -> int:
    """How many records are sealed; 0 in a log that was never opened."""
    return await connection.fetchval(SIZE) or 0


def _sealed(
    row: asyncpg.Record, hashes: Sequence[bytes], texts: Mapping[str, Sequence[tuple[str, bytes, str]]]
) -> SealedRow:
    place = row["position"] % WIDTH
    uid = str(row["uid"]) if row["uid"] else None
    return SealedRow(
        position=row["position"],
        # Whoever only says of a record that is here that it was dropped hides nothing.
        pruned=row["pruned"] and row["body"] is None,
        sealed=hashes[place] if place < len(hashes) else None,
        uid=uid,
        leaf=row["leaf"],
        body=row["body"],
        columns={name: row[name] for name in ("kind", *COLUMNS)},
        texts=texts.get(uid or "", ()),
    )
