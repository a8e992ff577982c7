"""Reads the sealed log by position, in batches, for exports and bundles. Reads only; owns no state.

A batch is at most one level-0 tile and has a connection of its own, so that a slow download holds none between batches.
Sealed positions do not change meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from service.log import merkle
from service.log.insert import COLUMNS
from service.log.packing import unpack_with_leaf
from service.log.sql_times import time_text
from service.log.tiles import WIDTH, split_hashes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    import asyncpg

    from service.database import Connection, Database
    from service.log.columns import Column

# The `kind` in an export of a record that is missing without having been pruned.
MISSING = "missing"
OTHER_COLUMNS = ", ".join(f"r.{name}" for name in COLUMNS if name != "decided_at")

# The records of a range of positions, in order. A position without a record gives a row of nulls and says whether it
# was pruned. The time is text, so that any stored value can be read.
ROWS = f"""
    SELECT wanted.position, d.position IS NOT NULL AS pruned, r.uid, r.stored_hash, r.body, r.kind,
           {time_text("r.decided_at")} AS decided_at, {OTHER_COLUMNS}
    FROM generate_series($1::bigint, $2::bigint - 1) AS wanted (position)
    LEFT JOIN audit_position p ON p.position = wanted.position LEFT JOIN audit_record r ON r.id = p.record_id
    LEFT JOIN audit_pruned d ON d.position = wanted.position
    ORDER BY wanted.position
"""

# The hashes sealed at the positions of a tile.
TILE = "SELECT hashes FROM tile WHERE level = 0 AND index = $1"

# The texts of some records that are not erased.
TEXTS = "SELECT record_uid, field, salt, value FROM audit_text WHERE record_uid = ANY($1) ORDER BY record_uid, field"

# The size of the sealed log.
SIZE = "SELECT size FROM log_head"

# The newest sealed record of a pruning in a log of size $1.
PRUNED = """
    SELECT p.position, r.body FROM audit_record r JOIN audit_position p ON p.record_id = r.id
    WHERE r.kind = 'system' AND position('"event":"log.pruned"'::bytea IN r.body) > 0
      AND p.position < $1
    ORDER BY p.position DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class SealedRow:
    """The stored data of a position. `body` is None without a record: it was `pruned`, or it was removed. `sealed` is
    the hash that was sealed here, `leaf` that of the stored record. The column `decided_at` is text. `texts` are
    (field, salt, value). `pruned` is what the table `audit_pruned` says, which is not proved."""

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

    @property
    def intact(self) -> bool:
        """Whether the bytes are those that were sealed here."""
        return self.body is not None and merkle.leaf_hash(self.body) == self.sealed


class _Pruning(msgspec.Struct):
    pruned_to: int


async def sealed_rows(
    database: Database, start: int, end: int, *, texts: bool = False
) -> AsyncIterator[Sequence[SealedRow]]:
    """The positions [start, end), in batches. Only what a sealed record says was pruned is `pruned`. Raises
    DatabaseUnavailable."""
    pruned_to: int | None = None
    while start < end:
        stop = min(end, (start // WIDTH + 1) * WIDTH)
        async with database.connection() as connection:
            rows = await load_rows(connection, start, stop, texts=texts)
            if pruned_to is None and any(row.pruned for row in rows):
                pruned_to = await load_pruned_to(connection)
        yield [replace(row, pruned=False) if row.pruned and row.position >= (pruned_to or 0) else row for row in rows]
        start = stop


async def load_rows(connection: Connection, start: int, stop: int, *, texts: bool = False) -> Sequence[SealedRow]:
    """The positions [start, stop), which must be in one tile."""
    rows = await connection.fetch(ROWS, start, stop)
    hashes = split_hashes(await connection.fetchval(TILE, start // WIDTH) or b"")
    stored_texts: dict[str, list[tuple[str, bytes, str]]] = {}
    if texts and (uids := [row["uid"] for row in rows if row["uid"]]):
        for text in await connection.fetch(TEXTS, uids):
            stored_texts.setdefault(str(text["record_uid"]), []).append((text["field"], text["salt"], text["value"]))
    return [_build_row(row, hashes, stored_texts) for row in rows]


async def load_pruned_to(connection: Connection) -> int:
    """The position below which records were pruned, as the newest sealed record of a pruning says; 0 without one. A
    superuser can add rows to `audit_pruned` that no such record covers."""
    found = await connection.fetchrow(PRUNED, await sealed_size(connection))
    if found is None:
        return 0
    (row,) = await load_rows(connection, found["position"], found["position"] + 1)
    try:
        return msgspec.json.decode(row.body or b"", type=_Pruning).pruned_to if row.intact else 0
    except (ValueError, RecursionError):
        return 0


async def sealed_size(connection: Connection) -> int:
    """How many records are sealed; 0 if the log is not open."""
    return await connection.fetchval(SIZE) or 0


def _build_row(
    row: asyncpg.Record, hashes: Sequence[bytes], texts: Mapping[str, Sequence[tuple[str, bytes, str]]]
) -> SealedRow:
    index = row["position"] % WIDTH
    uid = str(row["uid"]) if row["uid"] else None
    body, leaf = row["body"], row["stored_hash"]
    if body is not None and leaf is not None:
        body, leaf = unpack_with_leaf(body, leaf)
    return SealedRow(
        position=row["position"],
        # A row in audit_pruned does not hide a record that is still there.
        pruned=row["pruned"] and row["body"] is None,
        sealed=hashes[index] if index < len(hashes) else None,
        uid=uid,
        leaf=leaf,
        body=body,
        columns={name: row[name] for name in ("kind", *COLUMNS)},
        texts=texts.get(uid or "", ()),
    )
