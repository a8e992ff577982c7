"""What an export is written as: JSON Lines, CSV, OCSF or Parquet. Pure: owns no state; rows in, bytes out.

JSON Lines carry the record's exact bytes, so each line can be held against its leaf hash; the other formats are views.
A place whose record somebody removed is told of in each of them.
"""

from __future__ import annotations

import base64
import csv
import io
from typing import TYPE_CHECKING, Protocol

import msgspec

from service.audit.export_ocsf import Ocsf
from service.audit.export_parquet import Parquet
from service.audit.sealed_rows import MISSING
from service.csv_cells import harmless
from service.log.insert import COLUMNS
from service.log.record import canonical_json, read_body

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from service.audit.sealed_rows import SealedRow


class Writer(Protocol):
    """Bytes of an export in their order: `start` once, `rows` for each piece, `end` once."""

    media_type: str

    def start(self) -> bytes: ...
    def rows(self, piece: Sequence[SealedRow]) -> bytes: ...
    def end(self) -> bytes: ...


class JsonLines:
    """`{"position", "leaf", "record"}`: the record as its very bytes, whose SHA-256 behind a zero byte is the leaf.

    Altered bytes that are no record of ours any more stand in base64 as `bytes` beside a null record: they could hold
    anything, also what looks like further lines. A missing record has the leaf that was sealed."""

    media_type = "application/x-ndjson"

    def start(self) -> bytes:
        return b""

    def rows(self, piece: Sequence[SealedRow]) -> bytes:
        return b"".join(_json_line(row) for row in piece)

    def end(self) -> bytes:
        return b""


class Csv:
    """RFC 4180 with the columns that the log is searched by. A byte order mark tells spreadsheets that it is UTF-8; a
    cell that one of them would execute begins with an apostrophe."""

    # Litestar itself adds the charset to text.
    media_type = "text/csv"

    def start(self) -> bytes:
        return b"\xef\xbb\xbf" + _csv([["position", "uid", "kind", *COLUMNS, "leaf"]])

    def rows(self, piece: Sequence[SealedRow]) -> bytes:
        return _csv(
            [
                [
                    row.position,
                    row.uid,
                    MISSING if row.missing else row.columns["kind"],
                    *(_cell(row.columns[name]) for name in COLUMNS),
                    ((row.sealed if row.missing else row.leaf) or b"").hex(),
                ]
                for row in piece
            ]
        )

    def end(self) -> bytes:
        return b""


FORMATS: Mapping[str, Callable[[], Writer]] = {"jsonl": JsonLines, "csv": Csv, "ocsf": Ocsf, "parquet": Parquet}
FILE_NAMES: Mapping[str, str] = {
    "jsonl": "audit.jsonl",
    "csv": "audit.csv",
    "ocsf": "audit.ocsf.jsonl",
    "parquet": "audit.parquet",
}


def _json_line(row: SealedRow) -> bytes:
    if row.body is not None and _is_ours(row.body):
        return b'{"position":%d,"leaf":"%s","record":%s}\n' % (row.position, (row.leaf or b"").hex().encode(), row.body)
    leaf = row.sealed if row.missing else row.leaf
    told: dict[str, object] = {"position": row.position, "leaf": leaf.hex() if leaf else None, "record": None}
    if row.body is None:
        told["missing"] = True
    else:
        told["bytes"] = base64.b64encode(row.body).decode()
    return msgspec.json.encode(told) + b"\n"


def _is_ours(body: bytes) -> bool:
    """Whether these are canonical bytes of one object, so that nothing can stand in them but a record."""
    try:
        return canonical_json(read_body(body)) == body
    except (ValueError, RecursionError, OverflowError, TypeError):
        return False


def _cell(value: object) -> object:
    if value is None or isinstance(value, bool | int):
        return "" if value is None else str(value).lower()
    if isinstance(value, list):
        return _line(harmless(" ".join(str(one) for one in value)))
    return _line(harmless(str(value)))


def _line(text: str) -> str:
    """In one line, so that an export that broke off can be cut behind a whole record."""
    return " ".join(text.splitlines())


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
