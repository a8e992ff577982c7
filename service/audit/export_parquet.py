"""Records as Parquet, one row group at a time, which bounds memory. Owns no state.

pyarrow is an extra (`export`) and imported on first use.
"""

from __future__ import annotations

import io
from datetime import datetime
from typing import TYPE_CHECKING, Any

from service.audit.sealed_rows import MISSING
from service.errors import InvalidField
from service.log.columns import TIME_PATTERN
from service.log.insert import COLUMNS
from service.places import FieldError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.audit.sealed_rows import SealedRow

# The size of a row group, in rows and in bytes of bodies. Writing one blocks the event loop: 16,384 rows took 0.2 s.
MAX_ROWS_PER_GROUP = 2_048
MAX_BYTES_PER_GROUP = 4 << 20

TYPES = {
    "decided_at": "time",
    "applied": "flag",
    "policy_version": "number",
    "rules": "words",
    "returned": "words",
    "actors": "words",
}
FIRST = ("position", "uid", "kind")
LAST = ("leaf", "body")


class Parquet:
    """One file. The footer comes last, so a broken download must start again, or be split by positions."""

    media_type = "application/vnd.apache.parquet"

    def __init__(self) -> None:
        """Raises InvalidField where pyarrow is not installed."""
        try:
            import pyarrow as pa  # noqa: PLC0415 - an extra
            import pyarrow.parquet as pq  # noqa: PLC0415 - an extra
        except ImportError:
            message = "cannot be parquet: this server was installed without the extra `export`"
            raise InvalidField(FieldError("query.format", message)) from None
        self._arrow: Any = pa
        self._sink = io.BytesIO()
        kinds = {
            "word": pa.string(),
            "time": pa.timestamp("us", tz="UTC"),
            "flag": pa.bool_(),
            "number": pa.int64(),
            "words": pa.list_(pa.string()),
            "bytes": pa.binary(),
        }
        types = {**TYPES, "position": "number", **dict.fromkeys(LAST, "bytes")}
        self._schema = pa.schema([(name, kinds[types.get(name, "word")]) for name in (*FIRST, *COLUMNS, *LAST)])
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._waiting: list[SealedRow] = []
        self._bytes = 0

    def start(self) -> bytes:
        return self._take_written()

    def rows(self, rows: Sequence[SealedRow]) -> bytes:
        self._waiting += rows
        self._bytes += sum(len(row.body or b"") for row in rows)
        if len(self._waiting) >= MAX_ROWS_PER_GROUP or self._bytes >= MAX_BYTES_PER_GROUP:
            self._write()
        return self._take_written()

    def end(self) -> bytes:
        self._write()
        self._writer.close()
        return self._take_written()

    def _write(self) -> None:
        if self._waiting:
            rows = [_row(row) for row in self._waiting]
            self._writer.write_table(self._arrow.Table.from_pylist(rows, schema=self._schema))
        self._waiting, self._bytes = [], 0

    def _take_written(self) -> bytes:
        """Take the bytes written since the last call. pyarrow keeps its own file position, so the buffer can be
        emptied."""
        data = self._sink.getvalue()
        self._sink.seek(0)
        self._sink.truncate()
        return data


def _row(row: SealedRow) -> dict[str, object]:
    columns = {name: _plain(row.columns[name]) for name in ("kind", *COLUMNS)}
    if row.missing:
        return {"position": row.position, **columns, "kind": MISSING, "leaf": row.sealed}
    decided = str(columns["decided_at"])
    # A time that is not valid, or that Parquet cannot hold, becomes null.
    columns["decided_at"] = datetime.fromisoformat(decided) if TIME_PATTERN.fullmatch(decided) else None
    return {"position": row.position, "uid": row.uid, **columns, "leaf": row.leaf, "body": row.body}


def _plain(value: object) -> object:
    if isinstance(value, list):
        return [str(item) for item in value]
    return value if value is None or isinstance(value, bool | int) else str(value)
